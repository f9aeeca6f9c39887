"""From the columns of a file to a sample's fields, as settings say: names, templates, converters."""

from __future__ import annotations

import ast
import json
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

from mixed_r1.data.spec import SourceSpec
from mixed_r1.schema import LETTERS

__all__ = ["CONVERTERS", "chosen", "converted", "map_fields"]

Fields: TypeAlias = Mapping[str, Any]


def map_fields(row: Mapping[str, Any], spec: SourceSpec) -> dict[str, Any]:
    """The fields of a Sample from the columns of ``row``: chosen, converted, with what is set for all rows.

    Raises:
        ValueError: a column that does not exist, or a value that a converter does not take.
    """
    return converted(chosen(row, spec), spec)


def chosen(row: Mapping[str, Any], spec: SourceSpec) -> dict[str, Any]:
    """The columns of ``row`` under the names that ``spec`` gives them. Raises as ``map_fields`` does."""
    names = spec.fields or spec.columns
    fields: dict[str, Any] = {} if spec.fields else dict(row)
    for column in () if spec.fields else names.values():
        for used in _used(column):
            fields.pop(used, None)
    for name, column in names.items():
        value = _collected(row, name, column)
        if value is None:
            continue
        if name.startswith("metadata."):
            fields["metadata"] = {**(fields.get("metadata") or {}), name.removeprefix("metadata."): value}
        else:
            fields[name] = value
    return fields


def _used(column: str | tuple[str, ...]) -> list[str]:
    """The columns that are read whole, or in part, under another name."""
    parts = (column,) if isinstance(column, str) else column
    return [part.removesuffix("?").partition(".")[0] for part in parts if "{" not in part]


def converted(fields: dict[str, Any], spec: SourceSpec) -> dict[str, Any]:
    """``fields`` after ``spec.convert``, with ``spec.task`` and ``spec.constants``. Raises as ``map_fields``
    does.
    """
    for name, steps in spec.convert.items():
        for step in (steps,) if isinstance(steps, str) else steps:
            if step not in CONVERTERS:
                raise ValueError(f"convert.{name} must be one of {', '.join(CONVERTERS)}, got {step!r}")
            if fields.get(name) is not None:
                fields[name] = _converted(step, name, fields)
    if spec.task is not None:
        fields["task"] = spec.task
    fields.update(spec.constants)
    return fields


def _converted(step: str, name: str, fields: Fields) -> Any:
    try:
        return CONVERTERS[step](fields[name], fields)
    except (TypeError, LookupError, ArithmeticError, AttributeError, RecursionError) as error:
        got = f"{type(fields[name]).__name__} ({type(error).__name__}: {error})"
        raise ValueError(f"convert.{name} must be a value that {step} takes, got {got}") from None


def _collected(row: Mapping[str, Any], name: str, column: str | tuple[str, ...]) -> Any:
    if name == "images":
        found = [_value(row, part) for part in ((column,) if isinstance(column, str) else column)]
        images = [
            item for value in found for item in (value if isinstance(value, (list, tuple)) else [value])
        ]
        return [image for image in images if image is not None]
    if isinstance(column, tuple):
        return [value for value in (_value(row, part) for part in column) if value not in (None, "")]
    return _value(row, column)


def _value(row: Mapping[str, Any], column: str) -> Any:
    """A column, or a text with {column} in it; an empty column is an empty text there. One that is followed
    by "?" may be missing.
    """
    if "{" not in column:
        path = column.removesuffix("?")
        try:
            return _column(row, path)
        except ValueError:
            if path != column:
                return None
            raise

    def filled(match: re.Match[str]) -> str:
        value = _column(row, match.group(1))
        return "" if value is None else str(value)

    return re.sub(r"\{([\w.]+)\}", filled, column)


def _column(row: Any, path: str) -> Any:
    value = row
    for part in path.split("."):
        try:
            value = value[int(part)] if isinstance(value, (list, tuple)) else value[part]
        except (KeyError, IndexError, ValueError, TypeError):
            raise ValueError(f"column {path} must exist, got none at {part!r}") from None
    return value


def _letter(value: Any, _: Fields) -> str:
    if isinstance(value, str) and len(value) == 1 and value in LETTERS:  # the name of a label
        return value
    index = int(value)
    if isinstance(value, bool) or not 0 <= index < len(LETTERS):
        raise ValueError(f"index_to_letter must be given 0 to {len(LETTERS) - 1}, got {value!r}")
    return LETTERS[index]


def _letter_of_option(value: Any, fields: Fields) -> str:
    options = [str(option).strip().casefold() for option in fields.get("options") or ()]
    if options.count(str(value).strip().casefold()) != 1:
        raise ValueError(f"option_to_letter must be given one of the options {options}, got {value!r}")
    return LETTERS[options.index(str(value).strip().casefold())]


def _answer_tag(value: Any, _: Fields) -> str:
    text = str(value)
    body, closed = text.partition("<answer>")[2].partition("</answer>")[:2]
    return (body if closed else text).strip()


def _corners(value: Any, _: Fields) -> list[list[float]]:
    boxes = [value] if value and not isinstance(value[0], (list, tuple)) else value
    return [[x, y, x + width, y + height] for x, y, width, height in boxes]


def _first(value: Any, _: Fields) -> Any:
    return value[0] if isinstance(value, (list, tuple)) else value


def _most_common(value: Any, _: Fields) -> Any:
    """Of equally common ones the first."""
    return Counter(value).most_common(1)[0][0] if isinstance(value, (list, tuple)) else value


def _listed(value: Any, _: Fields) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = _python_list(value)
    if not isinstance(found, list):
        raise ValueError(f"list must be given a text such as ['a', 'b'], got {value[:60]!r}")
    return found


def _python_list(text: str) -> Any:
    try:
        return ast.literal_eval(text) if len(text) <= 1 << 16 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _without_placeholder(value: Any, _: Fields) -> str:
    return re.sub(r"[ \t]{2,}", " ", re.sub(r"<image>\s?", "", str(value))).strip()


CONVERTERS: dict[str, Callable[[Any, Fields], Any]] = {
    "answer_tag": _answer_tag,  # what stands between <answer> and </answer>
    "first": _first,  # the first of a list
    "index_to_letter": _letter,  # 0 -> A
    "json": lambda value, _: json.loads(value),  # JSON text -> value
    "list": _listed,  # "['a', 'b']", JSON or Python -> the list
    "most_common": _most_common,  # of a list
    "no_placeholder": _without_placeholder,  # text without <image>
    "option_to_letter": _letter_of_option,  # the text of one of the options -> its letter
    "xywh": _corners,  # [x, y, width, height] -> [x1, y1, x2, y2], one box or several
}
