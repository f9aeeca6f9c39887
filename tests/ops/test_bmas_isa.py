"""Every instruction set this machine has, each in a process of its own: MIXED_R1_ISA is read once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mixed_r1_kernels import _native

LEVELS = ("generic", "avx2", "avx512", "avx512bf16", "amx")
AVAILABLE = LEVELS[: LEVELS.index(_native.detected_isa()) + 1]

SCRIPT = """
import sys
import numpy as np
from mixed_r1_kernels import EmbeddingTable, _native, bmas

rng = np.random.default_rng(0)
results = {"isa": np.array(_native.isa())}
for dtype in ("float32", "float16", "bfloat16"):
    for dim in (1, 7, 16, 31, 32, 63, 64, 100, 257):
        rows = rng.standard_normal((300, dim)).astype(np.float32)
        rows[3] = 0
        rows = (rows.view(np.uint32) >> 16).astype(np.uint16) if dtype == "bfloat16" else rows.astype(dtype)
        table = EmbeddingTable(rows, dtype=dtype)
        completions = [rng.integers(0, 300, n) for n in rng.integers(0, 250, 24)]
        references = [rng.integers(0, 300, n) for n in rng.integers(0, 160, 6)]
        pairs = rng.integers(0, 6, 24)
        key = f"{dtype}-{dim}"

        def scores(order, **options):
            chosen = [completions[i] for i in order]
            return np.stack(bmas(chosen, references, table, reference_of=pairs[order], **options))

        results[key] = scores(np.arange(24), impl="native", num_threads=1)
        results["reference-" + key] = scores(np.arange(24), impl="reference")
        order = rng.permutation(24)
        assert (scores(order, impl="native", num_threads=2) == results[key][:, order]).all(), key
np.savez(sys.argv[1], **results)
"""


def run(isa: str, script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    environment = os.environ | {"MIXED_R1_ISA": isa, "PYTHONPATH": path}
    command = [sys.executable, "-c", script, *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("isa", AVAILABLE)
def test_each_level_is_used_and_right(isa: str, tmp_path: Path) -> None:
    done = run(isa, SCRIPT, str(tmp_path / "scores.npz"))
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "scores.npz") as results:
        assert str(results["isa"]) == isa
        keys = [key for key in results.files if f"reference-{key}" in results.files]
        assert len(keys) == 27
        for key in keys:
            np.testing.assert_allclose(
                results[key], results[f"reference-{key}"], rtol=0, atol=5e-7, err_msg=key
            )


def test_a_cap_above_the_machine_is_harmless() -> None:
    done = run(LEVELS[-1], "from mixed_r1_kernels import _native; print(_native.isa())")
    assert done.stdout.strip() == AVAILABLE[-1]


def test_an_unknown_level_is_an_error() -> None:
    done = run("sse9", "from mixed_r1_kernels import _native; _native.isa()")
    assert done.returncode != 0
    assert "MIXED_R1_ISA must be generic, avx2, avx512, avx512bf16 or amx, got 'sse9'" in done.stderr
