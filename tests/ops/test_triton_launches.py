"""Every launch that the device tests make, with its own arguments, compiled for sm_90 without a GPU: what
test_triton_compile.py compiles is the list of launches that the kernels' authors had in mind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parent
LEAST = {"bmas": 8, "box_iou": 16, "group_advantages": 5, "token_logprobs": 12}  # different launches

pytestmark = pytest.mark.slow


def launches(path: Path, folder: Path) -> dict[str, Any]:
    report = folder / "launches.json"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(FOLDER), *filter(None, sys.path)]),
        "LAUNCHES": str(report),
    }
    for name in ("TRITON_INTERPRET", "MIXED_R1_IMPL"):
        environment.pop(name, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += ["-p", "compile_launches", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    return json.loads(report.read_text(encoding="utf-8"))


@pytest.mark.parametrize("op", LEAST)
def test_launches_of_the_device_tests_compile_without_spills(op: str, tmp_path: Path) -> None:
    pytest.importorskip("triton")
    report = launches(FOLDER / f"device_{op}.py", tmp_path)
    assert report["failures"] == []
    assert len(report["compiled"]) >= LEAST[op]
    assert [one for one in report["compiled"] if one["spills"] or one["stack"]] == []
    assert all(one["shared"] <= 227 * 1024 for one in report["compiled"])


def test_a_launch_that_does_not_compile_is_found(tmp_path: Path) -> None:
    pytest.importorskip("triton")
    (tmp_path / "kernels.py").write_text(
        "import triton\nimport triton.language as tl\n\n\n"
        "@triton.jit\ndef add_kernel(x_ptr, COUNT: tl.constexpr):\n"
        "    x = tl.load(x_ptr + tl.arange(0, COUNT))\n    tl.store(x_ptr + tl.arange(0, COUNT), x + 1)\n"
    )
    test = tmp_path / "device_broken.py"
    test.write_text(
        f"import os, sys\nos.environ.pop('TRITON_INTERPRET')\nsys.path.insert(0, {str(tmp_path)!r})\n"
        "import torch, pytest\nimport kernels\n\n\n@pytest.mark.parametrize('count', [16, 17])\n"
        "def test_add(count):\n    kernels.add_kernel[(1,)](torch.zeros(32), COUNT=count)\n    assert False\n"
    )
    report = launches(test, tmp_path)
    assert [one["kernel"] for one in report["compiled"]] == ["add_kernel"]
    assert len(report["failures"]) == 1 and "add_kernel" in report["failures"][0]
