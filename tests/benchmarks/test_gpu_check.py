"""benchmarks/gpu_check.py without a GPU: it says so, bounds its parts, keeps their results, and each part
runs at a small size; its CUDA programs build, and its torch formula is right."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks import gpu_cases, gpu_check, gpu_oracles, gpu_programs, gpu_train_step
from benchmarks.gpu_environment import why_no_interpreter
from benchmarks.gpu_parts import Part, Runner, Stage
from benchmarks.gpu_timing import Ceilings, GpuCase, GpuContender, measure_case
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1_kernels import EmbeddingTable

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@WITHOUT_GPU
def test_without_a_gpu_it_says_so_and_exits_with_2() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no GPU" in done.stderr and done.stdout == ""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (the CUDA toolkit) is not installed")
@pytest.mark.parametrize("name", gpu_programs.NAMES)
def test_the_cuda_programs_build_and_need_a_gpu(name: str, tmp_path: Path) -> None:
    gpu_programs.build(name, "sm_90", tmp_path)
    if not torch.cuda.is_available():
        done = subprocess.run([tmp_path / f"{name}-sm_90"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "CUDA error" in done.stderr


def test_every_check_program_is_named() -> None:
    assert {path.stem for path in gpu_programs.CHECKS.glob("check_*.cpp")} == {
        f"check_{name}" for name in gpu_programs.NAMES
    }


def new_runner(out: Path, seconds: float = 60.0) -> Runner:
    return Runner(out, time.monotonic() + seconds, ROOT, dict(os.environ), title="a GPU")


def python(code: str) -> list[object]:
    return [sys.executable, "-c", code]


def outcomes(out: Path) -> dict[str, str]:
    lines = (out / "parts.jsonl").read_text(encoding="utf-8").splitlines()
    return {one["name"]: one["outcome"] for one in map(json.loads, lines)}


def test_a_part_that_fails_is_recorded_and_stops_no_other(tmp_path: Path) -> None:
    runner = new_runner(tmp_path)
    parts = [
        Part("breaks", python("raise SystemExit('broken')"), 60),
        Part("hangs", python("import time; print('begun'); time.sleep(60)"), 2.5),
        Part("works", python("print('fine')"), 60),
    ]
    assert not runner.run(Stage("all", 60, parts, at_once=2))
    assert runner.run(Stage("more", 60, [Part("again", python("print('fine')"), 60)]))
    runner.ends = 0.0
    assert not runner.run(Stage("late", 60, [Part("late", ["true"], 60)]))
    assert outcomes(tmp_path) == {
        "breaks": "failed",
        "hangs": "stopped",
        "works": "passed",
        "again": "passed",
        "late": "left out",
    }
    text = (tmp_path / "summary.txt").read_text(encoding="utf-8")
    assert "broken" in text and "begun" in text and "no time left" in text and "fine" not in text
    assert (tmp_path / "log.txt").read_text(encoding="utf-8").count("fine") == 2
    assert not list(tmp_path.glob("running-*"))


FAMILY = """
import subprocess, sys, time
from pathlib import Path
deaf = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(600)"
sleep = [sys.executable, "-c", deaf]
children = [subprocess.Popen(sleep), subprocess.Popen(sleep, start_new_session=True)]
children.append(subprocess.Popen(sleep, process_group=0) if sys.version_info >= (3, 11) else children[0])
Path(sys.argv[1]).write_text(" ".join(str(child.pid) for child in children))
print("half of it", flush=True)
time.sleep(600)
"""


def test_a_part_killed_half_way_leaves_no_process_and_no_result_of_another_is_lost(tmp_path: Path) -> None:
    runner, pids = new_runner(tmp_path), tmp_path / "pids"
    parts = [
        Part("before", python("print('fine')"), 60),
        Part("family", [*python(FAMILY), pids], 6),
        Part("beside", python("import time; time.sleep(8); print('fine')"), 60),
    ]
    assert not runner.run(Stage("all", 60, parts, at_once=3))
    assert outcomes(tmp_path) == {"before": "passed", "family": "stopped", "beside": "passed"}
    assert "half of it" in (tmp_path / "log.txt").read_text(encoding="utf-8")
    children = {int(word) for word in pids.read_text(encoding="utf-8").split()}
    assert len(children) >= 2 and not [pid for pid in children if is_alive(pid)]


def test_interrupted_it_kills_what_runs_and_keeps_what_ended(tmp_path: Path) -> None:
    code = (
        "from benchmarks import gpu_check, gpu_parts; import signal, sys, time, os, pathlib; "
        "signal.signal(signal.SIGTERM, gpu_check._interrupted); out = pathlib.Path(sys.argv[1]); "
        "run = gpu_parts.Runner(out, time.monotonic() + 99, gpu_check.ROOT, dict(os.environ)); "
        "sleep = [sys.executable, '-c', 'import time; print(1); time.sleep(600)']; "
        "parts = [gpu_parts.Part('quick', ['true'], 9), gpu_parts.Part('long', sleep, 90)]; "
        "run.run(gpu_parts.Stage('all', 90, parts))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, tmp_path], cwd=ROOT, stdout=subprocess.DEVNULL)
    until(lambda: any(path.stat().st_size for path in tmp_path.glob("running-long.txt")))
    started = running_with(tmp_path)
    process.terminate()
    assert process.wait(timeout=30) == 143
    assert outcomes(tmp_path) == {"quick": "passed", "long": "stopped"}
    assert started and not [pid for pid in started if is_alive(pid)]


def until(holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


def running_with(folder: Path) -> list[int]:
    """Processes whose output is a file of ``folder``."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and (entry / "fd" / "1").readlink().is_relative_to(folder):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def place_of(folder: Path, **fields: Any) -> gpu_check.Place:
    given = {"bundle": None, "dry": False, "memory": 140e9} | fields
    return gpu_check.Place(out=folder, work=folder / "work", **given)


