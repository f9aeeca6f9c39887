"""csrc/cuda compiled by nvcc for sm_80 and sm_90a, where nvcc is: no warning, no spill. That needs no GPU.

Values are for test_cuda_on_cpu.py and, on a GPU, benchmarks/gpu_check.py.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TARGETS = {"sm_80": "arch=compute_80,code=sm_80", "sm_90a": "arch=compute_90a,code=sm_90a"}
SOURCES = sorted((ROOT / "csrc" / "cuda").glob("*.cu"))


def test_there_is_something_to_compile() -> None:
    assert "bmas" in {source.stem for source in SOURCES}


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (the CUDA toolkit) is not installed")
@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_no_warning_and_no_spill(source: Path, tmp_path: Path) -> None:
    command = [
        "nvcc",
        "-std=c++20",
        "-O3",
        "-Xptxas=-v",
        "-Werror=all-warnings",
        "-Xcompiler=-Wall,-Wextra,-Werror",
    ]
    command += [f"-gencode={target}" for target in TARGETS.values()]
    command += ["-I", str(ROOT / "csrc"), "-c", str(source), "-o", str(tmp_path / "object.o")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    kernels = re.findall(
        r"Compiling entry function '(\w+)' for '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores,"
        r" (\d+) bytes spill loads.*?Used (\d+) registers",
        done.stderr,
        re.DOTALL,
    )
    assert {target for _, target, *_ in kernels} == set(TARGETS)
    assert [kernel for kernel in kernels if kernel[2:5] != ("0", "0", "0")] == []
    assert all(0 < int(registers) <= 255 for *_, registers in kernels)
