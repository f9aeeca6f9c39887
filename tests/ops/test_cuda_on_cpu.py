"""csrc/cuda run on the CPU: finds wrong indices, missing barriers and misaligned accesses without a GPU.

Each thread of a block is a thread, shared memory is static memory, and asynchronous copies arrive as late as
they may (cuda_on_cpu/*.h). cuda_on_cpu/check_<name>.cpp checks csrc/cuda/<name>.cu; its first line names the
other sources.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(__file__).with_name("cuda_on_cpu")
CHECKS = sorted(FOLDER.glob("check_*.cpp"))


def run_check(check: Path, sanitizer: str, folder: Path) -> None:
    csrc = ROOT / "csrc"
    with check.open(encoding="ascii") as file:
        others = file.readline().removeprefix("// With").removesuffix(".\n").split()
    sources = [
        csrc / "cuda" / f"{check.stem.removeprefix('check_')}.cu",
        *(csrc / name for name in others),
        check,
    ]
    command = [
        "g++",
        "-std=c++20",
        "-O1",
        "-g1",
        "-Wall",
        "-Wextra",
        "-Werror",
        "-Wno-unknown-pragmas",
        "-pthread",
    ]
    command += [f"-fsanitize={sanitizer}", f"-I{FOLDER}", f"-I{csrc}", "-x", "c++", *map(str, sources)]
    built = subprocess.run(
        [*command, "-o", str(folder / "check")], capture_output=True, text=True, timeout=300
    )
    assert built.returncode == 0, built.stderr
    options = {"TSAN_OPTIONS": "halt_on_error=1", "UBSAN_OPTIONS": "halt_on_error=1"}
    # Thread sanitizers of older compilers need addresses where they expect them.
    prefix = ["setarch", "-R"] if sanitizer == "thread" and shutil.which("setarch") else []
    done = subprocess.run(
        [*prefix, str(folder / "check")],
        env=os.environ | options,
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.stem.removeprefix("check_"))
def test_values_and_addresses(check: Path, tmp_path: Path) -> None:
    run_check(check, "address,undefined", tmp_path)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="needs a C++ compiler")
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.stem.removeprefix("check_"))
def test_no_thread_reads_what_another_may_still_write(check: Path, tmp_path: Path) -> None:
    run_check(check, "thread", tmp_path)
