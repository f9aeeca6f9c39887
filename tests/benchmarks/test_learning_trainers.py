"""The control for learning on pretrained weights: both trainers on one start, here a tiny one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.learning_trainers import Start, embedded, run_one
from mixed_r1.data import save_samples
from mixed_r1.demo import DemoSettings
from mixed_r1.demo.real_weights import RealWeightsSettings, real_weights_config, train_and_test_rows
from mixed_r1.models import tiny_adapter

pytest.importorskip("easy_vqa")
pytest.importorskip("trl")


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, RealWeightsSettings]:
    """What ``prepare_real_weights`` leaves, with a tiny random model."""
    root = tmp_path_factory.mktemp("start")
    settings = replace(
        RealWeightsSettings(), test_rows=12, steps=4, prompts_per_step=3, completions_per_prompt=4, lr=1e-2
    )
    rows, held_out = train_and_test_rows(replace(settings, steps=8))
    save_samples(rows, root / "data" / "train.jsonl")
    save_samples(held_out, root / "data" / "test.jsonl")
    corpus = [text for row in rows for text in (row.question, row.answer)]
    tiny_adapter("internvl", corpus=corpus, seed=0).save(str(root / "model"))
    return root, settings


def test_both_trainers_from_one_start(start):
    """Equal greedy rewards before, evaluations at the same steps, seconds and memory of each."""
    root, settings = start
    begin = Start("tiny", settings, lambda folder: None, lambda folder: real_weights_config(folder, settings))
    ours, theirs = (run_one(name, begin, root, eval_every=2) for name in ("mixed_r1", "trl"))
    for record in (ours, theirs):
        assert [step for step, _, _ in record["curve"]] == [0, 2, 4]
        seconds = [second for _, second, _ in record["curve"]]
        assert seconds == sorted(seconds) and 0 < seconds[1] < record["processor_seconds"] + 0.1
        assert record["peak_memory_mb"] > 100
        assert {task: row["rows"] for task, row in record["tasks"].items()} == {
            "all": 12,
            "chart": 4,
            "math": 4,
            "yes_no": 4,
        }
        assert record["tasks"]["yes_no"]["commonest_answer_share"] > 0
    assert ours["curve"][0][2] == theirs["curve"][0][2]
    for task, row in ours["tasks"].items():
        assert row["before"] == theirs["tasks"][task]["before"]


@pytest.mark.slow
def test_both_trainers_on_the_embedded_data(tmp_path):
    """The demo's start at its smallest: rows with an image, whole weights, BMAS and boxes scored alike."""
    begin = embedded(DemoSettings(warmup_steps=2, steps=2, prompts_per_step=8, held_out=40))
    begin.prepare(tmp_path)
    ours, theirs = (run_one(name, begin, tmp_path, eval_every=1) for name in ("mixed_r1", "trl"))
    for record in (ours, theirs):
        assert record["tasks"]["all"]["rows"] == 40 and record["start"] == "qwen2_5_vl"
        assert {"grounding", "open_ended", "chart"} < set(record["tasks"])
    assert ours["curve"][0][2] == theirs["curve"][0][2]
