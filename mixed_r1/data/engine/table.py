"""The features of all rows as columns; rows are numbered in the order of sources and partitions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.engine.features import NUM_PERMUTATIONS
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

    def of(self, i: int) -> np.ndarray:
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def owners(self) -> np.ndarray:
        """For each value, the list it is in."""
        return np.repeat(np.arange(len(self.offsets) - 1), self.counts())


class Drops(NamedTuple):
    """Rows that a stage drops, ascending, each with its reason and a detail."""

    rows: np.ndarray
    reasons: list[str]
    details: list[str]


class FeatureTable:
    """Columns of the feature files of ``stems``, read when asked for.

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

    def column(self, name: str) -> pa.Array:
        parts = [pq.read_table(_file(stem), columns=[name]).column(0) for stem in self.stems]
        chunks = [chunk for part in parts for chunk in part.chunks]
        return pa.concat_arrays(chunks) if chunks else pa.array([], type=pa.null())

    def numbers(self, name: str) -> np.ndarray:
        return self.column(name).to_numpy(zero_copy_only=False)

    def texts(self, name: str) -> list[str]:
        return self.column(name).to_pylist()

    def ragged(self, name: str) -> Ragged:
        column = self.column(name)
        if not len(column):
            return Ragged(np.zeros(0, dtype=np.uint64), np.zeros(1, dtype=np.int64))
        values = column.flatten().to_numpy(zero_copy_only=False)
        counts = column.value_lengths().to_numpy(zero_copy_only=False)
        return Ragged(values, np.concatenate([[0], np.cumsum(counts)]).astype(np.int64))

    def signatures(self) -> np.ndarray:
        """MinHash signatures [rows, permutations], uint32."""
        data = b"".join(self.column("signature").to_pylist())
        return np.frombuffer(data, dtype="<u4").reshape(len(self), NUM_PERMUTATIONS)

    def ranks(self, seed: int) -> np.ndarray:
        """A uint64 per row from its id and ``seed`` alone: it decides what chance decides."""
        salt = f"{seed}:"
        return np.fromiter(
            (hash64((salt + name).encode()) for name in self.texts("id")), dtype=np.uint64, count=len(self)
        )


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
