"""Fuzz the native ``verify``: ``python -m tests.fuzz [--target T] [--seconds 60] [--inputs N] [--keep]``.

Builds tests/fuzz/fuzz_verify.cpp and csrc/core/verify*.cpp with ASan, UBSan and coverage under build/fuzz,
runs every target from its corpus (tests/fuzz/corpus, one input a line in hexadecimal), and then the
differential check. FUZZ_N sets the inputs of every target and of the differential check. A finding ends the
run with exit code 1 and the input's file. ``--keep`` adds short inputs that reach new edges to the corpus.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
CORPUS = ROOT / "tests" / "fuzz" / "corpus"
BUILD = ROOT / "build" / "fuzz"
TARGETS = ("yes_no", "choice", "chart", "list", "math", "boxes", "format", "gold")
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
LANGUAGE = ["-std=c++20", "-O1", "-g", "-ffp-contract=off", "-D_GLIBCXX_ASSERTIONS"]
FLAGS = [*LANGUAGE, f"-I{ROOT / 'csrc'}", *SANITIZERS]
MAX_KEPT_BYTES, MAX_KEPT = 120, 240


def build() -> Path:
    """The fuzzer, rebuilt where a source is newer."""
    BUILD.mkdir(parents=True, exist_ok=True)
    sources = sorted((ROOT / "csrc" / "core").glob("verify*.cpp"))
    driver = Path(__file__).parent / "fuzz_verify.cpp"
    newest = max(path.stat().st_mtime for path in (*sources, *(ROOT / "csrc/core").glob("verify*.h"), driver))
    program = BUILD / "fuzz_verify"
    if program.exists() and program.stat().st_mtime > newest:
        return program
    compiler, objects = os.environ.get("CXX", "g++"), []
    for source in (*sources, driver):
        target = BUILD / f"{source.stem}.o"
        coverage = [] if source == driver else ["-fsanitize-coverage=trace-pc"]
        subprocess.run([compiler, *FLAGS, *coverage, "-c", source, "-o", target], check=True)
        objects.append(target)
    subprocess.run([compiler, *SANITIZERS, *objects, "-o", program], check=True)
    return program


def write_tables() -> Path:
    """The character data that the module gets from Python, for a program without Python."""
    from mixed_r1_kernels.verify.unicode_tables import unicode_tables

    path = BUILD / "unicode.bin"
    with path.open("wb") as file:
        for table in unicode_tables():
            file.write(np.uint32(len(table)).tobytes() + table.tobytes())
    return path


def run(
    program: Path, tables: Path, target: str, *, inputs: int, seconds: float, seed: int, keep: bool
) -> bool:
    """Whether the target stood."""
    corpus, found, crash = CORPUS / f"{target}.hex", BUILD / f"{target}.hex", BUILD / f"{target}.crash"
    crash.unlink(missing_ok=True)
    arguments = [tables, target, corpus, found, crash, inputs, seconds, seed]
    done = subprocess.run([program, *map(str, arguments)], check=False)
    if done.returncode != 0:
        print(f"{target}: exit code {done.returncode}; the input is in {crash.relative_to(ROOT)}")
        return False
    if keep:
        known = corpus.read_text().split() if corpus.exists() else []
        short = [line for line in found.read_text().split() if len(line) <= 2 * MAX_KEPT_BYTES]
        CORPUS.mkdir(exist_ok=True)
        corpus.write_text("\n".join(list(dict.fromkeys([*known, *short]))[:MAX_KEPT]) + "\n")
    return True


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description="Fuzz the native verify.")
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--seconds", type=float, default=60.0, help="per target")
    inputs = int(os.environ.get("FUZZ_N", "0"))
    parser.add_argument("--inputs", type=int, default=inputs, help="per target, in place of --seconds")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", action="store_true", help="add what was found to the corpus")
    args = parser.parse_args()
    program, tables = build(), write_tables()
    options = {"inputs": args.inputs, "seconds": args.seconds, "seed": args.seed, "keep": args.keep}
    stood = [run(program, tables, target, **options) for target in args.target or TARGETS]
    command = [sys.executable, "-m", "tests.fuzz.differential", "--seed", str(args.seed)]
    command += ["--inputs", str(args.inputs or 1_000_000)]
    differential = subprocess.run(command, cwd=ROOT, check=False)
    return 0 if all(stood) and differential.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
