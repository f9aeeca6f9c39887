"""Rows whose images stay on disk: Arrow files mapped into memory, pictures read when they are drawn.

A Parquet file is compressed in groups of rows, some of which hold the whole file, so one picture cannot be
read by itself. It is written once as an Arrow stream into the cache folder, a few rows at a time, and from
then on mapped: the ranks of a run, and later runs, share it. What was mapped to read a picture is given back
to the system again, so a run's memory does not grow with the pictures it has seen.

Folders that Hugging Face ``datasets`` saved are Arrow streams already.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.arrow import hub_features, plain_rows, reader_of
from mixed_r1.files import atomic_path

__all__ = ["MappedRows", "StoredBytes", "cache_folder", "mapped_parquet", "saved_files"]

BATCH = 32  # rows that are converted together: a few photographs each
GIVE_BACK = 64 * 1024 * 1024  # bytes read before mapped pages are given back


def cache_folder() -> Path:
    """Where converted files are kept: ``MIXED_R1_CACHE``, else the user's cache, else a temporary folder."""
    given = os.environ.get("MIXED_R1_CACHE")
    home = Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = home if given else home / "mixed-r1"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    folder = Path(tempfile.gettempdir()) / f"mixed-r1-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    return folder


def mapped_parquet(file: Path) -> MappedRows:
    """The rows of a Parquet file, converted if they have not been since it was last changed.

    Raises:
        OSError or pyarrow.ArrowException: the file is not readable Parquet, or the disk is full.
    """
    path, stat = file.resolve(), file.stat()
    name = hashlib.sha256(f"{path}\0{stat.st_size}\0{stat.st_mtime_ns}".encode()).hexdigest()[:24]
    target = cache_folder() / f"{file.stem[:40]}-{name}.arrow"
    with target.with_suffix(".converting").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of several ranks one converts, the others wait for it
        if not target.is_file():
            with atomic_path(target) as temporary:
                _convert(file, temporary)
    return MappedRows(target)


def _convert(file: Path, target: Path) -> None:
    # Without a buffer size a whole column of a row group is read at once, and that may be the whole file.
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=1 << 20) as source:
        with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_stream(sink, source.schema_arrow) as writer:
            for batch in source.iter_batches(batch_size=BATCH, use_threads=False):
                writer.write_batch(batch)
    pa.default_memory_pool().release_unused()


def saved_files(folder: Path) -> list[Path]:
    """The Arrow files of a data set that ``datasets`` saved into ``folder``, in order."""
    state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
    return [folder / entry["filename"] for entry in state["_data_files"]]


class _Pages:
    """A file mapped into memory, whose pages are given back now and then."""

    def __init__(self, file: Path) -> None:
        with file.open("rb") as stream:
            self.map = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        self.read = 0

    def count(self, size: int) -> None:
        """``size`` bytes were read out of the map."""
        self.read += size
        if self.read >= GIVE_BACK:
            self.read = 0
            self.map.madvise(mmap.MADV_DONTNEED)  # the file still has them


class StoredBytes:
    """Bytes in a mapped file; ``str`` of it says where."""

    __slots__ = ("_array", "_index", "_pages")

    def __init__(self, array: pa.Array, index: int, pages: _Pages) -> None:
        self._array, self._index, self._pages = array, index, pages

    def read_bytes(self) -> bytes:
        payload: bytes = self._array[self._index].as_py()
        self._pages.count(len(payload))
        return payload

    def __str__(self) -> str:
        return f"of {self._array[self._index].as_buffer().size} bytes"


class MappedRows:
    """The rows of an Arrow stream. Binary values, which are images, come as StoredBytes."""

    def __init__(self, file: Path) -> None:
        self._pages = _Pages(file)
        buffer = pa.py_buffer(self._pages.map)
        if self._pages.map[:6] == b"ARROW1":  # the same, with an index at its end
            reader = pa.ipc.open_file(buffer)
            self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        else:
            reader = pa.ipc.open_stream(buffer)
            self._batches = list(reader)
        self.schema = reader.schema
        self._features = hub_features(self.schema)

    def __len__(self) -> int:
        return sum(batch.num_rows for batch in self._batches)

    def rows(self, start: int = 0, stop: int | None = None) -> Iterator[dict[str, Any]]:
        """Plain rows ``start`` to ``stop``."""
        stop = len(self) if stop is None else stop
        first = 0
        for batch in self._batches:
            low, high = max(start, first), min(stop, first + batch.num_rows)
            if low < high:
                yield from self._plain(batch.slice(low - first, high - low))
            first += batch.num_rows

    def _plain(self, batch: pa.RecordBatch) -> list[dict[str, Any]]:
        binary = [field.name for field in batch.schema if _holds_bytes(field.type)]
        rows = plain_rows(batch.drop_columns(binary) if binary else batch, self._features)
        rows = rows or [{} for _ in range(batch.num_rows)]
        for name in binary:
            for row, value in zip(
                rows, self._stored(batch.column(name), self._features.get(name)), strict=True
            ):
                row[name] = value
        return rows

    def _stored(self, array: pa.Array, feature: Any) -> list[Any]:
        """The values of an array, with StoredBytes for its bytes."""
        kind, valid = array.type, array.is_valid().to_pylist()
        if not _holds_bytes(kind):
            reader = reader_of(kind, feature)
            values = array.to_pylist()
            return values if reader is None else [reader(value) for value in values]
        if pa.types.is_struct(kind):
            names = [kind.field(i).name for i in range(kind.num_fields)]
            # Not array.field: it forgets where a slice begins.
            columns = [self._stored(column, None) for column in array.flatten()]
            rows = zip(*columns, strict=True)
            return [
                dict(zip(names, row, strict=True)) if v else None for row, v in zip(rows, valid, strict=True)
            ]
        if pa.types.is_list(kind) or pa.types.is_large_list(kind):
            lengths = [length or 0 for length in array.value_lengths().to_pylist()]
            values, items = iter(self._stored(array.flatten(), None)), []
            for length, given in zip(lengths, valid, strict=True):
                found = [next(values) for _ in range(length)]
                items.append(found if given else None)
            return items
        return [StoredBytes(array, i, self._pages) if given else None for i, given in enumerate(valid)]


def _holds_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_holds_bytes(kind.field(i).type) for i in range(kind.num_fields))
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return _holds_bytes(kind.value_type)
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)
