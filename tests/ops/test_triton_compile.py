"""Every Triton kernel compiled for sm_80 and sm_90, without a GPU: no spills, shared memory that a block may
have, and the instructions of Hopper's tensor cores. That it also computes the right values is for
test_triton_interpreter.py and, on a GPU, benchmarks/gpu_check.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

MAX_SHARED = {80: 163 * 1024, 90: 227 * 1024}


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    pytest.importorskip("triton")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    environment.pop("TRITON_INTERPRET", None)
    program = Path(__file__).with_name("triton_compile.py")
    command = [sys.executable, str(program), *map(str, MAX_SHARED)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_every_kernel_is_compiled(report: dict[str, Any]) -> None:
    assert report["unnamed"] == {module: [] for module in report["unnamed"]}
    names = {kernel["kernel"].partition("(")[0] for kernel in report["kernels"]}
    assert {"cosines_kernel", "averages_kernel"} <= names
    assert {kernel["capability"] for kernel in report["kernels"]} == set(MAX_SHARED)


def test_no_kernel_spills(report: dict[str, Any]) -> None:
    assert [kernel for kernel in report["kernels"] if kernel["spills"] or kernel["stack"]] == []
    assert all(0 < kernel["registers"] <= 255 for kernel in report["kernels"])


def test_no_division_is_approximate(report: dict[str, Any]) -> None:
    """Equal boxes score exactly 1, which two units in the last place would spoil."""
    assert [kernel for kernel in report["kernels"] if kernel["approximate_divisions"]] == []


def test_shared_memory_fits_a_block(report: dict[str, Any]) -> None:
    assert [k for k in report["kernels"] if k["shared"] > MAX_SHARED[k["capability"]]] == []


def test_products_of_16_bit_floats_use_the_tensor_cores_of_hopper(report: dict[str, Any]) -> None:
    products = [kernel for kernel in report["kernels"] if any("f16>" in dot for dot in kernel["dots"])]
    assert {kernel["capability"] for kernel in products} == set(MAX_SHARED)
    assert [k for k in products if k["wgmma"] != (k["capability"] == 90)] == []
