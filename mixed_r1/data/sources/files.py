"""Rows that are already close to samples: JSONL and Parquet files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mixed_r1.data.checks import Problem
from mixed_r1.data.loaders import parse_line
from mixed_r1.data.parquet import iter_rows
from mixed_r1.data.sources.base import Partition, RawRow, Source

__all__ = ["Jsonl", "ParquetFiles"]


class _Files(Source):
    """``path`` is a file, or a folder whose files of the right suffix are read in order of their names."""

    path: Path

    def _files(self, suffix: str) -> list[Path]:
        files = sorted(self.path.rglob(f"*{suffix}")) if self.path.is_dir() else [self.path]
        missing = [str(file) for file in files if not file.is_file()]
        if missing or not files:
            raise FileNotFoundError(f"path must be a {suffix} file or a folder of them, got {self.path}")
        return files

    def _folder(self) -> Path:
        return self.path if self.path.is_dir() else self.path.parent

    def _located(self, file: str, line: int, row: Any) -> RawRow:
        place = f"{file}:{line}"
        if isinstance(row, ValueError):
            return place, Problem("row", str(row))
        if not isinstance(row, dict):
            return place, Problem("row", f"must be an object of fields, got {type(row).__name__}")
        if isinstance(row.get("images"), list):
            home = (self._folder() / file).parent
            row["images"] = [
                str(home / image) if isinstance(image, str) else image for image in row["images"]
            ]
        return place, row


class Jsonl(_Files):
    """One JSON object per line; image paths relative to the file."""

    def inputs(self) -> list[Path]:
        return self._files(".jsonl")

    def partitions(self, rows: int) -> list[Partition]:
        """``start`` and ``stop`` are byte offsets."""
        found: list[Partition] = []
        for file in self._files(".jsonl"):
            name = str(file.relative_to(self._folder()))
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

    def read(self, partition: Partition) -> Iterator[RawRow]:
        with (self._folder() / partition.file).open("rb") as stream:
            stream.seek(partition.start)
            line = partition.first
            while stream.tell() < partition.stop:
                raw = stream.readline()
                line += 1
                if raw.strip():
                    yield self._located(partition.file, line, parse_line(raw))


class ParquetFiles(_Files):
    """Parquet files, ours or foreign; a partition is a run of row groups."""

    def inputs(self) -> list[Path]:
        return self._files(".parquet")

    def partitions(self, rows: int) -> list[Partition]:
        """``start`` and ``stop`` are row groups."""
        import pyarrow.parquet as pq

        found: list[Partition] = []
        for file in self._files(".parquet"):
            name = str(file.relative_to(self._folder()))
            metadata = pq.read_metadata(file)
            first = begin = count = 0
            for group in range(metadata.num_row_groups):
                count += metadata.row_group(group).num_rows
                if count >= rows or group == metadata.num_row_groups - 1:
                    found.append(Partition(name, begin, group + 1, first, count))
                    first, begin, count = first + count, group + 1, 0
        return found

    def read(self, partition: Partition) -> Iterator[RawRow]:
        file = self._folder() / partition.file
        groups = list(range(partition.start, partition.stop))
        for i, row in enumerate(iter_rows(file, row_groups=groups)):
            yield self._located(partition.file, partition.first + i + 1, row)
