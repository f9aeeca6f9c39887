"""Runs that are killed, stopped or out of disk at any moment go on as if nothing had been."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mixed_r1.train import TrainConfig
from mixed_r1.train.checkpoint import find_checkpoint, save_checkpoint
from tests.train import forked

TIMES = ("time", "tokens_per_second", "memory_mb")
FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO")
REPEATED = 50_000  # of a small save: 25 pages
KILLS = int(os.environ.get("MIXED_R1_KILLS", "20"))


class Runs:
    """Runs of equal settings in one folder, each in a process of its own."""

    def __init__(self, start: Path, folder: Path, **changes: object) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        self.values = {
            "model": start / "model",
            "data": start / "data" / "train.jsonl",
            "prompts_per_step": 2,
            "completions_per_prompt": 4,
            "max_new_tokens": 16,
            "lr": 1e-3,
            "lr_schedule": "cosine",
            "warmup_steps": 2,
            "advantage": "task_ema",
            "checkpoint_every": 1,
            **changes,
        }

    def out(self, name: str) -> Path:
        return self.folder / name

    def config(self, name: str) -> Path:
        path = self.folder / f"{name}.yaml"
        TrainConfig.from_mapping({**self.values, "out": self.out(name)}).save(path)
        return path

    def copy(self, source: str, name: str) -> None:
        """Another run that has come as far."""
        shutil.rmtree(self.out(name), ignore_errors=True)
        shutil.copytree(self.out(source), self.out(name), symlinks=True)
        shutil.copy(self.config(name), self.out(name) / "config.yaml")

    def start(self, name: str, *arguments: object, **options: object):
        return forked.start(forked.train_run, self.config(name), *arguments, log=self.log, **options)

    def run(self, name: str, *arguments: object, **options: object) -> int:
        return forked.finish(self.start(name, *arguments, **options))

    def end(self, name: str, *arguments: object) -> None:
        assert self.run(name, *arguments) == 0, self.log.read_text()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def state(checkpoint):
    content = json.loads((checkpoint / "trainer.json").read_text())
    del content["offsets"]  # the lines before them hold times
    return content


def assert_same_checkpoint(a, b):
    """Weights, optimizer, random states, and all else the next step depends on, bit for bit."""
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in (a, b)]
    assert names[0] == names[1] and len(names[0]) >= 3
    for name in names[0]:
        left, right = load_file(a / name), load_file(b / name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), name
    assert state(a) == state(b)


def assert_same_run(a, b):
    assert_same_checkpoint(a / "checkpoints" / "latest", b / "checkpoints" / "latest")
    for name in ("metrics", "evaluation"):
        left, right = (lines(out / f"{name}.jsonl") for out in (a, b))
        assert [{k: v for k, v in line.items() if not k.startswith(TIMES)} for line in left] == [
            {k: v for k, v in line.items() if not k.startswith(TIMES)} for line in right
        ]
    names = [sorted(path.name for path in (out / "completions").glob("*.parquet")) for out in (a, b)]
    assert names[0] == names[1] and names[0]
    for name in names[0]:
        left, right = (pq.read_table(out / "completions" / name) for out in (a, b))
        assert left.equals(right), name


@pytest.mark.parametrize("kills", [2, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_and_resumed_a_run_is_bit_identical(start, tmp_path, kills):
    """kill -9 while starting, in steps, between them, in saves and evaluations. MIXED_R1_KILLS: how often."""
    runs = Runs(
        start,
        tmp_path,
        steps=kills + 3,
        updates_per_rollout=2,
        validation=start / "data" / "validation.jsonl",
        eval_samples=4,
        eval_completions=1,
        eval_every=3,
        completions_every=2,
    )
    begun = time.monotonic()
    runs.end("straight")
    step = (time.monotonic() - begun) / (kills + 3)
    rng, metrics = np.random.default_rng(kills), runs.out("killed") / "metrics.jsonl"
    for kill in range(kills):
        process, before = runs.start("killed", kill > 0), count_lines(metrics)
        # Every fourth time anywhere from the start on; else after a step more, which the next one then has.
        while kill % 4 != 3 and process.exitcode is None and count_lines(metrics) <= before:
            time.sleep(0.002)
        time.sleep(rng.uniform(0, step))
        assert process.exitcode is None, runs.log.read_text()
        process.kill()
        assert forked.finish(process) == -signal.SIGKILL
    runs.end("killed", True)
    assert_same_run(runs.out("straight"), runs.out("killed"))


def small_save(root: Path, content: str) -> None:
    def write(directory: Path) -> None:
        (directory / "weights.bin").write_bytes(content.encode() * REPEATED)
        (directory / "nested").mkdir()
        (directory / "nested" / "state.json").write_text(content)

    save_checkpoint(root, int(content), write)


def assert_whole(root, *wanted):
    found = find_checkpoint(root)
    assert found is not None and (found / "nested" / "state.json").read_text() in wanted
    assert (found / "weights.bin").read_text() == (found / "nested" / "state.json").read_text() * REPEATED
    return found


@pytest.mark.parametrize("again", [False, True], ids=["new step", "same step"])
@pytest.mark.parametrize(
    "by_turns", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["turns", "all"]
)
def test_every_write_of_a_small_save_interrupted(tmp_path, again, by_turns):
    """Also of a step whose checkpoint exists and is the only one: what a run writes that cannot go on."""
    new = "10" if again else "15"

    def fresh(name):
        for content in ("10",) if again else ("5", "10"):
            small_save(tmp_path / name, content)
        return tmp_path / name

    log = tmp_path / "log.txt"
    calls = forked.writes_of(small_save, fresh("traced"), new, log=log, under=tmp_path / "traced")
    assert len(calls) > 15 and {call[0] for call in calls} >= {"write", "fsync", "rename", "symlink", "mkdir"}
    for i, call in enumerate(calls):
        for fault in [FAULTS[i % 3]] if by_turns else FAULTS:
            root = fresh(f"{i}-{fault}")
            code = forked.run(small_save, root, new, log=log, strace=forked.failing(call, fault))
            assert_stopped_by(fault, code, call)
            assert_whole(root, "10", new)
            small_save(root, "20")
            assert assert_whole(root, "20").name == "step-000020"
            assert not list(root.glob(".writing-*")) and len(list(root.glob("step-*"))) == 2


def assert_stopped_by(fault, code, call):
    """Killed, or ended by the error, which only the removal of what nobody needs may ignore."""
    if "KILL" in fault:
        assert code == -signal.SIGKILL
    else:
        assert code == 1 or (code == 0 and call[0] in ("unlink", "unlinkat", "rmdir")), call


def interrupted_saves(runs, chosen):
    """Interrupt the writes of step 3 and its save, those of ``chosen(calls)``; how many there were."""
    runs.end("straight")
    assert runs.run("base", False, "term 0 rollout of step 2") == 143
    steps = {
        step.name: step for name in ("base", "straight") for step in runs.out(name).glob("checkpoints/step-*")
    }
    assert len(steps) == 4
    runs.copy("base", "traced")
    arguments = (forked.train_run, runs.config("traced"), True, "term 0 rollout of step 3")
    calls = chosen(forked.writes_of(*arguments, log=runs.log, under=runs.out("traced")))
    for call, fault in calls:
        runs.copy("base", "broken")
        code = runs.run("broken", True, strace=forked.failing(call, fault))
        assert_stopped_by(fault, code, call)
        found = find_checkpoint(runs.out("broken") / "checkpoints")
        assert_same_checkpoint(found, steps[found.name])
        runs.end("broken", True)
        assert_same_run(runs.out("straight"), runs.out("broken"))
    return len(calls)


def test_some_writes_of_a_run_interrupted(start, tmp_path):
    """The last write of the weights, the new checkpoint's rename, the link's."""

    def chosen(calls):
        writes = [call for call in calls if ".tmp" in call[2] and call[0] == "write"]
        renames = [call for call in calls if call[0] == "rename"]
        return [(writes[-1], "error=ENOSPC"), (renames[-2], "signal=KILL"), (renames[-1], "error=EIO")]

    assert interrupted_saves(Runs(start, tmp_path, steps=4, completions_every=9), chosen) == 3


@pytest.mark.slow
def test_every_write_of_a_run_interrupted(start, tmp_path):
    """Every write of a step and its save by every fault; each time the run goes on bit-identically."""
    runs = Runs(start, tmp_path, steps=4, completions_every=9)
    number = interrupted_saves(runs, lambda calls: [(call, fault) for call in calls for fault in FAULTS])
    print(f"{number} interrupted writes")
    assert number > 100


@pytest.fixture
def disk(tmp_path):
    """A small file system of its own: ``disk(bytes)`` leaves so many free."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = 16 << 20
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True
    )
    if mounted.returncode:
        pytest.skip(f"mounting must be allowed, got {mounted.stderr.decode().strip()}")

    def leave(free: int) -> Path:
        ballast = folder / "ballast"
        ballast.unlink(missing_ok=True)
        available = shutil.disk_usage(folder).free
        ballast.write_bytes(bytes(max(0, available - free)))
        return folder

    yield leave
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_at_any_page_of_a_save(disk):
    page = os.sysconf("SC_PAGE_SIZE")
    root, failed = disk(1 << 20) / "checkpoints", 0
    small_save(root, "10")
    for pages in range(60):
        disk(pages * page)
        try:
            small_save(root, "15")
        except OSError as error:
            assert error.errno == 28
            assert_whole(root, "10")
            failed += 1
        else:
            assert_whole(root, "15")
            break
    assert 25 < failed < 40
    disk(1 << 20)
    small_save(root, "20")
    assert assert_whole(root, "20").name == "step-000020" and not list(root.glob(".writing-*"))