def test_the_limits_are_nine_minutes_together(tmp_path: Path) -> None:
    assert sum(gpu_check.LIMITS.values()) <= 60 * gpu_check.MINUTES == 540
    stages = list(gpu_check.plan(place_of(tmp_path)))
    assert ["install", "build", *(stage.name for stage in stages)] == list(gpu_check.LIMITS)
    assert all(stage.limit == gpu_check.LIMITS[stage.name] for stage in stages)


def test_the_training_step_is_left_out_where_it_cannot_run(tmp_path: Path) -> None:
    why = gpu_check.lacking("step", place_of(tmp_path, memory=24e9), dict(os.environ))
    assert why == "needs 72 GB, the GPU has 24"
    why = gpu_check.lacking("peer", place_of(tmp_path), dict(os.environ))
    assert why in ("our own step has not run", "trl not installed")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--only", "checks,all"], "--only must name stages of install, build, environment"),
        (["--minutes", "0"], "--minutes must be above 0, got 0.0"),
        (["--bundle", "nowhere"], "--bundle must be a folder with manifest.json, got nowhere"),
    ],
)
def test_bad_arguments(words: list[str], message: str) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2 and message in done.stderr


def test_the_environment_of_a_machine_without_a_gpu_fails_what_a_gpu_has(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_environment"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    if not torch.cuda.is_available():
        assert done.returncode == 1 and "torch sees no GPU" in done.stdout


def test_timings_in_a_dry_run(tmp_path: Path) -> None:
    """Every op is checked and timed at a small size, without git, and recorded."""
    records, empty = tmp_path / "records.jsonl", tmp_path / "bin"
    empty.mkdir()
    environment = os.environ | {"PATH": str(empty), "OMP_NUM_THREADS": "1"}
    for op in ("box_iou", "token_logprobs"):
        command = [sys.executable, "-m", "benchmarks.gpu_time", op, "--dry", "--out", records]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stdout + done.stderr
    found = [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
    assert {one["op"] for one in found} == {"box_iou", "token_logprobs"}
    for one in found:
        assert one["failure"] is None and one["call_ms"] > 0 and one["floor_ms"] > 0
        assert one["share_of_floor"] == pytest.approx(one["floor_ms"] / one["call_ms"])


def test_an_error_beyond_the_tolerance_is_a_failure_without_a_time() -> None:
    def broken() -> float:
        raise RuntimeError("no kernel")

    contenders = [
        GpuContender("exact", lambda: 1.0, tolerance=0.1),
        GpuContender("wrong", lambda: 2.0, tolerance=0.1),
        GpuContender("broken", broken, is_peer=True),
    ]
    case = GpuCase("case", contenders, lambda value: abs(value - 1.0), 8e9, 1e9, "formula")
    found = list(measure_case(case, device="cpu", ceilings=Ceilings(4e9, 1e9), seconds=0.0))
    assert [one["floor_ms"] for one in found] == [2000.0] * 3
    assert found[0]["failure"] is None and found[0]["call_ms"] > 0
    assert found[1]["failure"] == "it must err by <= 0.1, got 1" and found[1]["call_ms"] is None
    assert found[2]["failure"] == "RuntimeError: no kernel"


def test_oracles_that_were_written_are_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_oracles, "SIZES", ((1, 16),))
    gpu_oracles.write(tmp_path)
    fresh = gpu_oracles.bmas_problem(1, 16)
    monkeypatch.setenv(gpu_oracles.FOLDER, str(tmp_path))
    monkeypatch.setattr(gpu_oracles, "batch", None)  # not computed again
    saved = gpu_oracles.bmas_problem(1, 16)
    assert (saved.completions, saved.references) == (fresh.completions, fresh.references)
    np.testing.assert_array_equal(saved.expected, fresh.expected)
    assert saved.distinct() == fresh.distinct() and torch.equal(saved.rows, fresh.rows)


@pytest.mark.slow
def test_every_stage_of_a_dry_run(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check", "--dry", "--out", tmp_path]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=2400)
    found = outcomes(tmp_path)
    assert set(found.values()) <= {"passed", "left out"}, done.stdout + done.stderr
    assert {"device_bmas", "device_box_iou", "ours", *(f"time of {op}" for op in gpu_check.OPS)} <= set(found)
    assert done.returncode == 0


def test_the_checkpoint_of_the_training_step(tmp_path: Path) -> None:
    """Loads as published ones do, and every id is a text of its own, so that random completions differ."""
    gpu_train_step.write_checkpoint(tmp_path, gpu_train_step.SIZES["tiny"], "cpu")
    adapter = load_adapter(tmp_path, dtype=torch.float32)
    V = len(adapter.output_weight)
    assert V == 700 and adapter.output_weight is adapter.core.get_input_embeddings().weight
    texts = [adapter.tokenizer.decode([token]) for token in range(256, V)]
    assert len(set(texts)) == V - 256 and "" not in texts
    prompts = [adapter.encode(sample) for sample in gpu_train_step.rows()]
    assert [len(prompt) for prompt in prompts] == [280, 280] and prompts[0].num_image_tokens == 256


def test_the_sizes_of_qwen2_5_vl_3b() -> None:
    """The published parameter count, on the meta device: 3.75e9 with the tied head once."""
    small = tiny_adapter("qwen2_5_vl", corpus=["0123456789"]).model.config.to_dict()
    size = gpu_train_step.SIZES["3b"]
    small["text_config"] |= size.text
    small["vision_config"] |= size.vision | {"patch_size": 14}
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**small), dtype=size.dtype)
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_754_622_976


