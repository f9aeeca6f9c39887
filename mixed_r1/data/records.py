"""Files of rows that are no Parquet: JSON Lines, JSON, CSV and TSV. A broken row is a Problem, and the rows
after it are read on.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

from mixed_r1.opened import Problem

__all__ = ["Record", "as_row", "json_records", "line_records", "parse_line", "table_records"]

# A line number from 1 (of JSON: the place in the list), and the row or what is wrong with it.
Record: TypeAlias = "tuple[int, dict[str, Any] | Problem]"

MAX_FIELD = 256 * 1024 * 1024  # characters: an image as base64 is one field
MARK = b"\xef\xbb\xbf"  # which some editors write before UTF-8
DELIMITERS = ",;\t|"


def parse_line(raw: bytes) -> Any:
    """The value of one line of JSON, or the ValueError that says why it has none."""
    try:
        return json.loads(raw.removeprefix(MARK), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        return ValueError(f"must be one JSON object, got {error}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which JSON does not have")


def as_row(value: Any) -> dict[str, Any] | Problem:
    """``value`` as a row, which is an object of fields."""
    if isinstance(value, dict):
        return value
    if isinstance(value, ValueError):
        return Problem("row", str(value))
    return Problem("row", f"must be an object of fields, got {type(value).__name__}")


def line_records(raw_lines: Iterator[bytes] | io.BufferedReader, first: int = 1) -> Iterator[Record]:
    """JSON Lines, counted from ``first``; empty lines are none."""
    for line, raw in enumerate(raw_lines, start=first):
        if raw.strip():
            yield line, as_row(parse_line(raw))


def json_records(file: Path) -> list[Record]:
    """A JSON list of rows, an object with one such list, or JSON Lines under the wrong name.

    Raises:
        ValueError: none of these.
    """
    raw = file.read_bytes().removeprefix(MARK)
    value = parse_line(raw)
    if isinstance(value, ValueError):
        lines = [line for line in raw.split(b"\n") if line.strip()]
        if len(lines) > 1 and isinstance(parse_line(lines[0]), dict):
            return list(line_records(iter(raw.split(b"\n"))))
        raise ValueError(str(value).replace("one JSON object", "JSON"))
    if isinstance(value, dict):
        if {"images", "annotations", "categories"} <= set(value):
            raise ValueError("must be rows, got COCO annotations: set kind: coco")
        lists = [v for v in value.values() if isinstance(v, list) and v and isinstance(v[0], dict)]
        value = lists[0] if len(lists) == 1 and "question" not in value else [value]
    if not isinstance(value, list):
        raise ValueError(f"must hold a list of rows, got {type(value).__name__}")
    return [(place, as_row(_numbered(item))) for place, item in enumerate(value, start=1)]


def _numbered(item: Any) -> Any:
    """A row that is a list has columns without names: they are counted from 0."""
    return {str(i): value for i, value in enumerate(item)} if isinstance(item, list) and item else item


def table_records(file: Path) -> list[Record]:
    """CSV or TSV with a header; empty cells are None. A CSV may be cut by ``,``, ``;``, tab or ``|``.

    Raises:
        ValueError: no header.
    """
    csv.field_size_limit(MAX_FIELD)
    # Bytes that are no UTF-8 become lone surrogates: the rows that have some are named, the others read.
    with file.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as stream:
        head = stream.readline()
        stream.seek(0)
        delimiter = "\t" if file.suffix == ".tsv" else max(DELIMITERS, key=head.count)
        lines = csv.reader(stream, delimiter=delimiter)
        header = next(lines, None)
        if not header or not any(name.strip() for name in header):
            raise ValueError("must begin with a line of column names, got none")
        names = [name.strip() for name in header]
        if len(set(names)) < len(names):
            raise ValueError(f"must have different column names, got {names}")
        return list(_table_rows(lines, names))


def _table_rows(lines: Any, names: list[str]) -> Iterator[Record]:
    while True:
        begins = lines.line_num + 1
        try:
            cells = next(lines)
        except StopIteration:
            return
        except csv.Error as error:
            yield begins, Problem("row", f"must be readable, got {error}")
            continue
        if not cells:
            continue
        if len(cells) != len(names):
            yield begins, Problem("row", f"must have {len(names)} cells, as the header has, got {len(cells)}")
        elif not _is_utf8(cells):
            yield begins, Problem("row", "must be UTF-8, got bytes of another encoding")
        else:
            yield (
                begins,
                {name: cell if cell.strip() else None for name, cell in zip(names, cells, strict=True)},
            )


def _is_utf8(cells: list[str]) -> bool:
    try:
        "".join(cells).encode()
    except UnicodeEncodeError:
        return False
    return True
