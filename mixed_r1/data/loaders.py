"""Samples on disk: JSONL (images as files beside it) and Parquet (images embedded).

A JSONL row is the Sample's fields as one JSON object per line; image paths are relative to the file's
directory. The Parquet layout is that of :mod:`mixed_r1.data.parquet`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from mixed_r1.data.checks import Problem, check_images, parse_row
from mixed_r1.data.remedies import remedy
from mixed_r1.data.storage import image_name, image_payload, to_row
from mixed_r1.files import atomic_path
from mixed_r1.schema import Sample

__all__ = [
    "DataError",
    "check_samples",
    "data_files",
    "iter_samples",
    "load_samples",
    "parse_line",
    "save_samples",
]

PathLike: TypeAlias = "str | os.PathLike[str]"


class DataError(ValueError):
    """An unusable row or file: ``file``, ``line`` (1-based row; 0: the file), ``field``, ``rule``."""

    def __init__(self, file: PathLike, line: int, field: str, rule: str) -> None:
        self.file, self.line, self.field, self.rule = os.fspath(file), line, field, rule
        where = f"{self.file}:{line}" if line else self.file
        super().__init__(f"{where}: {field}: {rule}")


def data_files(path: PathLike) -> list[Path]:
    """The files behind ``path``: a .jsonl or .parquet file, or a stem such as ``DIR/train``.

    A stem stands for ``train.jsonl``, ``train.parquet`` or the shards ``train-*.parquet``, whichever exists
    first.
    """
    given = Path(path)
    if given.suffix in (".jsonl", ".parquet"):
        if not given.is_file():
            raise DataError(given, 0, "file", "must exist")
        return [given]
    for candidates in (
        [given.with_name(f"{given.name}.jsonl")],
        [given.with_name(f"{given.name}.parquet")],
        sorted(given.parent.glob(f"{given.name}-*.parquet")),
    ):
        found = [file for file in candidates if file.is_file()]
        if found:
            return found
    raise DataError(given, 0, "file", "must be a .jsonl or .parquet file or the stem of one")


def load_samples(path: PathLike) -> list[Sample]:
    """All rows of ``path`` (see :func:`data_files`).

    Raises:
        DataError: the first row that breaks a rule, or that repeats an earlier id.
    """
    samples = []
    seen: dict[str, str] = {}
    for file, line, row in _rows(data_files(path)):
        sample = _sample(file, line, row)
        _check_id(seen, sample.id, file, line)
        samples.append(sample)
    return samples


def iter_samples(path: PathLike) -> Iterator[Sample]:
    """Stream the rows of ``path`` in constant memory; ids are not compared across rows.

    Raises:
        DataError: at the first row that breaks a rule.
    """
    for file, line, row in _rows(data_files(path)):
        yield _sample(file, line, row)


def check_samples(
    path: PathLike, *, judge: Callable[[Sample], Sequence[Problem]] | None = None
) -> list[DataError]:
    """Every problem of ``path``: schema, duplicate ids, unreadable images, boxes outside their image, and
    what ``judge`` finds in rows that have none of these. Each says what would mend it.
    """
    problems: list[DataError] = []
    seen: dict[str, str] = {}
    try:
        for file, line, row in _rows(data_files(path)):
            if isinstance(row, DataError):
                problems.append(row)
                continue
            sample, broken = parse_row(row)
            if sample is not None:
                broken = check_images(sample) or list(judge(sample) if judge else ())
                try:
                    _check_id(seen, sample.id, file, line)
                except DataError as error:
                    problems.append(error)
            for field, rule in broken:
                mended = remedy(field, rule, row)
                problems.append(DataError(file, line, field, f"{rule}; {mended}" if mended else rule))
    except DataError as error:  # the file itself
        problems.append(error)
    return problems


def save_samples(samples: Iterable[Sample], path: PathLike) -> int:
    """Write ``samples`` to a .jsonl or .parquet file, atomically; returns the number of rows.

    JSONL puts the images into ``images/`` beside the file, named by their content's SHA-256; Parquet embeds
    them. Encoded images (bytes or paths) are written byte for byte, PIL images as PNG. What is read back
    equals what was written, apart from how an image is held (path, bytes or PIL).

    Raises:
        ValueError: another suffix, or metadata that JSON cannot hold.
        ImageError: an image path that cannot be read.
    """
    target = Path(path)
    if target.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"path must end in .jsonl or .parquet, got {os.fspath(path)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        return (_write_jsonl if target.suffix == ".jsonl" else _write_parquet)(samples, temporary)


def _check_id(seen: dict[str, str], name: str, file: Path, line: int) -> None:
    first = seen.setdefault(name, f"{file}:{line}")
    if first != f"{file}:{line}":
        raise DataError(file, line, "id", f"must be unique, got {name!r} again (first at {first})")


def _sample(file: Path, line: int, row: Any) -> Sample:
    if isinstance(row, DataError):
        raise row
    sample, problems = parse_row(row)
    if sample is None:
        raise DataError(file, line, *problems[0])
    return sample


def _rows(files: Iterable[Path]) -> Iterator[tuple[Path, int, Any]]:
    """(file, 1-based row, plain row or the DataError that stands for it)."""
    for file in files:
        yield from _jsonl_rows(file) if file.suffix == ".jsonl" else _parquet_rows(file)


def _jsonl_rows(file: Path) -> Iterator[tuple[Path, int, Any]]:
    with file.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            row = parse_line(raw)
            if isinstance(row, ValueError):
                yield file, line, DataError(file, line, "row", str(row))
            else:
                yield file, line, _resolved(row, file.parent)


def parse_line(raw: bytes) -> Any:
    """The JSON value of one line, or the ValueError that says what is wrong with it."""
    try:
        return json.loads(raw, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        return ValueError(f"must be one JSON object, got {error}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which JSON does not have")


def _resolved(row: Any, directory: Path) -> Any:
    """Relative image paths are those of ``directory``."""
    if isinstance(row, dict) and isinstance(row.get("images"), list):
        row["images"] = [
            str(directory / image) if isinstance(image, str) else image for image in row["images"]
        ]
    return row


def _parquet_rows(file: Path) -> Iterator[tuple[Path, int, Any]]:
    import pyarrow as pa

    from mixed_r1.data.parquet import iter_rows

    try:
        for line, row in enumerate(iter_rows(file), start=1):
            if isinstance(row, ValueError):
                yield file, line, DataError(file, line, "row", str(row))
            else:
                yield file, line, _resolved(row, file.parent)
    except (pa.ArrowException, OSError) as error:
        raise DataError(file, 0, "file", f"must be readable Parquet, got {error}") from None


def _write_parquet(samples: Iterable[Sample], temporary: Path) -> int:
    from mixed_r1.data.parquet import SampleWriter

    with SampleWriter(temporary) as writer:
        for sample in samples:
            writer.add(sample)
    return writer.count


def _write_jsonl(samples: Iterable[Sample], temporary: Path) -> int:
    count = 0
    folder = temporary.parent / "images"
    with temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for sample in samples:
            row = to_row(sample)
            if sample.images:
                row["images"] = [_store_image(image, folder) for image in sample.images]
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _store_image(source: Any, folder: Path) -> str:
    payload = image_payload(source)
    target = folder / image_name(payload)
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Thousands of small files: syncing each would take minutes, and a lost one is noticed when opened.
        with atomic_path(target, durable=False) as temporary:
            temporary.write_bytes(payload)
    return f"{folder.name}/{target.name}"
