"""Runs device_*.py (values of the GPU implementations) in Triton's interpreter, each in a process of its own:
TRITON_INTERPRET is read where @triton.jit is. interpreter_red_zones.py checks every address they touch."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu_environment import why_no_interpreter

FILES = sorted(Path(__file__).parent.glob("device_*.py"))


@pytest.mark.skipif(why_no_interpreter() != "", reason=why_no_interpreter())
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_values_in_the_interpreter(path: Path) -> None:
    search_path = os.pathsep.join([str(path.parent), *filter(None, sys.path)])
    environment = os.environ | {"TRITON_INTERPRET": "1", "PYTHONPATH": search_path}
    environment.pop("MIXED_R1_IMPL", None)
    command = [sys.executable, "-m", "pytest", "-p", "no:xdist", "-p", "no:cacheprovider"]
    command += ["-p", "interpreter_red_zones", str(path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-1000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 0