@pytest.mark.parametrize("every", [False, pytest.param(True, marks=pytest.mark.slow)], ids=["two", "every"])
def test_a_flipped_bit_in_a_file_sends_a_run_back_a_step(start, tmp_path, every):
    runs = Runs(start, tmp_path, steps=3, completions_every=9)
    runs.end("straight")
    assert runs.run("base", False, "term 0 rollout of step 2") == 143
    files = sorted(path.name for path in (runs.out("base") / "checkpoints" / "step-000002").iterdir())
    assert {"config.json", "tokenizer.json", "trainer.json", "manifest.json"} < set(files) and len(
        files
    ) >= 10
    for name in files if every else ("model.safetensors", "trainer.json"):
        runs.copy("base", "flipped")
        path = runs.out("flipped") / "checkpoints" / "step-000002" / name
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
        runs.end("flipped", True)
        assert f"checkpoint skipped: {path}" in runs.log.read_text()
        assert_same_run(runs.out("straight"), runs.out("flipped"))


@pytest.mark.slow
def test_a_run_whose_disk_fills_up_goes_on_bit_identically(start, tmp_path, disk):
    runs = Runs(start, tmp_path, steps=4, completions_every=9)
    runs.end("straight")
    assert runs.run("base", False, "term 0 rollout of step 2") == 143
    runs.out = lambda name: tmp_path / name if name in ("straight", "base") else tmp_path / "disk" / name
    codes = []
    for free in np.linspace(0, 4 << 20, 9).astype(int):
        disk(15 << 20)
        runs.copy("base", "full")
        disk(int(free))
        codes.append(runs.run("full", True))
        found = find_checkpoint(runs.out("full") / "checkpoints")
        assert found.name >= "step-000002"
        disk(8 << 20)
        runs.end("full", True)
        assert_same_run(runs.out("straight"), runs.out("full"))
    assert codes.count(1) >= 5 and set(codes) <= {0, 1}
