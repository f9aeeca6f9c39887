"""python -m benchmarks.gpu_check: build, check and time everything on an NVIDIA GPU, in under eight minutes.

1. builds the compiled modules in place from source;
2. csrc/cuda: the programs of tests/ops/cuda_on_cpu by nvcc, on the GPU, then under compute-sanitizer;
3. tests/ops/device_*.py: every impl that can run there against the float64 reference;
4. times every op beside its peers, each op in a process of its own;
5. one training step of a random Qwen2.5-VL-3B beside TRL's (gpu_train_step.py), where it fits the memory.

Each part has a time limit and its failure stops no other; a tool that is missing is named. Writes
benchmarks/results/<date>-gpu.jsonl and a summary beside it. Exit status: 0 all passed, 1 something failed,
2 no GPU. It needs torch, triton, NumPy, pytest, tokenizers and nanobind, the last part also the train extra
and trl; no network.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
CHECKS = ROOT / "tests" / "ops" / "cuda_on_cpu"
SECONDS = 460  # for everything
TRAIN_STEP_BYTES = 72e9  # float32 weights, gradients, AdamW's state and the activations of the larger side
OPS = ("bmas", "box_iou", "group_advantages", "token_logprobs")


class Part(NamedTuple):
    name: str
    outcome: str  # "passed", "failed" or "left out"
    seconds: float
    output: str  # the end of it, or why it was left out


class Runner:
    """Runs commands within what is left of the time for everything."""

    def __init__(self) -> None:
        self.ends = time.monotonic() + SECONDS
        self.parts: list[Part] = []

    def run(self, name: str, command: list[object], limit: float) -> bool:
        limit = min(limit, self.ends - time.monotonic())
        if limit < 1:
            return self.leave_out(name, "no time left")
        environment = os.environ | {
            "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}",
            "PYTHONUNBUFFERED": "1",
        }
        environment.pop("TRITON_INTERPRET", None)
        words = [str(word) for word in command]
        print(f"\n== {name}", flush=True)
        started = time.monotonic()
        with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
            try:
                status: object = subprocess.run(
                    words, cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT, timeout=limit
                ).returncode
            except subprocess.TimeoutExpired:
                status = f"stopped after {limit:.0f} s"
            log.seek(0)
            output = log.read()
        print(output[-6000:], flush=True)
        passed = status == 0
        tail = output if passed else f"{output}\n[exit status: {status}]"
        self.parts.append(
            Part(name, "passed" if passed else "failed", time.monotonic() - started, tail[-4000:])
        )
        return passed

    def leave_out(self, name: str, why: str) -> bool:
        print(f"\n== {name}: left out, {why}", flush=True)
        self.parts.append(Part(name, "left out", 0.0, why))
        return False


def gpu() -> tuple[str, float] | None:
    """The GPU's name and bytes of memory; None where torch is missing or sees no GPU."""
    try:
        import torch
    except ImportError:
        return None
    if not torch.cuda.is_available():
        return None
    return torch.cuda.get_device_name(), float(torch.cuda.get_device_properties(0).total_memory)


def build(runner: Runner) -> None:
    runner.run("build in place", [sys.executable, "setup.py", "-q", "build_ext", "--inplace"], 180)


def cuda_programs(runner: Runner, folder: Path) -> None:
    nvcc, sanitizer = shutil.which("nvcc"), shutil.which("compute-sanitizer")
    for check in sorted(CHECKS.glob("check_*.cpp")):
        name = check.stem.removeprefix("check_")
        if nvcc is None:
            runner.leave_out(f"csrc/cuda/{name}.cu", "nvcc is not installed")
            continue
        program = folder / check.stem
        if not runner.run(f"nvcc {name}", [nvcc, *nvcc_arguments(check, "native"), "-o", program], 90):
            continue
        runner.run(f"csrc/cuda/{name}.cu on the GPU", [program], 30)
        for tool in ("memcheck", "racecheck"):
            if sanitizer is None:
                runner.leave_out(f"{tool} {name}", "compute-sanitizer is not installed")
            else:
                command = [sanitizer, "--tool", tool, "--error-exitcode", "1", program]
                runner.run(f"{tool} {name}", command, 40)


