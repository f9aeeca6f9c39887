"""Files of rows: JSON Lines, JSON, CSV, TSV, Parquet, and folders that ``datasets`` saved."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from pydantic import Field

from mixed_r1.data.mapped import MappedRows, mapped_parquet, saved_files
from mixed_r1.data.parquet import decoded, encoded_columns, iter_rows
from mixed_r1.data.records import Record, as_row, json_records, line_records, table_records
from mixed_r1.data.sources.base import Partition, RawRow, Source, cut
from mixed_r1.opened import Problem

__all__ = ["SUFFIXES", "Files", "Jsonl", "ParquetFiles", "data_files"]

LINES = (".jsonl", ".ndjson")
# Formats that are read whole: one row after another cannot be found in them.
WHOLE: dict[str, Callable[[Path], list[Record]]] = {
    ".json": json_records,
    ".csv": table_records,
    ".tsv": table_records,
}
SUFFIXES = (*LINES, *WHOLE, ".parquet", ".arrow")
SAVED, SAVED_SPLITS = "state.json", "dataset_dict.json"  # what save_to_disk leaves in a folder
INDEX = "metadata"  # the name of a file that lists a folder of images


def data_files(path: Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[Path]:
    """The files of rows behind ``path``, in order: a file, a folder, a glob, or a stem such as ``DIR/train``.

    A stem stands for the file of that name with one of the suffixes, or the shards ``train-*.parquet``. A
    folder stands for the Arrow files of a saved data set, its index where it is a folder of images, else all
    files of rows below it, which must be of one kind.

    Raises:
        ValueError: nothing is there, or it is not clear what is meant; the message begins with "must".
    """
    if path.is_file():
        if path.suffix not in suffixes:
            raise ValueError(f"must be a file of rows ({', '.join(suffixes)}), got {path.name}")
        return [path]
    if path.is_dir():
        return _folder_files(path, suffixes)
    if any(sign in path.name or sign in str(path.parent) for sign in "*?["):
        start, pattern = _glob_parts(path)
        found = [file for file in sorted(start.glob(pattern)) if file.is_file() and file.suffix in suffixes]
        if not found:
            raise ValueError("must match at least one file of rows, got none")
        return found
    if path.suffix in suffixes:
        raise ValueError("must exist")
    alone = [[path.with_name(path.name + suffix)] for suffix in suffixes]
    for candidates in (*alone, sorted(path.parent.glob(f"{path.name}-*.parquet"))):
        found = [file for file in candidates if file.is_file() and file.suffix in suffixes]
        if found:
            return found
    raise ValueError(f"must be a file of rows ({', '.join(suffixes)}), the stem of one, or a folder of them")


def _glob_parts(path: Path) -> tuple[Path, str]:
    """The folder where a glob begins, and the pattern below it."""
    parts = path.parts
    first = next(i for i, part in enumerate(parts) if any(sign in part for sign in "*?["))
    return Path(*parts[:first]), str(Path(*parts[first:]))


def _folder_files(folder: Path, suffixes: tuple[str, ...]) -> list[Path]:
    if (folder / SAVED).is_file() and ".arrow" in suffixes:
        return saved_files(folder)
    if (folder / SAVED_SPLITS).is_file():
        splits = sorted(path.parent.name for path in folder.glob(f"*/{SAVED}"))
        raise ValueError(f"must be one split of a saved data set, {folder.name}/ followed by one of {splits}")
    index = [file for suffix in suffixes if (file := folder / f"{INDEX}{suffix}").is_file()]
    if index:
        return index[:1]
    found = sorted(path for path in folder.rglob("*") if path.suffix in suffixes and path.is_file())
    kinds = sorted({path.suffix for path in found})
    if not found:
        raise ValueError(f"must hold files of rows ({', '.join(suffixes)}), got a folder without")
    if len(kinds) > 1:
        raise ValueError(f"must hold files of one kind, got {', '.join(kinds)}: name one, or use a glob")
    return found


class Files(Source):
    """``path`` is a file, a stem, a folder or a glob, see ``data_files``; the name says the format.

    Image paths are relative to the file that names them.
    """

    path: Path = Field(examples=["rows/*.parquet"])
    """A file, a stem, a folder or a glob."""

    def _suffixes(self) -> tuple[str, ...]:
        return SUFFIXES

    def inputs(self) -> list[Path]:
        try:
            return data_files(self.path, self._suffixes())
        except ValueError as error:
            raise FileNotFoundError(f"path {error}: {self.path}") from None

    def home(self, place: str) -> Path | None:
        return self._file(place.rpartition(":")[0]).parent

    @property
    def folder(self) -> Path:
        """What the names of files are relative to."""
        if any(sign in str(self.path) for sign in "*?[") and not self.path.exists():
            return _glob_parts(self.path)[0]
        return self.path if self.path.is_dir() else self.path.parent

    def _file(self, name: str) -> Path:
        return self.folder / name

    @cached_property
    def _whole(self) -> dict[Path, list[Record]]:
        """Files that were read whole already."""
        return {}

    @cached_property
    def _mapped(self) -> dict[Path, MappedRows]:
        return {}

    def partitions(self, rows: int) -> list[Partition]:
        """``start`` and ``stop`` are bytes of JSON Lines, row groups of Parquet, else places of rows."""
        found: list[Partition] = []
        for file in self.inputs():
            name = str(file.relative_to(self.folder))
            if file.suffix in LINES:
                found += _line_partitions(file, name, rows)
            elif file.suffix == ".parquet":
                found += _group_partitions(file, name, rows)
            else:
                total = len(self._arrow(file)) if file.suffix == ".arrow" else len(self._records(file))
                found += [part._replace(file=name) for part in cut(total, rows)]
        return found

    def read(self, partition: Partition) -> Iterator[RawRow]:
        return self._read(partition, stored=False)

    def stored(self, partition: Partition) -> Iterator[RawRow]:
        return self._read(partition, stored=True)

    def _read(self, partition: Partition, *, stored: bool) -> Iterator[RawRow]:
        file = self._file(partition.file)
        if file.suffix in LINES:
            records = _read_lines(file, partition)
        elif file.suffix == ".arrow" or (stored and file.suffix == ".parquet"):
            records = self._read_mapped(file, partition, stored)
        elif file.suffix == ".parquet":
            groups = list(range(partition.start, partition.stop))
            records = enumerate(map(as_row, iter_rows(file, row_groups=groups)), partition.first + 1)
        else:
            records = iter(self._records(file)[partition.start : partition.stop])
        for line, row in records:
            yield f"{partition.file}:{line}", row

    def _records(self, file: Path) -> list[Record]:
        if file not in self._whole:
            self._whole[file] = WHOLE[file.suffix](file)
        return self._whole[file]

    def _arrow(self, file: Path) -> MappedRows:
        if file not in self._mapped:
            self._mapped[file] = mapped_parquet(file) if file.suffix == ".parquet" else MappedRows(file)
        return self._mapped[file]

    def _read_mapped(self, file: Path, partition: Partition, stored: bool) -> Iterator[Record]:
        mapped = self._arrow(file)
        encoded = encoded_columns(mapped.schema)
        rows = mapped.rows(partition.first, partition.first + partition.rows)
        for line, values in enumerate(rows, start=partition.first + 1):
            row = as_row(decoded(values, encoded))
            yield line, row if stored or isinstance(row, Problem) else _loaded(row)


class Jsonl(Files):
    """One JSON object per line; image paths relative to the file."""

    def _suffixes(self) -> tuple[str, ...]:
        return LINES


class ParquetFiles(Files):
    """Parquet files, ours or foreign; a partition is a run of row groups."""

    def _suffixes(self) -> tuple[str, ...]:
        return (".parquet",)


def _loaded(value: Any) -> Any:
    """A value with the bytes that are stored in it."""
    if isinstance(value, dict):
        return {name: _loaded(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_loaded(item) for item in value]
    return value.read_bytes() if hasattr(value, "read_bytes") else value


def _line_partitions(file: Path, name: str, rows: int) -> list[Partition]:
    found: list[Partition] = []
    begin = offset = count = line = 0
    with file.open("rb") as stream:
        for raw in stream:
            offset += len(raw)
            line += 1
            count += 1
            if count == rows:
                found.append(Partition(name, begin, offset, line - count, count))
                begin, count = offset, 0
    if count:
        found.append(Partition(name, begin, offset, line - count, count))
    return found


def _read_lines(file: Path, partition: Partition) -> Iterator[Record]:
    with file.open("rb") as stream:
        stream.seek(partition.start)
        lines = (stream.readline() for _ in range(partition.rows))
        yield from line_records(lines, partition.first + 1)


def _group_partitions(file: Path, name: str, rows: int) -> list[Partition]:
    found: list[Partition] = []
    metadata = pq.read_metadata(file)
    first = begin = count = 0
    for group in range(metadata.num_row_groups):
        count += metadata.row_group(group).num_rows
        if count >= rows or group == metadata.num_row_groups - 1:
            found.append(Partition(name, begin, group + 1, first, count))
            first, begin, count = first + count, group + 1, 0
    return found
