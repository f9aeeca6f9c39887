"""One rank that fails takes the others with it, soon, and says why; what was saved before goes on."""

from __future__ import annotations

import re
import signal
import time

import pytest

from mixed_r1.train import TrainConfig
from mixed_r1.train.checkpoint import find_checkpoint
from tests.train.runs import assert_same_checkpoint

PATIENCE = 10  # seconds the others may take to leave
TIMEOUT = 3  # seconds of silence after which a rank counts as lost
PHASE = "rollout of step 1"
WHERE = f"{PHASE}, row r1, row r2"


def leave(ranks, failed):
    """Wait for the others; how long after the fault they were gone."""
    for number, rank in enumerate(ranks):
        if number != failed:
            assert rank.wait() != 0, rank.text
    return time.time() - float(re.search(r"fault at ([\d.]+)", ranks[failed].text)[1])


@pytest.mark.parametrize("failed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_error_on_one_rank_ends_all_and_is_named(launch, tmp_path, failed):
    ranks = launch("run_ranks.py", tmp_path, 60, fault=f"raise {failed} {PHASE}")
    assert leave(ranks, failed) < PATIENCE
    assert ranks[failed].wait() != 0 and "ordered by the test" in ranks[failed].text
    cause = f"rank {failed}, {WHERE}: ArithmeticError: ordered by the test"
    assert f"rank {1 - failed} stops: {cause}" in ranks[1 - failed].text


@pytest.mark.parametrize("failed", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_others_and_is_named(launch, tmp_path, failed):
    ranks = launch("run_ranks.py", tmp_path, TIMEOUT, fault=f"kill {failed} {PHASE}")
    assert leave(ranks, failed) < TIMEOUT + 5
    assert ranks[failed].wait() == -signal.SIGKILL
    if failed:  # rank 0, or its launcher, holds what the ranks know of each other
        assert f"no sign of life from rank 1, last at {WHERE}" in ranks[0].text
    else:
        assert re.search(r"rank 0, last at .+, or the launcher has gone", ranks[1].text)


@pytest.mark.slow
@pytest.mark.parametrize("failed", [0, 1])
def test_a_stopped_rank_ends_the_others_and_itself_once_it_goes_on(launch, tmp_path, failed):
    """Stopped, it holds its connections open: only the silence tells."""
    ranks = launch("run_ranks.py", tmp_path, TIMEOUT, fault=f"stop {failed} {PHASE}")
    assert leave(ranks, failed) < TIMEOUT + 5
    assert re.search(f"rank {failed}.*last at", ranks[1 - failed].text)
    ranks[failed].go_on()
    assert ranks[failed].wait(PATIENCE) != 0


@pytest.fixture(scope="module")
def undisturbed(start, tmp_path_factory):
    """Settings of a run on two ranks, and its folder."""
    return {
        "model": str(start / "model"),
        "data": str(start / "data" / "train.jsonl"),
        "steps": 3,
        "prompts_per_step": 4,
        "completions_per_prompt": 4,
        "max_new_tokens": 16,
        "lr": 1e-3,
        "zero_stage": 2,
        "checkpoint_every": 1,
        "rank_timeout": 8,
    }, tmp_path_factory.mktemp("undisturbed") / "run"


@pytest.mark.slow
@pytest.mark.parametrize(
    "fault",
    [
        "raise 1 encoding of step 2",
        "raise 0 reward of step 2",
        "kill 1 training of step 2",
        "kill 0 training of step 2",
        "stop 1 rollout of step 2",
        "raise 1 checkpoint of step 2",
        "kill 0 checkpoint of step 2",
    ],
)
def test_a_training_run_that_loses_a_rank_ends_and_goes_on(launch, undisturbed, tmp_path, fault):
    """In the midst of DeepSpeed's collectives; resumed, it ends as a run that lost none."""
    settings, straight = undisturbed
    kind, failed, phase = fault.split(" ", 2)
    if not straight.exists():
        for rank in train_on(launch, settings, straight):
            assert rank.wait(400) == 0, rank.text
    ranks = train_on(launch, settings, tmp_path / "run", fault=fault)
    other = ranks[1 - int(failed)]
    assert other.wait(400) != 0
    taken = time.time() - float(re.search(r"fault at ([\d.]+)", ranks[int(failed)].text)[1])
    assert taken < (PATIENCE if kind == "raise" else settings["rank_timeout"] + 5), other.text
    assert f"rank {failed}" in other.text
    if kind == "raise":
        assert re.search(rf"rank {failed}, {phase}.*: ArithmeticError: ordered by the test", other.text)
        assert ranks[int(failed)].wait() != 0
    elif failed == "1":
        assert re.search(rf"rank 1.*last at {phase}", other.text)
    ranks[int(failed)].process.kill()
    assert find_checkpoint(tmp_path / "run" / "checkpoints").name == "step-000001"
    for rank in train_on(launch, settings, tmp_path / "run", resume=True):
        assert rank.wait(400) == 0, rank.text
    assert_same_checkpoint(*(out / "checkpoints" / "latest" for out in (straight, tmp_path / "run")))


def train_on(launch, settings, out, *, fault=None, resume=False):
    path = out.with_suffix(".yaml")
    TrainConfig.from_mapping({**settings, "out": out}).save(path)
    return launch("train/run_training.py", path, *(["--resume"] if resume else []), fault=fault)
