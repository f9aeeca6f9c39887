"""The features of all rows as columns; rows are numbered in the order of sources and partitions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.engine.features import COLOURS, feature_schema
from mixed_r1.data.engine.signatures import NUM_PERMUTATIONS
from mixed_r1.data.storage import hash64

__all__ = ["Drops", "FeatureTable", "Ragged", "read_drops", "write_drops"]


class Ragged(NamedTuple):
    """Lists of unequal length: list i is values[offsets[i]:offsets[i + 1]]."""

    values: np.ndarray
    offsets: np.ndarray

    def counts(self) -> np.ndarray:
        return np.diff(self.offsets)

    def firsts(self) -> np.ndarray:
        """The first value of each list, 0 for empty ones."""
        if not len(self.values):
            return np.zeros(len(self.offsets) - 1, dtype=self.values.dtype)
        firsts = self.values[np.minimum(self.offsets[:-1], len(self.values) - 1)]
        return np.where(self.counts() > 0, firsts, 0)

    def owners(self) -> np.ndarray:
        """For each value, the list it is in."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts())


class Drops(NamedTuple):
    """Rows that a stage drops, ascending, each with its reason and a detail."""

    rows: np.ndarray
    reasons: list[str]
    details: list[str]


class FeatureTable:
    """Columns of the feature files of ``stems``, read when asked for and as compact as they come.

    ``starts[k]`` is the number of the first row of ``stems[k]``; ``len`` is the number of rows.
    """

    def __init__(self, stems: Sequence[Path], counts: Sequence[int]) -> None:
        self.stems = list(stems)
        self.starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    @classmethod
    def of_file(cls, stem: Path) -> FeatureTable:
        return cls([stem], [pq.read_metadata(_file(stem)).num_rows])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def parts(self, *names: str) -> Iterator[pa.Table]:
        """The columns ``names`` of each of ``stems``."""
        for stem in self.stems:
            yield pq.read_table(_file(stem), columns=list(names))

    def column(self, name: str) -> pa.ChunkedArray:
        chunks = [chunk for part in self.parts(name) for chunk in part.column(0).chunks]
        return pa.chunked_array(chunks, type=feature_schema().field(name).type)

    def numbers(self, name: str) -> np.ndarray:
        return self.column(name).to_numpy()

    def codes(self, name: str) -> tuple[list[str], np.ndarray]:
        """The texts of a column, each once in order, and for every row which it is (-1: none)."""
        found: dict[str | None, int] = {}
        parts = [np.zeros(0, dtype=np.int64)]
        for chunk in self.column(name).chunks:
            encoded = chunk.dictionary_encode(null_encoding="encode")
            numbers = [found.setdefault(text, len(found)) for text in encoded.dictionary.to_pylist()]
            parts.append(np.asarray(numbers, dtype=np.int64)[encoded.indices.to_numpy()])
        names = sorted(text for text in found if text is not None)
        rank = np.asarray([-1 if text is None else names.index(text) for text in found], dtype=np.int64)
        return names, rank[np.concatenate(parts)] if found else parts[0]

    def ragged(self, name: str) -> Ragged:
        chunks = self.column(name).chunks
        values = [chunk.flatten().to_numpy(zero_copy_only=False) for chunk in chunks]
        counts = [chunk.value_lengths().to_numpy(zero_copy_only=False) for chunk in chunks]
        empty = np.zeros(0, dtype=np.uint64)
        offsets = np.cumsum(np.concatenate([[0], *counts]), dtype=np.int64)
        return Ragged(np.concatenate(values) if values else empty, offsets)

    def colours(self) -> np.ndarray:
        """The colours [images, COLOURS] of all images, uint8, in the order of ``ragged("perceptual")``."""
        parts = [np.zeros((0, COLOURS), np.uint8)]
        for chunk in self.column("colours").chunks:
            held = b"".join(chunk.flatten().to_pylist())
            parts.append(np.frombuffer(held, np.uint8).reshape(-1, COLOURS))
        return np.concatenate(parts)

    def signature_parts(self) -> Iterator[np.ndarray]:
        """MinHash signatures [rows, permutations], uint32, of each of ``stems``."""
        for part in self.parts("signature"):
            chunks = [_signatures(chunk) for chunk in part.column(0).chunks]
            yield np.concatenate([np.empty((0, NUM_PERMUTATIONS), dtype=np.uint32), *chunks])

    def signatures(self, rows: np.ndarray) -> np.ndarray:
        """The signatures of ``rows`` (ascending)."""
        found = [np.empty((0, NUM_PERMUTATIONS), dtype=np.uint32)]
        for start, part in zip(self.starts, self.signature_parts(), strict=False):
            here = rows[(rows >= start) & (rows < start + len(part))]
            found.append(part[here - start])
        return np.concatenate(found)

    def short_signatures(self) -> np.ndarray:
        """The lower half of every hash of every signature: equal by chance once in 65,536."""
        found = np.empty((len(self), NUM_PERMUTATIONS), dtype=np.uint16)
        for start, part in zip(self.starts, self.signature_parts(), strict=False):
            found[start : start + len(part)] = part.astype(np.uint16)
        return found

    def ranks(self, seed: int) -> np.ndarray:
        """A random uint64 for each row, which depends on its id and ``seed`` alone."""
        salt = f"{seed}:"
        names = (name for chunk in self.column("id").chunks for name in chunk.to_pylist())
        return np.fromiter(
            (hash64((salt + name).encode()) for name in names), dtype=np.uint64, count=len(self)
        )


def _signatures(chunk: pa.FixedSizeBinaryArray) -> np.ndarray:
    values = np.frombuffer(chunk.buffers()[1], dtype="<u4").reshape(-1, NUM_PERMUTATIONS)
    return values[chunk.offset : chunk.offset + len(chunk)]


def _file(stem: Path) -> Path:
    return stem.with_name(stem.name + ".features.parquet")


def write_drops(path: Path, drops: Drops) -> None:
    table = pa.table(
        {
            "row": pa.array(drops.rows, type=pa.int64()),
            "reason": pa.array(drops.reasons, type=pa.string()),
            "detail": pa.array(drops.details, type=pa.string()),
        }
    )
    pq.write_table(table, path)


def read_drops(path: Path) -> Drops:
    table = pq.read_table(path)
    return Drops(
        table.column("row").to_numpy(), table.column("reason").to_pylist(), table.column("detail").to_pylist()
    )
