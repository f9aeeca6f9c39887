"""Several ranks: what they tell each other, and that a run is the same whatever their number."""

from __future__ import annotations

import json
import math
import shutil

import pytest
import torch
from safetensors.torch import load_file

from mixed_r1.config import ConfigError
from mixed_r1.ranks import Ranks
from mixed_r1.train import TrainConfig, Trainer, train
from tests.train.runs import settings_from


def test_one_process_needs_nothing():
    with Ranks() as ranks:
        rows = list(range(5))
        assert ranks.first and ranks.gather("x") == ["x"]
        assert ranks.share(rows) == rows and ranks.merge(rows) == rows


def test_values_reach_all_ranks_exactly(launch, tmp_path):
    for rank in launch("run_ranks.py", tmp_path, 60):
        assert rank.wait() == 0, rank.text
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert said[0]["gathered"] == said[1]["gathered"]
    assert said[0]["gathered"] == [
        {"rank": 0, "text": "", "third": 1 / 3},
        {"rank": 1, "text": "\u00e9\n", "third": 1 / 3},
    ]
    assert said[0]["merged"] == list(range(7))
    assert said[0]["who"] == ["a", "b", "a", "b", "c", "", "c", "long"]  # blocks of two rows, in turn
    x = said[1]["x"]
    assert [x[0], x[2]] == [0.0, 1.0] and math.isnan(x[1]) and math.isnan(x[3])
    assert x[4:] == [0.1, -math.inf, 0.1, -math.inf]


def settings(start, out, **changes):
    values = {
        "steps": 4,
        "prompts_per_step": 4,
        "completions_per_prompt": 4,
        "max_new_tokens": 24,
        "lr": 3e-4,
        "updates_per_rollout": 2,
        "completions_every": 2,
    }
    return settings_from(start, out, **{**values, **changes})


def started(launch, config, *, ranks=2, **arguments):
    path = config.out.with_suffix(".yaml")
    config.save(path)
    resume = ["--resume"] if arguments.pop("resume", False) else []
    return launch("train/run_training.py", path, *resume, ranks=ranks, **arguments)


def finish(ranks):
    for rank in ranks:
        assert rank.wait(400) == 0, rank.text


def metrics(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def assert_same_numbers(a, b):
    for left, right in zip(metrics(a), metrics(b), strict=True):
        for name in left:
            if not name.startswith(("time", "tokens_per", "memory", "packs")):
                a_value, b_value = (math.nan if m[name] is None else m[name] for m in (left, right))
                assert a_value == pytest.approx(b_value, rel=1e-3, abs=1e-4, nan_ok=True), name


def image_and_text_by_turns(start, path):
    """Rows drawn by turns from two sources: of two ranks, one gets all the images."""
    rows = [json.loads(line) for line in (start / "data" / "train.jsonl").read_text().splitlines()]
    for row in rows:
        row["source"] = "images" if row.get("images") else "text"
        row["images"] = [str(start / "data" / image) for image in row.get("images", [])]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_two_ranks_of_whole_weights_give_the_numbers_of_one(launch, start, tmp_path):
    """One rank gets all the images, and the tower trains: the other's gradient of it is zero."""
    rows = image_and_text_by_turns(start, tmp_path / "turns.jsonl")
    changes = {"engine": "local", "freeze": [], "mixture": "equal", "data": rows, "task_gradients_every": 2}
    train(settings(start, tmp_path / "one", **changes))
    finish(started(launch, settings(start, tmp_path / "two", **changes)))
    assert_same_numbers(tmp_path / "one", tmp_path / "two")
    assert any(name.startswith("gradient/cosine/") for name in metrics(tmp_path / "two")[1])
    states = [p.name for p in (tmp_path / "two" / "checkpoints" / "latest").glob("optimizer-*")]
    assert states == ["optimizer-00000.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"zero_stage": 2, "freeze": [], "mixture": "equal", "max_tokens_per_pack": 150, "advantage": "batch"},
        {"zero_stage": 3, "freeze": [], "mixture": "equal", "advantage": "gdpo", "redraw_rounds": 1},
        {"zero_stage": 3, "lora_rank": 4, "beta": 0.05, "lr": 1e-3, "advantage": "task_ema"},
    ],
    ids=["zero2-one-rank-without-images", "zero3-redraws", "zero3-lora-kl"],
)
def test_two_zero_ranks_give_the_numbers_of_one(launch, start, tmp_path, changes):
    if changes.get("mixture") == "equal":
        changes = {**changes, "data": image_and_text_by_turns(start, tmp_path / "turns.jsonl")}
    train(settings(start, tmp_path / "one", **changes))
    finish(started(launch, settings(start, tmp_path / "two", **changes)))
    assert_same_numbers(tmp_path / "one", tmp_path / "two")


@pytest.mark.slow
def test_a_run_goes_on_with_another_number_of_ranks(launch, start, tmp_path):
    """Stopped on two ranks; resumed on one by another engine it is equal, resumed on two it is identical."""
    changes = {"checkpoint_every": 1, "zero_stage": 3, "steps": 4}
    straight = settings(start, tmp_path / "straight", **changes)
    finish(started(launch, straight))
    stopped = settings(start, tmp_path / "stopped", **changes)
    for rank in started(launch, stopped, fault="term 1 rollout of step 2"):
        assert rank.wait(400) == 143, rank.text
    assert (stopped.out / "checkpoints" / "latest").resolve().name == "step-000002"
    alone = settings(start, tmp_path / "alone", **changes)
    shutil.copytree(stopped.out, alone.out, symlinks=True)
    saved = TrainConfig.load(alone.out / "config.yaml", [f"out={alone.out}"])
    saved.save(alone.out / "config.yaml")
    train(alone, resume=True)
    assert_same_numbers(straight.out, alone.out)
    finish(started(launch, stopped, resume=True))
    ends = [run.out / "checkpoints" / "latest" for run in (straight, stopped)]
    for name in ("model", "optimizer-00000", "optimizer-00001", "rng-00000", "rng-00001"):
        left, right = (load_file(end / f"{name}.safetensors") for end in ends)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), name


@pytest.mark.slow
def test_a_run_of_one_rank_goes_on_with_two(launch, start, tmp_path):
    """By another engine, and with a number of prompts that two ranks cannot share evenly."""
    changes = {
        "checkpoint_every": 1,
        "zero_stage": 2,
        "prompts_per_step": 5,
        "mixture": "equal",
        "freeze": [],
    }
    changes["data"] = image_and_text_by_turns(start, tmp_path / "turns.jsonl")
    straight = settings(start, tmp_path / "straight", **changes)
    train(straight)
    stopped = settings(start, tmp_path / "stopped", **changes)
    (rank,) = started(launch, stopped, ranks=1, fault="term 0 rollout of step 2")
    assert rank.wait(400) == 143, rank.text
    finish(started(launch, stopped, resume=True))
    assert_same_numbers(straight.out, stopped.out)
    assert len(list((stopped.out / "checkpoints" / "latest").glob("rng-*"))) == 2


def test_more_ranks_than_prompts_is_an_error(start, tmp_path):
    class Four(Ranks):
        world_size = property(lambda self: 4, lambda self, value: None)

    with pytest.raises(ConfigError, match="prompts_per_step must be at least the number of ranks, 4, got 3"):
        Trainer(settings(start, tmp_path / "run", prompts_per_step=3), ranks=Four.__new__(Four))
