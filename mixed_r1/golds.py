"""Rows as data sets give them, in the one form of ``Sample``: column files, printed lists, options as
mappings.

Every function raises ValueError with the rule that was broken, or returns what it was given where the rules
of ``Sample`` decide.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from mixed_r1_kernels.verify.reference_lists import split_list
from mixed_r1_kernels.verify.reference_reading import normal
from mixed_r1_kernels.verify.reference_text import plain

__all__ = ["as_boxes", "as_choice", "as_options", "as_scalar_text", "as_verdict", "plain_row", "printed_list"]

LABEL = re.compile(r"\(?([A-Za-z])[.):]?\)?")
LONG_FLOAT = re.compile(r"[+-]?\d*\.\d{15,}")  # what 0.1 + 0.2 prints
YES = ("yes", "true", "y", "t", "correct", "\u662f", "\u662f\u7684", "\u5bf9", "\u6b63\u786e")
NO = (
    "no",
    "false",
    "n",
    "f",
    "incorrect",
    "\u5426",
    "\u4e0d\u662f",
    "\u4e0d\u5bf9",
    "\u9519",
    "\u9519\u8bef",
)
VERDICTS = dict.fromkeys(YES, "yes") | dict.fromkeys(NO, "no")


def plain_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a row without NumPy, and without the Nones by which column files say that there is
    nothing. A single image is a list of one.
    """
    fields = {name: _plain(value) for name, value in row.items() if value is not None}
    if "images" in fields and not isinstance(fields["images"], (list, tuple)):
        fields["images"] = [fields["images"]]
    if isinstance(fields.get("id"), int) and not isinstance(fields["id"], bool):
        fields["id"] = str(fields["id"])
    if isinstance(fields.get("reward"), Mapping):
        fields["reward"] = {k: v for k, v in fields["reward"].items() if v is not None} or None
    return fields


def _plain(value: Any) -> Any:
    """Scalars and arrays of NumPy as Python's, also inside lists and mappings; images as they are.

    A float of fewer than 64 bits is the shortest number that gives it back: 0.1, not 0.10000000149011612.
    """
    if type(value).__module__ == "numpy" and hasattr(value, "tolist"):
        if value.dtype.kind == "f" and value.dtype.itemsize < 8:
            return float(str(value)) if value.ndim == 0 else [_plain(item) for item in value]
        return value.tolist()
    if isinstance(value, (list, tuple)):
        return type(value)(map(_plain, value)) if type(value) in (list, tuple) else value
    return {k: _plain(v) for k, v in value.items()} if type(value) is dict else value


def as_options(options: Any) -> Any:
    """Options as a list: of a mapping from letters or numbers in order, or of a JSON text."""
    if isinstance(options, str):
        try:
            options = json.loads(options)
        except (ValueError, RecursionError):
            return options
    if not isinstance(options, Mapping):
        return list(options) if isinstance(options, (list, tuple)) else options
    given = {str(key).strip(): value for key, value in options.items() if value is not None}
    keys = sorted(given, key=lambda key: (len(key), key.upper()))
    letters = [chr(ord("A") + i) for i in range(len(keys))]
    numbers = [[str(i + base) for i in range(len(keys))] for base in (0, 1)]
    if [key.upper() for key in keys] != letters and keys not in numbers:
        raise ValueError(f"options must be a list, or map the letters A, B, ... to texts, got keys {keys}")
    return [str(given[key]) for key in keys]


def as_choice(answer: Any, options: Sequence[str]) -> Any:
    """The letter of a gold that is a letter ("B", "(b)", "B."), several letters, the text of one option, or
    its index from 0 (an integer; or digits that are no option's text).
    """
    letters = [chr(ord("A") + i) for i in range(len(options))]
    if isinstance(answer, int) and not isinstance(answer, bool) and 0 <= answer < len(options):
        return letters[answer]
    if isinstance(answer, (list, tuple)) and answer:
        chosen = [as_choice(item, options) for item in answer]
        return "".join(sorted(set(chosen))) if all(item in letters for item in chosen) else answer
    if not isinstance(answer, str):
        return answer
    text = answer.strip()
    label = LABEL.fullmatch(text)
    if label and label[1].upper() in letters:
        return label[1].upper()
    texts = [plain(normal(option)) for option in options]
    wanted = plain(normal(text))
    if texts.count(wanted) == 1:
        return letters[texts.index(wanted)]
    start = re.match(r"\(?([A-Z])[.):]\s*(.+)", text, re.DOTALL)  # "B. blue"
    if start and start[1] in letters and plain(normal(start[2])) == texts[letters.index(start[1])]:
        return start[1]
    several = [part for part in re.split(r"[\s,;&]+|\band\b", text) if part]
    if len(several) == 1 and len(text) > 1 and text.isupper():
        several = list(text)
    if len(several) > 1 and all(part in letters for part in several):
        return "".join(sorted(set(several)))
    if text.isascii() and text.isdigit() and int(text) < len(options):
        return letters[int(text)]
    return answer


def as_verdict(answer: Any) -> Any:
    """ "yes" or "no" of True, "Yes.", "false"."""
    if isinstance(answer, bool):
        return "yes" if answer else "no"
    return VERDICTS.get(plain(normal(answer)), answer) if isinstance(answer, str) else answer


def printed_list(answer: Any) -> Any:
    """The items of a text that is a printed list of several texts or numbers; any other answer as it is."""
    if not isinstance(answer, str):
        return answer
    text = answer.strip()
    if not (text.startswith("[") and text.endswith("]")) or text.startswith("[["):
        return answer
    items = [item.strip() for item in split_list(text, 0)]
    return items if len(items) > 1 or text[1:2] in ("'", '"') else answer


def as_scalar_text(answer: float | int | str) -> str:
    """A number as a person would write it: 0.1 + 0.2 is 0.3."""
    if isinstance(answer, float):
        return repr(answer) if len(repr(answer)) < 17 else f"{answer:.15g}"
    if (
        isinstance(answer, str)
        and LONG_FLOAT.fullmatch(answer.strip())
        and len(answer.strip()) in (18, 19, 20, 21)
    ):
        return f"{float(answer):.15g}"
    return str(answer)


def as_boxes(answer: Any) -> Any:
    """Boxes of JSON text."""
    if not isinstance(answer, str):
        return answer
    try:
        return json.loads(answer)
    except (ValueError, RecursionError):
        return answer
