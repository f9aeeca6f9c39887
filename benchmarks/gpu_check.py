"""python -m benchmarks.gpu_check --out FOLDER: all the evidence that a GPU can give, in nine minutes.

The stages, in the order of their worth, each with the most seconds it may take (``plan``):

install      the wheels of a bundle (``--bundle``, of ``make gpu-bundle``), for a machine without a network
build        the compiled modules, only where they cannot be imported
environment  what is installed, and that every implementation can run
checks       csrc/cuda's check programs and tests/ops/device_*.py, four at once
step         our training step of a random Qwen2.5-VL-3B (gpu_train_step.py)
timings      device time, call time and share of the floor of every op, beside torch (gpu_time.py)
compiled     the same of torch.compile of the peers
peer         TRL's training step
sanitizer    compute-sanitizer's memcheck of all check programs, and racecheck of bmas

Every part is a process of its own, killed with all it started when its time is up, and recorded when it ends:
parts.jsonl, records.jsonl (measurements), log.txt and summary.txt in FOLDER. It needs no git and no network.
``--dry`` runs small sizes on a CPU. Exit status: 0 all passed, 1 something failed, 2 no GPU.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, NoReturn

from benchmarks.gpu_bundle import source_digest
from benchmarks.gpu_environment import why_no_interpreter
from benchmarks.gpu_parts import Part, Runner, Stage
from benchmarks.gpu_programs import NAMES

ROOT = Path(__file__).resolve().parents[1]
MINUTES = 9.0
SLOWER = 5  # the dry run's limits, in those of a GPU
TRAIN_STEP_BYTES = 72e9  # weights, gradients, AdamW's state and the activations of the larger side
OPS = ("bmas", "box_iou", "group_advantages", "token_logprobs")
# The dry run's tests: one or two of each op, as the interpreter takes its time.
DRY_TESTS = "empty or worked_by_hand or nothing_to_compare or no_tokens"


class Place(NamedTuple):
    """Where a check runs and writes."""

    out: Path
    work: Path  # installed wheels, the checkpoint: not kept
    bundle: Path | None
    dry: bool
    memory: float  # bytes of the GPU

    def python(self, module: str, *arguments: object) -> list[object]:
        return [sys.executable, "-m", module, *arguments, *(["--dry"] if self.dry else [])]


# The most seconds of each stage, in their order: nine minutes together.
LIMITS = {
    "install": 20,
    "build": 45,  # about 60 seconds of one core, on several
    "environment": 25,
    "checks": 75,
    "step": 100,
    "timings": 120,
    "compiled": 45,
    "peer": 65,
    "sanitizer": 45,
}


def plan(place: Place) -> Iterator[Stage]:
    """Every stage after install and build, which ``prepare`` runs."""
    python, records = place.python, place.out / "records.jsonl"
    versions = Part("versions", python("benchmarks.gpu_environment"), 25)
    yield Stage("environment", LIMITS["environment"], [versions])
    yield Stage("checks", LIMITS["checks"], list(_checks(place)), at_once=2 if place.dry else 4)
    yield Stage("step", LIMITS["step"], list(_step(place)))
    timing = [Part(f"time of {op}", python("benchmarks.gpu_time", op, "--out", records), 60) for op in OPS]
    yield Stage("timings", LIMITS["timings"], timing)
    compiled = [
        Part(f"compiled {op}", python("benchmarks.gpu_time", op, "--out", records, "--compiled"), 20)
        for op in OPS
    ]
    yield Stage("compiled", LIMITS["compiled"], compiled)
    yield Stage("peer", LIMITS["peer"], list(_step(place, "--peer")))
    tools = [("memcheck", name) for name in NAMES] + [("racecheck", "bmas")]
    parts = [
        Part(f"{tool} {name}", [*python("benchmarks.gpu_programs", name), "--tool", tool], 40)
        for tool, name in tools
    ]
    yield Stage("sanitizer", LIMITS["sanitizer"], parts, at_once=2)


def _checks(place: Place) -> Iterator[Part]:
    for path in sorted((ROOT / "tests" / "ops").glob("device_*.py")):
        if path.stem == "device_memory":  # for the interpreter alone
            continue
        command: list[object] = [sys.executable, "-m", "pytest", "-v", "-p", "no:cacheprovider", path]
        environment, left_out = {}, ""
        if place.dry:
            command += ["-k", DRY_TESTS]
            environment, left_out = {"TRITON_INTERPRET": "1"}, why_no_interpreter()
        yield Part(path.stem, command, 75, environment, left_out)
    for name in NAMES:
        if not place.dry or name == "box_iou":  # a thread for each of the GPU's: the others take minutes
            yield Part(f"program {name}", place.python("benchmarks.gpu_programs", name), 60)


def _step(place: Place, *arguments: str) -> Iterator[Part]:
    size, device, seconds = ("tiny", "cpu", 0.1) if place.dry else ("3b", "cuda", 12.0)
    command: list[object] = [sys.executable, "-m", "benchmarks.gpu_train_step", *arguments, "--size", size]
    command += ["--device", device, "--seconds", seconds, "--out", place.out / "records.jsonl"]
    name = "TRL" if arguments else "ours"
    yield Part(name, [*command, "--folder", place.work / "step"], 100)


def lacking(stage: str, place: Place, environment: dict[str, str]) -> str | None:
    """Why a stage cannot run here."""
    if stage in ("step", "peer"):
        if not place.dry and place.memory < TRAIN_STEP_BYTES:
            return f"needs {TRAIN_STEP_BYTES / 1e9:.0f} GB, the GPU has {place.memory / 1e9:.0f}"
        packages = ["transformers", "pydantic", "datasets", *(["trl"] if stage == "peer" else [])]
        absent = [name for name in packages if not _imports(f"find_spec({name!r})", environment)]
        if absent:
            return f"{', '.join(absent)} not installed"
        if stage == "peer" and not (place.work / "step" / "mixed_r1.json").exists():
            return "our own step has not run"
    if stage == "sanitizer" and shutil.which("compute-sanitizer") is None:
        return "compute-sanitizer is not installed"
    return None


def _imports(expression: str, environment: dict[str, str]) -> bool:
    """Whether an expression about find_spec holds under ``environment``."""
    code = f"from importlib.util import find_spec; raise SystemExit(not ({expression}))"
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT).returncode == 0


def prepare(runner: Runner, place: Place, may_build: bool) -> None:
    """Install the bundle and build what does not import; ``runner.environment`` then has the paths."""
    environment = dict(runner.environment)
    paths = [str(ROOT), *filter(None, [environment.get("PYTHONPATH")])]
    fresh = False
    if place.bundle is not None:
        manifest = json.loads((place.bundle / "manifest.json").read_text(encoding="utf-8"))
        fresh = manifest["sources"] == source_digest()
        wheels = sorted((place.bundle / "wheels").glob("*.whl"))
        kept = [path for path in wheels if fresh or not path.name.startswith("mixed_r1-")]
        site = place.work / "site"
        command = [sys.executable, "-m", "pip", "install", "--no-index", "--no-deps", "--no-compile"]
        command += ["--quiet", "--disable-pip-version-check", "--target", site, *kept]
        runner.run(Stage("install", LIMITS["install"], [Part("wheels", command, LIMITS["install"])]))
        paths.insert(1, str(site))
        environment["MIXED_R1_GPU_PROGRAMS"] = str(place.bundle / "programs") if fresh else os.devnull
        environment["MIXED_R1_GPU_ORACLES"] = str(place.bundle / "oracles")
        if not fresh:
            print("the bundle was made of other sources than these: its own modules are left out")
    if not fresh:
        paths.append(str(ROOT / "kernels"))
    environment["PYTHONPATH"] = os.pathsep.join(paths)
    runner.environment = environment
    wanted = "" if place.dry else "; from mixed_r1_kernels import ops; assert ops.has_cuda"
    check = [sys.executable, "-c", f"from mixed_r1_kernels import _native{wanted}"]
    imported = subprocess.run(check, env=environment, cwd=ROOT, capture_output=True, text=True)
    if imported.returncode == 0:
        return
    print(f"the compiled modules cannot be imported: {imported.stderr.strip()[-500:]}")
    if not may_build:
        runner.leave_out("build", "in place", "the modules cannot be imported, and --no-build was given")
        return
    command = [sys.executable, "setup.py", "-q", "build_ext", "--inplace"]
    modules = {"MIXED_R1_TORCH_OPS": "1", "MIXED_R1_CUDA": "1", "MIXED_R1_CUDA_ARCHS": "90a"}
    part = Part("in place", command, LIMITS["build"], {} if place.dry else modules)
    runner.run(Stage("build", LIMITS["build"], [part]))
    paths.insert(1, str(ROOT / "kernels"))  # before those of a wheel that does not work here
    runner.environment = environment | {"PYTHONPATH": os.pathsep.join(paths)}


def slower(stage: Stage) -> Stage:
    """The stage with the time that a busy CPU takes."""
    parts = [part._replace(limit=part.limit * SLOWER) for part in stage.parts]
    return stage._replace(limit=stage.limit * SLOWER, parts=parts)


def gpu() -> tuple[str, float] | None:
    """The GPU's name and bytes of memory; None where torch is missing or sees no GPU."""
    code = (
        "import torch; assert torch.cuda.is_available(); "
        "print(torch.cuda.get_device_name()); print(torch.cuda.get_device_properties(0).total_memory)"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if shown.returncode != 0:
        return None
    name, memory = shown.stdout.splitlines()[-2:]
    return name, float(memory)


def arguments() -> argparse.Namespace:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        "python -m benchmarks.gpu_check", description=__doc__, formatter_class=formatter
    )
    parser.add_argument("--out", type=Path, help="a folder (default: runs/gpu-<date and time>)")
    parser.add_argument("--bundle", type=Path, help="what `make gpu-bundle` made")
    parser.add_argument("--only", help=f"stages, by commas, of {', '.join(list(LIMITS)[2:])}")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for everything")
    parser.add_argument("--no-build", action="store_true", help="never run a compiler for the modules")
    parser.add_argument("--dry", action="store_true", help="every part on a CPU, at a small size")
    options = parser.parse_args()
    options.stages = options.only.split(",") if options.only else list(LIMITS)
    unknown = sorted(set(options.stages) - set(LIMITS))
    if unknown:
        parser.error(f"--only must name stages of {', '.join(LIMITS)}, got {', '.join(unknown)}")
    if not options.minutes > 0:
        parser.error(f"--minutes must be above 0, got {options.minutes}")
    if options.bundle and not (options.bundle / "manifest.json").is_file():
        parser.error(f"--bundle must be a folder with manifest.json, got {options.bundle}")
    return options


