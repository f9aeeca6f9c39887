"""csrc/torch_*_cuda.cpp, the launchers of torch.ops.mixed_r1 for CUDA tensors, run on the CPU: built with
csrc/cuda through the headers of cuda_on_cpu and torch_cuda_on_cpu, and registered in place of the CPU
kernels. What this cannot show is a real device, with its streams and its own memory; gpu_check.py does."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

ROOT = Path(__file__).resolve().parents[2]
EMULATION = [Path(__file__).with_name(name) for name in ("torch_cuda_on_cpu", "cuda_on_cpu")]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]

SCRIPT = """
import sys
import numpy as np
import torch
import mixed_r1_kernels.ops
from mixed_r1_kernels import EmbeddingTable, bmas, box_iou, group_advantages, paired_box_iou
from mixed_r1_kernels.group_advantages import METHODS

torch.ops.load_library(sys.argv[1])
ops, rng = torch.ops.mixed_r1, np.random.default_rng(0)
for dtype in (torch.float32, torch.float64):
    a, b = (torch.from_numpy(rng.random((n, 4)) * 9).to(dtype) for n in (40, 33))
    a[3, 1] = torch.nan
    for kind in ("iou", "giou", "diou", "ciou"):
        atol = 1e-5 if dtype == torch.float32 else 1e-12
        expected = box_iou(a, b, kind=kind, impl="native")
        torch.testing.assert_close(ops.box_iou(a, b.T.contiguous().T, kind), expected, atol=atol, rtol=0)
        expected = paired_box_iou(a[:33], b, kind=kind, impl="native")
        torch.testing.assert_close(ops.paired_box_iou(a[:33], b, kind), expected, atol=atol, rtol=0)
    assert ops.box_iou(a[:0], b).shape == (0, 33)

rewards, mask = torch.from_numpy(rng.random((60, 2))), torch.from_numpy(rng.random(60) > 0.1)
rewards[5, 1] = torch.nan
sizes, weights = torch.tensor([1, 9, 40, 10]), torch.tensor([0.7, 0.3], dtype=torch.float64)
for method in METHODS:
    scales = torch.full((60,), 0.5, dtype=torch.float64) if method == "task_ema" else None
    found = ops.group_advantages(rewards, sizes, weights, mask, method, 1e-6, scales)
    plain = "mean_only" if method == "task_ema" else method
    expected = group_advantages(rewards, sizes, weights=weights, mask=mask, method=plain, impl="native")
    expected = expected / 0.500001 if method == "task_ema" else expected
    torch.testing.assert_close(found, expected, atol=1e-12, rtol=0)
assert ops.group_advantages(rewards[:0], sizes[:0], weights).shape == (0,)

def flat(lists):
    ids = torch.from_numpy(np.concatenate([np.asarray(one, np.int64) for one in lists]))
    return ids, torch.tensor([0, *np.cumsum([len(one) for one in lists])])

for dtype in (torch.float32, torch.float16, torch.bfloat16):
    table = EmbeddingTable(torch.from_numpy(rng.standard_normal((150, 40)).astype(np.float32)).to(dtype))
    completions = [rng.integers(0, 150, n) for n in (90, 0, 3, 120, 1)]
    references = [rng.integers(0, 150, n) for n in (70, 2, 0, 66)]
    pairs = torch.tensor([0, 1, 3, 0, 2])
    expected = bmas(completions, references, table, reference_of=pairs, impl="reference")
    found = ops.bmas(*table.tensors(), *flat(completions), *flat(references), pairs)
    np.testing.assert_allclose(np.stack(found), np.stack(expected[:2]), rtol=0, atol=5e-7)
    start = torch.tensor([0])
    assert ops.bmas(*table.tensors(), pairs[:0], start, pairs[:0], start, pairs[:0])[0].shape == (0,)
"""


def test_launchers_of_every_op(tmp_path: Path) -> None:
    pytest.importorskip("mixed_r1_kernels._torch_ops")
    from torch.utils import cpp_extension

    csrc, library = ROOT / "csrc", tmp_path / "launchers.so"
    names = ["torch_checks", "core/bmas_device_plan", "core/bmas_plan", "core/thread_pool"]
    launchers = sorted(csrc.glob("torch_*_cuda.cpp"))
    assert {f"torch_{path.stem}_cuda" for path in (csrc / "cuda").glob("*.cu")} == {p.stem for p in launchers}
    sources = [*launchers, *(csrc / f"{name}.cpp" for name in names), *sorted((csrc / "cuda").glob("*.cu"))]
    command = ["g++", "-std=c++20", "-O1", "-shared", "-fPIC", "-fvisibility=hidden", "-pthread"]
    command += ["-Wno-unknown-pragmas", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
    command += ['-DMIXED_R1_TORCH_DEVICE="on_the_cpu.h"']
    command += [f"-I{folder}" for folder in (*EMULATION, csrc)]
    command += [f"-isystem{path}" for path in cpp_extension.include_paths()]
    command += ["-x", "c++", *map(str, sources), *(f"-L{path}" for path in cpp_extension.library_paths())]
    command += ["-ltorch_cpu", "-o", str(library)]
    built = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(library)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # Without this line the script would have tested the CPU kernels.
    assert "Overriding a previously registered kernel" in done.stderr, done.stderr
