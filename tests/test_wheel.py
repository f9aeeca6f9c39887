"""The wheel that `make wheel` builds: contents, platform tag, what its torch module asks for, and that it
works with NumPy alone and beside a torch, without a GPU."""

from __future__ import annotations

import importlib.util
import os
import re
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
    """What ``make wheel`` builds here, the tools being those of this environment."""
    for tool in ("build", "auditwheel"):
        pytest.importorskip(tool)
    folder = tmp_path_factory.mktemp("wheel")
    source = source_copy(folder)
    tools = Path(sys.executable).parents[1]
    run(["make", "wheel", f"WHEEL_VENV={tools}", f"--assume-old={tools}/.tools"], source)
    (repaired,) = (source / "wheelhouse").glob("*.whl")
    return repaired


def test_what_is_in_the_wheel(wheel: Path) -> None:
    assert "-manylinux_2_" in wheel.name and "+" not in wheel.name
    assert wheel.stat().st_size < 4e6
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.startswith("mixed_r1-")}
    assert top == {"mixed_r1", "mixed_r1_kernels"}
    modules = [name.split(".")[0] for name in names if ".so" in name]
    assert sorted(modules) == ["mixed_r1_kernels/_native", "mixed_r1_kernels/_torch_ops"]
    for needed in ("mixed_r1/py.typed", "mixed_r1_kernels/py.typed", "mixed_r1/report/page.html.j2"):
        assert needed in names


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("installed")
    run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", folder, wheel], folder)
    return folder


def test_the_torch_module_asks_for_no_cuda_and_for_nothing_of_torch_that_is_not_stable(
    installed: Path,
) -> None:
    (module,) = installed.glob("mixed_r1_kernels/_torch_ops*.so")
    shown = run(["readelf", "--wide", "--dynamic", "--dyn-syms", module], installed)
    needed = re.findall(r"\(NEEDED\).*\[(.+?)\.so", shown)
    assert "libtorch_cpu" in needed and not [name for name in needed if "cuda" in name or "python" in name]
    wanted = re.findall(r" UND (\S+)", shown)
    assert [name for name in wanted if name.startswith(("aoti_torch_", "torch_"))]
    of_torch = ("c10", "3c10", "N2at", "2at", "N5torch", "5torch")
    assert not [name for name in wanted if name.removeprefix("_Z").lstrip("NKTVIS").startswith(of_torch)]


def test_it_holds_code_for_both_architectures(installed: Path) -> None:
    if shutil.which("nvcc") is None:
        pytest.skip("needs nvcc")
    triton = importlib.util.find_spec("triton")
    if triton is None or triton.origin is None:
        pytest.skip("needs triton's cuobjdump")
    (module,) = installed.glob("mixed_r1_kernels/_torch_ops*.so")
    cuobjdump = Path(triton.origin).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    listed = run([cuobjdump, "--list-elf", module], installed)
    assert {line.split(".")[-2] for line in listed.splitlines()} == {"sm_80", "sm_90a"}


def test_it_works_in_an_empty_environment_with_numpy_alone(wheel: Path, tmp_path: Path) -> None:
    venv.create(tmp_path / "environment", with_pip=True)
    python = tmp_path / "environment" / "bin" / "python"
    run([python, "-m", "pip", "install", "-q", wheel], tmp_path)
    run([python, ROOT / "tests" / "wheel_smoke.py"], tmp_path)


def test_it_works_beside_this_torch(installed: Path, tmp_path: Path) -> None:
    smoke = ROOT / "tests" / "wheel_torch_smoke.py"
    shown = run([sys.executable, smoke, "compile"], tmp_path, PYTHONPATH=str(installed))
    assert ("with CUDA" in shown) == (shutil.which("nvcc") is not None)
