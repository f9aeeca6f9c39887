"""A reward and a task of one's own in training: what a person writes, and what the run records of it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from mixed_r1.config import ConfigError
from mixed_r1.report import build_report
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.train import TrainConfig, train
from mixed_r1_kernels import EmbeddingTable
from tests import forked
from tests.train.runs import lines

ROOT = Path(__file__).resolve().parents[2]


def settings(start: Path, out: Path, **changes: Any) -> TrainConfig:
    values = {"model": start / "model", "data": start / "data" / "train.jsonl", "out": out, "steps": 1}
    small = {"prompts_per_step": 2, "completions_per_prompt": 4, "max_new_tokens": 12}
    return TrainConfig.from_mapping({**values, **small, **changes})


def brevity(completions: Any, answers: Any, samples: Any) -> list[float]:
    return [1 / len(completion) if completion else 0.0 for completion in completions]


def test_a_function_of_ones_own_trains(start: Path, tmp_path: Path) -> None:
    train(settings(start, tmp_path / "run"), reward=brevity)
    (record,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert record["reward/column/brevity"] > 0 and record["reward/share/brevity"] > 0


def test_the_same_by_name_in_settings(start: Path, tmp_path: Path) -> None:
    """One file with one function and one line of settings; the package is not touched."""
    reward = {"functions": {"brevity": f"{__name__}:brevity"}, "weights": {"brevity": 2.0}}
    config = settings(start, tmp_path / "run", reward=reward)
    train(config)
    recorded = TrainConfig.load(tmp_path / "run" / "config.yaml")
    assert recorded.reward.functions == reward["functions"]
    train(config, resume=True)  # nothing is left to do, and nothing of the settings has changed
    (record,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert record["reward/column/brevity"] > 0
    page = tmp_path / "page.html"
    build_report(tmp_path / "run", page)
    assert "Brevity" in page.read_text()


def test_a_reward_made_in_python(start: Path, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    parts = EmbeddingTable.from_pretrained(start / "model"), AutoTokenizer.from_pretrained(start / "model")
    config = RewardConfig(format="none", tasks={"grounding": {"box_score": "giou"}})
    reward = MixedReward(*parts, config=config, functions={"brevity": brevity})
    train(settings(start, tmp_path / "run"), reward=reward)
    recorded = TrainConfig.load(tmp_path / "run" / "config.yaml").reward
    assert recorded.format == "none" and recorded.tasks == config.tasks and recorded.box_frame == "resized"
    (record,) = lines(tmp_path / "run" / "metrics.jsonl")
    assert "reward/column/brevity" in record and "reward/column/format" in record
    with pytest.raises(ConfigError, match="reward and reward_weights must be left out of the settings"):
        train(settings(start, tmp_path / "two", reward_weights={"iou": 1.0}), reward=reward)
    assert not (tmp_path / "two").exists()


def test_the_frame_of_boxes_is_the_models_and_is_recorded(start: Path, tmp_path: Path) -> None:
    train(settings(start, tmp_path / "run"))
    assert yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["reward"]["box_frame"] == "resized"
    with pytest.raises(ConfigError, match="reward.box_frame must be resized, which the model speaks"):
        train(settings(start, tmp_path / "other", reward={"box_frame": "norm1000"}))
    assert not (tmp_path / "other").exists()


def test_the_example_of_a_task_trains(tmp_path: Path) -> None:
    """examples/train_counting.py as a person starts it, a few steps long."""
    words = ["--out", str(tmp_path), "--steps", "2", "--warmup-steps", "20"]
    log = tmp_path / "log.txt"
    code = forked.run(forked.program, str(ROOT / "examples" / "train_counting.py"), words, {}, log=log)
    assert code == 0, log.read_text()
    assert "mean sampled reward:" in log.read_text()
    records = lines(tmp_path / "run" / "metrics.jsonl")
    assert len(records) == 2
    assert all(0 <= r["reward/column/counting"] <= 1 and "reward/task/counting" in r for r in records)
    evaluated = {(r["task"], r["mode"]) for r in lines(tmp_path / "run" / "evaluation.jsonl")}
    assert ("counting", "sampled") in evaluated
    page = (tmp_path / "run" / "report.html").read_text()
    assert "How many squares are there?" in page and "Counting" in page
    checked = [sys.executable, "-m", "mixed_r1", "data", "check", str(tmp_path / "train.jsonl"), "--task"]
    found = subprocess.run(
        [*checked, "counting_task:Counting"], cwd=ROOT / "examples", capture_output=True, text=True
    )
    assert found.returncode == 0 and "no problems" in found.stderr, found.stderr


def test_eval_of_a_run_with_a_task_of_ones_own(tmp_path: Path, start: Path) -> None:
    """The command finds the module in its working directory."""
    rows = tmp_path / "rows.jsonl"
    row = {"id": "a", "task": "counting", "question": "How many squares are there?", "answer": 3}
    rows.write_text(json.dumps(row) + "\n")
    override = 'reward={"custom_tasks": ["counting_task:Counting"]}'
    out, log = tmp_path / "means.jsonl", tmp_path / "log.txt"
    words = ["eval", str(start / "model"), str(rows), override, "max_new_tokens=8", "--out", str(out)]
    assert forked.run(forked.command, words, ROOT / "examples", log=log) == 0, log.read_text()
    assert {line["task"] for line in lines(out)} == {"counting", "all"}
