"""``python -m benchmarks.bmas_levels P G LENGTH REFERENCE DIM OUT``: BMAS at the level of MIXED_R1_ISA.

The level is chosen once for a process, so each is measured in one of its own, on the standard batch.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.harness import ROOT
from benchmarks.text import batch, table_bits
from mixed_r1_kernels import EmbeddingTable, _native, bmas

LEVELS = ("generic", "avx2", "avx512", "avx512bf16", "amx")
ROUNDS = 15


class Level(NamedTuple):
    name: str
    scores: np.ndarray  # [2, N]: precision, recall
    seconds: float  # median, processor time of one thread


def lower_levels() -> tuple[str, ...]:
    """Those below what this process uses."""
    return LEVELS[: LEVELS.index(_native.isa())]


def at_level(name: str, shape: tuple[int, int, int, int], dim: int) -> Level:
    """``shape`` as ``batch`` takes it."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "level.npz"
        command = [sys.executable, "-m", "benchmarks.bmas_levels", *map(str, shape), str(dim), str(out)]
        subprocess.run(command, cwd=ROOT, env=os.environ | {"MIXED_R1_ISA": name}, check=True)
        with np.load(out) as found:
            return Level(name, found["scores"], float(found["seconds"]))


def main() -> None:
    *shape, dim = map(int, sys.argv[1:-1])
    data = batch(*shape)
    table = EmbeddingTable(table_bits(dim), dtype="bfloat16")
    seconds = []
    for _ in range(ROUNDS):
        started = time.process_time()
        scores = bmas(
            data.completions,
            data.references,
            table,
            reference_of=data.reference_of,
            impl="native",
            num_threads=1,
        )
        seconds.append(time.process_time() - started)
    np.savez(sys.argv[-1], scores=np.stack(scores[:2]), seconds=statistics.median(seconds))


if __name__ == "__main__":
    main()
