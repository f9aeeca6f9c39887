"""Runs that are killed, stopped or out of disk at any moment go on as if nothing had been."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from mixed_r1.train.checkpoint import find_checkpoint, save_checkpoint
from tests import forked
from tests.train.runs import Runs, assert_same_checkpoint, assert_same_run, lines

FAULTS = ("signal=KILL", "error=ENOSPC", "error=EIO")
REPEATED = 50_000  # of a small save: 25 pages
KILLS = int(os.environ.get("MIXED_R1_KILLS", "20"))


def count_lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


@pytest.mark.parametrize("kills", [1, pytest.param(KILLS, marks=pytest.mark.slow)])
def test_killed_at_random_and_resumed_a_run_is_bit_identical(start, tmp_path, kills):
    """kill -9 while starting, in steps, between them, in saves and evaluations. MIXED_R1_KILLS: how often."""
    runs = Runs(
        start,
        tmp_path,
        steps=3 * kills + 3,
        updates_per_rollout=2,
        validation=start / "data" / "validation.jsonl",
        eval_samples=4,
        eval_completions=1,
        eval_every=3,
        completions_every=2,
    )
    runs.end("straight")
    times = [line["time"] for line in lines(runs.out("straight") / "metrics.jsonl")]
    step = (times[-1] - times[0]) / (len(times) - 1)
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


@pytest.mark.parametrize(
    "ends",
    [
        {"rollout of step 2": 2, "evaluation of step 0": 0},
        pytest.param(
            # In a save or an evaluation: there is a checkpoint, and the step after it has begun.
            {
                "encoding of step 1": 1,
                "checkpoint of step 2": 3,
                "evaluation of step 2": 3,
                "reward of step 4": 4,
            },
            marks=pytest.mark.slow,
        ),
    ],
)
def test_sigterm_leaves_one_complete_checkpoint_and_143(start, tmp_path, ends):
    runs = Runs(
        start,
        tmp_path,
        steps=4,
        checkpoint_every=2,
        completions_every=2,
        validation=start / "data" / "validation.jsonl",
        eval_samples=4,
        eval_completions=1,
        eval_every=2,
    )
    runs.end("straight")
    for phase, step in ends.items():
        name = phase.replace(" ", "-")
        assert runs.run(name, False, f"term 0 {phase}") == 143, runs.log.read_text()
        checkpoints = runs.out(name) / "checkpoints"
        assert find_checkpoint(checkpoints) == (checkpoints / "latest").resolve()
        assert (checkpoints / "latest").resolve().name == f"step-{step:06d}"
        assert not list(checkpoints.glob(".*"))
        runs.end(name, True)
        assert_same_run(runs.out("straight"), runs.out(name))


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
            code = forked.run_failing(small_save, root, new, log=log, call=call, fault=fault, under=root)
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
        broken, config = runs.out("broken"), runs.config("broken")
        code = forked.run_failing(
            forked.train_run, config, True, log=runs.log, call=call, fault=fault, under=broken
        )
        assert_stopped_by(fault, code, call)
        found = find_checkpoint(broken / "checkpoints")
        assert_same_checkpoint(found, steps[found.name])
        runs.end("broken", True)
        assert_same_run(runs.out("straight"), broken)
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
        for stale in root.glob(".writing-*"):  # its pages would count as taken
            shutil.rmtree(stale)
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
