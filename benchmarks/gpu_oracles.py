"""Problems of gpu_check.py whose exact answers take longer than a GPU should wait, with the answers.

``python -m benchmarks.gpu_oracles FOLDER`` writes them beforehand, inputs included, because the texts depend
on the versions of Python and of tokenizers. MIXED_R1_GPU_ORACLES names the folder when the cases are run;
what is not in it is computed there and then.
"""

from __future__ import annotations

import hashlib
import os
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from benchmarks.text import VOCABULARY, batch
from mixed_r1_kernels import EmbeddingTable, bmas

FOLDER = "MIXED_R1_GPU_ORACLES"
SIZES = ((8, 2048), (8, 3584), (64, 2048))  # prompts, width of a row
_FIELDS = (
    "completion_ids",
    "completion_sizes",
    "reference_ids",
    "reference_sizes",
    "reference_of",
    "expected",
)


class BmasProblem(NamedTuple):
    """P prompts x 16 completions of real text, and precision and recall [2, N] by the float64 reference."""

    rows: torch.Tensor  # [VOCABULARY, d] bfloat16
    completions: list[list[int]]
    references: list[list[int]]
    reference_of: np.ndarray
    expected: np.ndarray

    def distinct(self) -> tuple[int, int]:
        """(pairs of distinct ids summed over the groups, distinct ids of all)"""
        products, seen = 0, set()
        for prompt, reference in enumerate(self.references):
            members = np.flatnonzero(self.reference_of == prompt)
            rows = set().union(*(self.completions[i] for i in members))
            products += len(rows) * len(set(reference))
            seen |= rows.union(reference)
        return products, len(seen)


def bmas_problem(prompts: int, dim: int) -> BmasProblem:
    rows = _table(dim)
    path = Path(os.environ.get(FOLDER, os.devnull)) / _name(prompts, dim)
    if path.exists():
        with np.load(path) as saved:
            if str(saved["table"]) == _digest(rows):
                return _unpack(rows, {name: saved[name] for name in _FIELDS})
    data = batch(prompts, 16, 554, 150)
    expected = bmas(
        data.completions,
        data.references,
        EmbeddingTable(rows),
        reference_of=data.reference_of,
        impl="reference",
    )
    return BmasProblem(rows, *data, np.stack(expected[:2]))


def _table(dim: int) -> torch.Tensor:
    """Rows around a common direction, as trained embeddings are."""
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((VOCABULARY, dim), np.float32) * np.float32(0.02)
    rows += np.float32(0.01) * rng.standard_normal(dim, np.float32)
    return torch.from_numpy(rows).bfloat16()


def _digest(rows: torch.Tensor) -> str:
    return hashlib.sha256(rows.view(torch.int16).numpy().tobytes()).hexdigest()


def _name(prompts: int, dim: int) -> str:
    return f"bmas-{prompts}x16-d{dim}.npz"


def _unpack(rows: torch.Tensor, saved: dict[str, np.ndarray]) -> BmasProblem:
    def lists(side: str) -> list[list[int]]:
        ends = np.cumsum(saved[f"{side}_sizes"])[:-1]
        return [part.tolist() for part in np.split(saved[f"{side}_ids"], ends)]

    return BmasProblem(
        rows, lists("completion"), lists("reference"), saved["reference_of"], saved["expected"]
    )


def write(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for prompts, dim in SIZES:
        problem = bmas_problem(prompts, dim)
        arrays = {"reference_of": problem.reference_of, "expected": problem.expected}
        for side, lists in (("completion", problem.completions), ("reference", problem.references)):
            arrays[f"{side}_ids"] = np.concatenate([np.asarray(ids, np.int32) for ids in lists])
            arrays[f"{side}_sizes"] = np.array([len(ids) for ids in lists])
        np.savez_compressed(folder / _name(prompts, dim), table=_digest(problem.rows), **arrays)


if __name__ == "__main__":
    write(Path(sys.argv[1]))
