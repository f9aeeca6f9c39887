"""python -m benchmarks.gpu_programs NAME: a check program of csrc/cuda, on the GPU.

The program of tests/ops/cuda_on_cpu/check_<NAME>.cpp comes from the folder that MIXED_R1_GPU_PROGRAMS names
(``build`` made it for one architecture); where it is not there, or was made for another, nvcc builds it here.
``--tool`` runs it under compute-sanitizer. ``--dry``: on the CPU, by g++. Exit status: the program's.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CHECKS = ROOT / "tests" / "ops" / "cuda_on_cpu"
FOLDER = "MIXED_R1_GPU_PROGRAMS"
NAMES = ("bmas", "box_iou", "group_advantages")


def sources(name: str) -> list[Path]:
    """The kernels, the check, and what the check's first line names."""
    csrc, check = ROOT / "csrc", CHECKS / f"check_{name}.cpp"
    with check.open(encoding="ascii") as file:
        others = file.readline().removeprefix("// With").removesuffix(".\n").split()
    return [csrc / "cuda" / f"{name}.cu", *(csrc / other for other in others), check]


def nvcc_command(name: str, arch: str, program: Path) -> list[str]:
    """What builds it for a GPU. C++'s library is inside, so that it runs on another system."""
    command = ["nvcc", "-std=c++20", "-O2", f"-arch={arch}", f"-I{ROOT / 'csrc'}", "-Xcompiler=-pthread"]
    command += ["-Xcompiler=-static-libstdc++", "-Xcompiler=-static-libgcc"]
    return [*command, *map(str, sources(name)), "-o", str(program)]


def gxx_command(name: str, program: Path) -> list[str]:
    """What builds it for the CPU, a thread for each of the GPU's."""
    command = ["g++", "-std=c++20", "-O1", "-Wno-unknown-pragmas", "-pthread", f"-I{CHECKS}"]
    return [*command, f"-I{ROOT / 'csrc'}", "-x", "c++", *map(str, sources(name)), "-o", str(program)]


def build(name: str, arch: str, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(nvcc_command(name, arch, folder / f"{name}-{arch}"), check=True)


def capability() -> str | None:
    """ "sm_90" and the like; None where nvidia-smi does not tell."""
    try:
        command = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
        shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return f"sm_{shown.splitlines()[0].strip().replace('.', '')}"


def program_of(name: str, folder: Path, dry: bool) -> Path:
    """The program, built where it must be.

    Raises:
        RuntimeError: there is none and no compiler.
    """
    given = Path(os.environ.get(FOLDER, os.devnull)) / f"{name}-{capability()}"
    if not dry and given.exists():
        runnable = folder / given.name  # carried files may have lost their permission
        shutil.copy(given, runnable)
        runnable.chmod(0o755)
        return runnable
    compiler = "g++" if dry else "nvcc"
    if shutil.which(compiler) is None:
        raise RuntimeError(f"no program for {capability()} in the bundle, and {compiler} is not installed")
    program = folder / name
    command = gxx_command(name, program) if dry else nvcc_command(name, "native", program)
    subprocess.run(command, check=True)
    return program


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_programs", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--tool", choices=["memcheck", "racecheck", "initcheck", "synccheck"])
    parser.add_argument("--dry", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        command = [str(program_of(options.name, Path(folder), options.dry))]
        if options.tool:
            command = ["compute-sanitizer", "--tool", options.tool, "--error-exitcode", "1", *command]
        return subprocess.run(command).returncode


if __name__ == "__main__":
    sys.exit(main())