def nvcc_arguments(check: Path, arch: str) -> list[object]:
    """What builds a check program for a GPU; the program's first line names its other sources."""
    csrc = ROOT / "csrc"
    with check.open(encoding="ascii") as file:
        others = file.readline().removeprefix("// With").removesuffix(".\n").split()
    kernels = csrc / "cuda" / f"{check.stem.removeprefix('check_')}.cu"
    flags = ["-std=c++20", "-O2", f"-arch={arch}", f"-I{csrc}", "-Xcompiler=-pthread"]
    return [*flags, kernels, *(csrc / name for name in others), check]


def tests(runner: Runner) -> None:
    for path in sorted((ROOT / "tests" / "ops").glob("device_*.py")):
        runner.run(path.stem, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", path], 100)


def timings(runner: Runner, records: Path) -> None:
    for op in OPS:
        command = [sys.executable, "-m", "benchmarks.gpu_check", "--time", op, "--out", records]
        runner.run(f"timing of {op}", command, 90)


def train_step(runner: Runner, records: Path, memory: float) -> None:
    name = "training step of a random Qwen2.5-VL-3B beside TRL"
    if memory < TRAIN_STEP_BYTES:
        runner.leave_out(name, f"needs {TRAIN_STEP_BYTES / 1e9:.0f} GB, the GPU has {memory / 1e9:.0f}")
        return
    lacking = [package for package in ("transformers", "trl", "datasets") if find_spec(package) is None]
    if lacking:
        runner.leave_out(name, f"{', '.join(lacking)} not installed")
        return
    runner.run(name, [sys.executable, "-m", "benchmarks.gpu_train_step", "--out", records], 200)


def time_one(op: str, records: Path) -> None:
    from benchmarks.gpu_cases import CASES
    from benchmarks.harness import keep_pages, measure, print_table, write_records

    keep_pages()
    for case in CASES[op]():
        measurements = measure(case, clock="wall", seconds=1.0)
        print_table(case, measurements)
        write_records(records, op, case, measurements, 1)


def summary(runner: Runner, device: str) -> Iterator[str]:
    yield f"{device}, {datetime.datetime.now().isoformat(timespec='seconds')}"
    for part in runner.parts:
        yield f"{part.outcome:9}{part.seconds:7.1f} s  {part.name}"
    for part in runner.parts:
        if part.outcome != "passed" or part.name.startswith(("timing", "training")):
            yield f"\n== {part.name}: {part.outcome}\n{part.output}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_check", description=__doc__)
    parser.add_argument("--time", choices=OPS, help="only time one op (what a part of the whole runs)")
    parser.add_argument("--out", type=Path, help="JSON lines (default: benchmarks/results/<date>-gpu.jsonl)")
    options = parser.parse_args()
    found = gpu()
    if found is None:
        print("no GPU: torch is not installed, or sees no CUDA device; nothing was checked", file=sys.stderr)
        return 2
    device, memory = found
    records = options.out or RESULTS / f"{datetime.date.today().isoformat()}-gpu.jsonl"
    if options.time:
        time_one(options.time, records)
        return 0
    runner = Runner()
    build(runner)
    with tempfile.TemporaryDirectory() as folder:
        cuda_programs(runner, Path(folder))
    tests(runner)
    timings(runner, records)
    train_step(runner, records, memory)
    records.parent.mkdir(parents=True, exist_ok=True)
    with records.open("a", encoding="utf-8") as file:
        for part in runner.parts:
            file.write(json.dumps({"gpu": device, **part._asdict()}) + "\n")
    text = "\n".join(summary(runner, device))
    records.with_suffix(".txt").write_text(text + "\n", encoding="utf-8")
    print(f"\n{text}\n\nrecorded in {records} and {records.with_suffix('.txt')}")
    return 1 if any(part.outcome == "failed" for part in runner.parts) else 0


if __name__ == "__main__":
    sys.exit(main())
