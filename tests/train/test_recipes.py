"""Every recipe trains: its own settings, on a tiny model of its family and a small step."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from transformers import AutoModelForImageTextToText

from mixed_r1.train import TrainConfig
from tests.train.runs import warm_start

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))
SMALL = {
    **{"steps": 2, "prompts_per_step": 4, "completions_per_prompt": 4, "max_new_tokens": 16},
    **{"max_tokens_per_pack": 512, "checkpoint_every": 1, "eval_samples": 3, "eval_completions": 2},
}


@pytest.fixture(scope="module")
def internvl(start, tmp_path_factory):
    """``start`` of the other family."""
    folder = tmp_path_factory.mktemp("internvl")
    (folder / "data").symlink_to(start / "data")
    return warm_start(folder, "internvl")


def test_a_recipe_for_a_published_model_asks_for_the_answer_format():
    """Which its reward wants and the model does not know of."""
    for path in RECIPES:
        values = yaml.safe_load(path.read_text())
        if path.stem != "embedded":
            assert all(tag in values["system_prompt"] for tag in ("<think></think>", "<answer></answer>"))
            assert ("thousandths" in values["system_prompt"]) == ("internvl" in path.stem)


def params():
    for path in RECIPES:
        several = path.stem.endswith("8gpu")
        yield pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if several else [])


@pytest.mark.parametrize("recipe", params())
def test_a_recipe_trains(start, internvl, launch, tmp_path, recipe):
    """Two ranks where it is for several GPUs: rewards, finite gradients, evaluations, a model to load."""
    values = yaml.safe_load(recipe.read_text())
    begin = internvl if recipe.stem.startswith("internvl") else start
    values |= {**SMALL, "model": begin / "model", "data": begin / "data" / "train.jsonl"}
    values["out"] = tmp_path / "run"
    if "validation" in values:
        values["validation"] = begin / "data" / "test.jsonl"
    if "overlong_margin" in values:
        values["overlong_margin"] = 4
    TrainConfig.from_mapping(values).save(tmp_path / "run.yaml")
    started = launch("train/run_training.py", tmp_path / "run.yaml", ranks=2 if "8gpu" in recipe.stem else 1)
    for rank in started:
        assert rank.wait(300) == 0, rank.text
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == 2 and all(0 <= record["reward/mean"] <= 1 for record in records)
    assert all(record["skipped_updates"] == 0 for record in records)
    assert any(record["grad_norm"] > 0 for record in records)
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert set(summary["evaluation"]) == ({"greedy", "sampled"} if "validation" in values else set())
    AutoModelForImageTextToText.from_pretrained(tmp_path / "run" / "checkpoints" / "latest")
