"""What the learning bench reads out of a finished run, against the run's own files."""

from __future__ import annotations

import json

import pytest

from benchmarks.learning import Setting, draw, summary_of
from mixed_r1.data.mini import MiniRows, corpus, sft_target
from mixed_r1.demo.run import WarmUpTargets
from mixed_r1.models import tiny_adapter
from mixed_r1.train import TrainConfig, train


def test_a_setting_is_a_name_and_values():
    assert Setting.read("demo") == Setting("demo", {})
    read = Setting.read("hot:lr=8e-4,freeze=[vision],lr_schedule=linear".replace("[vision]", "[]"))
    assert read == Setting("hot", {"lr": "8e-4", "freeze": [], "lr_schedule": "linear"})
    assert TrainConfig.from_mapping({"model": "-", "data": "-", "out": "-", **read.changes}).lr == 8e-4


def test_a_record_holds_the_curve_the_paired_change_and_what_answers_were_given(start, tmp_path):
    config = TrainConfig.from_mapping(
        {
            "model": start / "model",
            "data": start / "data" / "train.jsonl",
            "validation": start / "data" / "test.jsonl",
            "out": tmp_path / "run",
            "freeze": [],
            "steps": 4,
            "prompts_per_step": 6,
            "completions_per_prompt": 4,
            "max_new_tokens": 24,
            "lr": 1e-3,
            "eval_every": 2,
            "eval_train_samples": 12,
            "task_gradients_every": 2,
        }
    )
    summary = train(config)
    record = summary_of(config, summary)
    assert [(p["step"], p["prompts"], p["completions"]) for p in record["curve"]] == [
        (0, 0, 0),
        (2, 12, 48),
        (4, 24, 96),
    ]
    spent = [point["processor_seconds"] for point in record["curve"]]
    assert spent[0] == 0 and spent == sorted(spent)
    for mode in ("greedy", "sampled"):
        first, last = (record["curve"][i][mode]["all"][0] for i in (0, -1))
        assert record["change"][mode]["all"][0] == pytest.approx(last - first)
        assert set(record["change"][mode]) == set(record["curve"][0][mode])
    assert "greedy_on_training_rows" in record["curve"][-1]
    assert record["answers"]["yes_no"]["commonest_gold"][1] >= 0.5
    assert all(-1 <= cosine <= 1 for cosine in record["gradient_cosines"].values())
    json.dumps(record)
    pytest.importorskip("matplotlib")
    draw([{**record, "family": "f", "setting": "s", "seed": 0}], tmp_path / "curves.png")
    assert (tmp_path / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_a_start_that_cannot_see_a_task_is_shown_other_rows_answers_to_it():
    rows = MiniRows("train", size=120)
    adapter = tiny_adapter("internvl", corpus=corpus(rows))
    plain, blind = WarmUpTargets(rows, adapter), WarmUpTargets(rows, adapter, ["yes_no"])
    right = []
    for index in range(len(rows)):
        seen, unseen = plain[index], blind[index]
        assert seen.sample == unseen.sample
        if seen.sample.task != "yes_no":
            assert seen == unseen
        else:
            assert unseen.target.endswith(("<answer>yes</answer>", "<answer>no</answer>"))
            right.append(
                unseen.target.rpartition("<answer>")[2] == sft_target(seen.sample).rpartition("<answer>")[2]
            )
    assert len(right) >= 25 and 0.25 < sum(right) / len(right) < 0.75
    assert blind[7] == blind[7], "the same answer every time it is asked for"


def test_the_warm_up_writes_boxes_in_the_models_frame_and_shows_the_row_as_it_is():
    """InternVL's boxes are thousandths: its rows, on which prompts are made, stay in pixels."""
    rows = MiniRows("train", size=60)
    adapter = tiny_adapter("internvl", corpus=corpus(rows))
    targets = WarmUpTargets(rows, adapter)
    grounding = [i for i in range(len(rows)) if rows[i].task == "grounding"]
    assert len(grounding) >= 8
    for i in grounding:
        assert targets[i].sample == rows[i]
        adapter.encode(targets[i].sample)  # refuses boxes outside the picture
        width, height = 48, 48
        x1, y1, x2, y2 = rows[i].boxes[0]
        written = [
            round(v) for v in (x1 * 1000 / width, y1 * 1000 / height, x2 * 1000 / width, y2 * 1000 / height)
        ]
        assert str(written) in targets[i].target


def test_rows_can_be_weighted_by_kind():
    def counts(**options):
        kinds = [row.metadata["kind"] for row in MiniRows("train", size=200, **options)]
        return {kind: kinds.count(kind) for kind in set(kinds)}

    plain, weighted = counts(), counts(weights={"caption": 0.0, "is_digit": 2.0})
    assert plain["caption"] == 18 and "caption" not in weighted
    assert weighted["is_digit"] / weighted["bar_value"] == pytest.approx(2 * 0.12 / 0.10, rel=0.1)
