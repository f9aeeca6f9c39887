"""Runs device_*.py (values of the GPU implementations) in Triton's interpreter, each in a process of its own:
TRITON_INTERPRET is read where @triton.jit is. interpreter_red_zones.py checks every address they touch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest


def numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


# Up to 3.6 the interpreter takes arrays of one element for scalars, which NumPy 2.4 refuses.
TOO_OLD = (
    importlib.util.find_spec("triton") is not None
    and numbers(importlib.metadata.version("triton")) < (3, 7)
    and numbers(importlib.metadata.version("numpy")) >= (2, 4)
)
FILES = sorted(Path(__file__).parent.glob("device_*.py"))


@pytest.mark.skipif(TOO_OLD, reason="Triton's interpreter before 3.7 does not work with NumPy 2.4")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_values_in_the_interpreter(path: Path) -> None:
    pytest.importorskip("triton")
    search_path = os.pathsep.join([str(path.parent), *filter(None, sys.path)])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": search_path}
    environment.pop("MIXED_R1_IMPL", None)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += ["-p", "interpreter_red_zones", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 0
