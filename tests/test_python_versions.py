"""The sources are Python 3.10: its grammar, and no module, function or argument that came later."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("mixed_r1", "kernels", "benchmarks", "examples", "tests")
SOURCES = [ROOT / "setup.py", *sorted(p for name in FOLDERS for p in (ROOT / name).rglob("*.py"))]


def test_grammar() -> None:
    assert len(SOURCES) > 100
    for path in SOURCES:
        ast.parse(path.read_text(encoding="utf-8"), filename=str(path), feature_version=(3, 10))


def test_standard_library() -> None:
    pytest.importorskip("vermin")
    program = Path(sys.executable).with_name("vermin")
    command = [str(program), "--quiet", "--no-tips", "--violations", "--target=3.10-"]
    done = subprocess.run([*command, *map(str, SOURCES)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