@pytest.mark.slow
def test_the_training_step_beside_trl(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    out = tmp_path / "records.jsonl"
    words = ["--size", "tiny", "--device", "cpu", "--seconds", "0.1", "--out", out, "--folder", tmp_path]
    command = [sys.executable, "-m", "benchmarks.gpu_train_step", *words]
    for peer in ([], ["--peer"]):
        done = subprocess.run([*command, *peer], cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
    alone, ours, theirs = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
    assert (alone["name"], ours["name"], theirs["name"]) == ("mixed_r1", "mixed_r1", gpu_train_step.PEER)
    assert ours["error"] < 1e-5 and alone["error"] < 1e-9 and ours["rounds"] >= 3 and theirs["is_peer"]
    assert all(side["missing_tokens"] == 0 for side in ours["parameters"]["sides"].values())


def test_the_torch_formula_of_bmas() -> None:
    problem = gpu_oracles.bmas_problem(1, 32)
    name, formula = next(gpu_cases.bmas_peers(problem, EmbeddingTable(problem.rows), "cpu"))
    assert name == "torch, padded, bf16"
    # Unit rows rounded to bfloat16, products too.
    assert gpu_cases.largest_difference(torch.from_numpy(problem.expected))(formula()) < 2e-2


@pytest.mark.parametrize(
    ("triton", "numpy", "works"),
    [("3.6.0", "2.3.5", True), ("3.6.0", "2.4.0", False), ("3.7.1", "2.5.2", True)],
)
def test_the_interpreter_is_left_out_where_it_cannot_run(monkeypatch, tmp_path, triton, numpy, works):
    versions = {"triton": triton, "numpy": numpy}
    monkeypatch.setattr("benchmarks.gpu_environment.importlib.metadata.version", versions.__getitem__)
    reason = "" if works else f"the interpreter of triton {triton} does not work with NumPy {numpy}"
    assert why_no_interpreter() == reason
    runner = Runner(tmp_path, time.monotonic() + 60, Path.cwd(), dict(os.environ))
    part = Part("device", [sys.executable, "-c", "print('ran')"], 20, {}, why_no_interpreter())
    assert runner.run(Stage("checks", 30, [part])), "what cannot run here has not failed"
    assert [(one.outcome, one.output.strip()) for one in runner.outcomes] == [
        ("passed", "ran") if works else ("left out", reason)
    ]
