"""python -m benchmarks.gpu_bundle: one folder for a GPU machine without a network (`make gpu-bundle`).

Run by the Python of an environment that has the machine's packages (`make gpu-bundle` makes it: torch is a
CUDA build, no GPU is needed) and what setup.py needs, with nvcc on the path. The folder holds wheels/ (ours
with CUDA, and the packages that the machine lacks), programs/ (checks of csrc/cuda for one architecture),
oracles/ and manifest.json; `gpu_check --bundle` uses all of them.

What the machine has is told by ``--machine``, a file of ``name==version`` or ``name`` lines: the output of
``python -m pip list --format=freeze`` there.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import importlib.metadata
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
MACHINE = ROOT / "benchmarks" / "gpu_machine.txt"
LARGEST = 60e6  # bytes


def source_digest() -> str:
    """Of everything that the compiled modules and their Python side are made from."""
    patterns = ("setup.py", "csrc/**/*.[chi]*", "kernels/mixed_r1_kernels/**/*.py")
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in ROOT.glob(pattern) if path.is_file()}):
        digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def normal(name: str) -> str:
    """A package's name as indexes compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def requirements() -> list[str]:
    """What training, its tests and the peer of the training step need."""
    if sys.version_info < (3, 11):
        raise SystemExit("the bundle must be made with Python 3.11 or later, which reads pyproject.toml")
    import tomllib  # novm (the sources are Python 3.10; this one program is not)

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    found = [*project["dependencies"], *extras["rewards"], *extras["train"], *extras["lora"], *extras["mini"]]
    testing = re.compile("trl|liger-kernel|pytest|hypothesis|ml-dtypes|tensorboard")
    found += [one for one in (*extras["bench"], *extras["dev"]) if testing.match(one)]
    return [one for one in found if not one.startswith("mixed-r1[")]


def missing_packages(machine: Path) -> list[str]:
    """``name==version`` of what the requirements reach and the machine lacks.

    The environment that this runs in stands for the machine, as it has its versions; what it has beyond the
    machine's list counts as lacking.
    """
    from packaging.requirements import Requirement

    there = {normal(line.partition("==")[0]) for line in machine_lines(machine)}
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--only-binary=:all:"]
        subprocess.run([*command, "--report", str(report), *requirements()], check=True)
        added = [one["metadata"] for one in json.loads(report.read_text(encoding="utf-8"))["install"]]
    needs = {normal(one["name"]): (one["version"], one.get("requires_dist", [])) for one in added}
    for one in importlib.metadata.distributions():
        needs.setdefault(normal(one.metadata["Name"]), (one.version, one.requires or []))
    reached, waiting = set(), [Requirement(one) for one in requirements()]
    while waiting:
        requirement = waiting.pop()
        name = normal(requirement.name)
        if name in reached or (requirement.marker and not requirement.marker.evaluate({"extra": ""})):
            continue
        reached.add(name)
        waiting += map(Requirement, needs[name][1])
    return [f"{name}=={needs[name][0]}" for name in sorted(reached - there)]


def machine_lines(machine: Path) -> list[str]:
    lines = machine.read_text(encoding="utf-8").splitlines()
    return [line for line in (line.partition("#")[0].strip() for line in lines) if line]


def build_wheel(wheels: Path, arch: str) -> None:
    """Ours, with CUDA, for this Python, from a copy of the sources."""
    environment = os.environ | {
        "MIXED_R1_TORCH_OPS": "1",
        "MIXED_R1_CUDA": "1",
        "MIXED_R1_CUDA_ARCHS": arch,
    }
    with tempfile.TemporaryDirectory() as folder:
        names = ["setup.py", "pyproject.toml", "README.md", "LICENSE", "csrc", "kernels", "mixed_r1"]
        built = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info", "build")
        for name in names:
            source, target = ROOT / name, Path(folder) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=built)
            else:
                shutil.copy(source, target)
        command = [sys.executable, "setup.py", "-q", "bdist_wheel", "--dist-dir", str(wheels)]
        subprocess.run(command, cwd=folder, env=environment, check=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_bundle", description=__doc__)
    parser.add_argument("--out", type=Path, default=ROOT / "gpu-bundle")
    parser.add_argument("--machine", type=Path, default=MACHINE)
    parser.add_argument("--arch", default="90a", help="of the compiled modules (default: H100, H200)")
    options = parser.parse_args()
    from benchmarks import gpu_programs

    out = options.out.resolve()
    shutil.rmtree(out, ignore_errors=True)
    (out / "wheels").mkdir(parents=True)
    packages = missing_packages(options.machine)
    print("the machine lacks:", " ".join(packages), flush=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
    subprocess.run([*command, "-d", str(out / "wheels"), *packages], check=True)
    build_wheel(out / "wheels", options.arch)
    for name in gpu_programs.NAMES:
        gpu_programs.build(name, f"sm_{options.arch.rstrip('a')}", out / "programs")
    python_path = _with_our_wheel(out)
    subprocess.run(
        [sys.executable, "-m", "benchmarks.gpu_oracles", str(out / "oracles")],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": python_path},
        check=True,
    )
    shutil.rmtree(out / "site")
    files = sorted(path for path in out.rglob("*") if path.is_file())
    size = sum(path.stat().st_size for path in files)
    manifest = _manifest(options.arch, packages) | {
        "files": {path.relative_to(out).as_posix(): path.stat().st_size for path in files}
    }
    (out / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    print(f"{out}: {size / 1e6:.1f} MB in {len(files)} files")
    if size > LARGEST:
        print(f"the bundle must be at most {LARGEST / 1e6:.0f} MB, got {size / 1e6:.1f}", file=sys.stderr)
    return int(size > LARGEST)


def _with_our_wheel(out: Path) -> str:
    """PYTHONPATH with the wheel just built, for the oracles' native modules."""
    (wheel,) = (out / "wheels").glob("mixed_r1-*.whl")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(out / "site"), str(wheel)], check=True)
    return os.pathsep.join([str(ROOT), str(out / "site")])


def _manifest(arch: str, packages: list[str]) -> dict[str, Any]:
    import torch

    from benchmarks.harness import commit

    return {
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "sources": source_digest(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "arch": arch,
        "packages": packages,
    }


if __name__ == "__main__":
    sys.exit(main())
