"""Building from source: what the compiled module holds, and that it installs and works with NumPy alone."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ISA_SUFFIXES = ("_avx2", "_avx512", "_avx512bf16", "_amx")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build in a directory of its own: temp/ holds the objects, lib/ the module."""
    directory = tmp_path_factory.mktemp("built")
    command = [sys.executable, "setup.py", "build_ext", "--build-temp", f"{directory}/temp"]
    command += ["--build-lib", f"{directory}/lib"]
    environment = os.environ | {"MIXED_R1_TORCH_OPS": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert "warning:" not in done.stderr, done.stderr
    return directory


@pytest.mark.skipif(platform.machine() != "x86_64", reason="instruction sets of x86")
def test_code_for_one_instruction_set_is_shared_with_no_other(built: Path) -> None:
    """A weak symbol (an inline function or template) in an object built for a wider instruction set could
    replace the copy that older processors run: the linker keeps any one of them."""
    objects = [path for path in built.glob("temp/**/*.o") if path.stem.endswith(ISA_SUFFIXES)]
    sources = [path for path in (ROOT / "csrc" / "core").glob("*.cpp") if path.stem.endswith(ISA_SUFFIXES)]
    assert {path.stem for path in objects} == {path.stem for path in sources} != set()
    for path in objects:
        done = subprocess.run(
            ["nm", "-C", "--defined-only", path], capture_output=True, text=True, check=True
        )
        shared = [line for line in done.stdout.splitlines() if line.split(maxsplit=2)[1] in "WVuw"]
        assert not shared, f"{path.name}: {shared}"


def test_the_module_holds_no_build_path(built: Path) -> None:
    (module,) = built.glob("lib/mixed_r1_kernels/_native*")
    assert str(ROOT).encode() not in module.read_bytes()


def test_installs_into_an_empty_environment_with_numpy_alone(tmp_path: Path) -> None:
    """Build isolation, no torch, no source tree on the path."""
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns(".*", "build", "runs", "*.so", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, source, ignore=ignored)
    environment = tmp_path / "environment"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    command = [python, "-m", "pip", "install", "-q", str(source)]
    done = subprocess.run(command, env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr
    script = """
import importlib.util, numpy as np
assert importlib.util.find_spec("torch") is None
from mixed_r1_kernels import EmbeddingTable, bmas
table = EmbeddingTable(np.eye(3, dtype=np.float32))
assert bmas([[0, 1]], [[1, 2]], table, impl="native").score == 0.5
"""
    done = subprocess.run(
        [python, "-c", script], env=clean, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
