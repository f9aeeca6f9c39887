"""From files to Samples: the one way, for training, evaluation, scoring, recipes and ``data check``."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import pyarrow as pa
from pydantic import ValidationError

from mixed_r1.data.columns import chosen, converted
from mixed_r1.data.layouts import as_fields
from mixed_r1.data.sources import Source
from mixed_r1.data.sources.files import Files
from mixed_r1.data.spec import SourceSpec
from mixed_r1.images import located
from mixed_r1.opened import Problem
from mixed_r1.schema import Sample

__all__ = ["DataError", "Given", "ReadRow", "data_error", "parse_row", "read_fields", "read_rows"]

# What rows are read from: a path, the settings of a source, or a mapping of them.
Given: TypeAlias = "str | os.PathLike[str] | SourceSpec | Mapping[str, Any]"

ROWS = 1024  # of a partition


class DataError(ValueError):
    """An unusable row or file: ``file``, ``line`` (1-based row; 0: the file), ``field``, ``rule``."""

    def __init__(self, file: str | os.PathLike[str], line: int, field: str, rule: str) -> None:
        self.file, self.line, self.field, self.rule = os.fspath(file), line, field, rule
        where = f"{self.file}:{line}" if line else self.file
        super().__init__(f"{where}: {field}: {rule}")


class ReadRow(NamedTuple):
    """A row of a source: where it comes from, and the Sample or every rule that it breaks."""

    place: str
    sample: Sample | None
    problems: list[Problem]
    ignored: list[str]  # columns that are no fields of a Sample
    fields: dict[str, Any]  # what was read, for advice about it


def read_rows(
    spec: SourceSpec, source: Source, base: Path = Path(), *, stored: bool = False
) -> Iterator[ReadRow]:
    """The rows of ``source``, which ``open_source`` made of ``spec``. ``stored`` leaves images in their file
    where that is possible, to be read when they are drawn.

    Raises:
        DataError: a file that is not there, or cannot be read.
    """
    left = spec.limit
    try:
        for partition in source.partitions(ROWS):
            for place, raw in source.stored(partition) if stored else source.read(partition):
                if left is not None and left <= 0:
                    return
                left = None if left is None else left - 1
                yield _read_row(place, raw, spec, source, base)
    except (pa.ArrowException, OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise _file_error(source, error) from None


def _file_error(source: Source, error: Exception) -> DataError:
    """What is wrong with the files of ``source``, in one line."""
    path = getattr(source, "path", None) or getattr(source, "annotations", None) or type(source).__name__
    text = " ".join(str(error).split())
    if text.startswith("path must "):
        return DataError(path, 0, "file", text.removeprefix("path ").removesuffix(f": {path}"))
    rule = text if text.startswith("must ") else f"must be readable, got {type(error).__name__}: {text}"
    return DataError(path, 0, "file", rule)


def _read_row(place: str, raw: Any, spec: SourceSpec, source: Source, base: Path) -> ReadRow:
    if isinstance(raw, Problem):
        return ReadRow(place, None, [raw], [], {})
    try:
        fields, ignored = read_fields(raw, spec, _image_home(spec, source, place, base))
    except ValueError as error:
        return ReadRow(place, None, [_problem_of(str(error))], [], dict(raw))
    fields.setdefault("id", place)
    sample, problems = parse_row(fields)
    return ReadRow(place, sample, problems, ignored, {**raw, **fields})


def read_fields(row: Any, spec: SourceSpec, home: Path) -> tuple[dict[str, Any], list[str]]:
    """The fields of a Sample from the columns of one row, and the columns that are none.

    Relative image paths are those of ``home``. Raises ValueError as ``map_fields`` and ``as_fields`` do.
    """
    fields, ignored = as_fields(chosen(row, spec))
    fields = converted(fields, spec)
    if "images" in fields:
        images = fields["images"]
        listed = images if isinstance(images, (list, tuple)) else [images]
        fields["images"] = [located(image, home) for image in listed]
    return fields, ignored


def _image_home(spec: SourceSpec, source: Source, place: str, base: Path) -> Path:
    """Where relative image paths start: where the settings say, beside the file, or at the recipe."""
    if spec.image_folder is not None:
        return base / spec.image_folder
    return source.home(place) or base


def parse_row(row: Any) -> tuple[Sample | None, list[Problem]]:
    """Validate one plain row. Returns (sample, []) or (None, every broken rule)."""
    if not isinstance(row, dict):
        return None, [Problem("row", f"must be an object of fields, got {type(row).__name__}")]
    try:
        return Sample(**row), []
    except ValidationError as error:
        return None, [_problem(item) for item in error.errors()]
    except RecursionError:
        return None, [Problem("row", "must not be nested so deep")]
    except TypeError as error:  # keys that are not strings
        return None, [Problem("row", f"must have text keys, got {error}")]


def _problem(item: Any) -> Problem:
    message = str(item["msg"]).removeprefix("Value error, ")
    field = ".".join(str(part) for part in item["loc"])
    if not field:  # rules over several fields start with the field they are about
        return _problem_of(message)
    if item["type"] == "value_error":
        return Problem(field, message)
    return Problem(field, f"{message}, got {_short(item['input'])}" if item["type"] != "missing" else message)


def _problem_of(message: str) -> Problem:
    field, _, rule = message.partition(" ")
    return Problem(field.rstrip(":"), rule.strip())


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def data_error(source: Source, place: str, problem: Problem) -> DataError:
    """``problem`` of the row at ``place``."""
    name, _, line = place.rpartition(":")
    if isinstance(source, Files) and line.isdigit():
        return DataError(source.folder / name, int(line), *problem)
    files = getattr(source, "annotations", None) or getattr(source, "path", None) or type(source).__name__
    return DataError(f"{files}[{place}]", 0, *problem)