def main() -> int:
    started, options = time.monotonic(), arguments()
    found = ("a CPU (dry run)", 0.0) if options.dry else gpu()
    if found is None:
        print("no GPU: torch is not installed, or sees no CUDA device; nothing was checked", file=sys.stderr)
        return 2
    now = datetime.datetime.now().isoformat(timespec="seconds")
    out = (options.out or ROOT / "runs" / f"gpu-{now.replace(':', '')}").resolve()
    out.mkdir(parents=True, exist_ok=True)
    environment = dict(os.environ)
    environment.pop("TRITON_INTERPRET", None)
    environment.pop("MIXED_R1_IMPL", None)
    if options.dry:
        environment |= {"OMP_NUM_THREADS": "1", "MIXED_R1_COMPILE_BACKEND": "eager"}
    ends = started + 60 * options.minutes * (SLOWER if options.dry else 1)
    runner = Runner(out, ends, ROOT, environment, title=f"{found[0]}, {now}")
    signal.signal(signal.SIGTERM, _interrupted)
    with tempfile.TemporaryDirectory() as work:
        bundle = options.bundle.resolve() if options.bundle else None
        place = Place(out, Path(work), bundle, options.dry, found[1])
        prepare(runner, place, not options.no_build)
        for stage in plan(place):
            if stage.name in options.stages:
                why = lacking(stage.name, place, dict(runner.environment))
                if why is None:
                    runner.run(slower(stage) if options.dry else stage)
                else:
                    runner.leave_out(stage.name, stage.name, why)
    runner.summarise()
    print(f"\nrecorded in {out}")
    return int(any(one.outcome in ("failed", "stopped") for one in runner.outcomes))


def _interrupted(*_: object) -> NoReturn:
    raise SystemExit(143)


if __name__ == "__main__":
    sys.exit(main())
