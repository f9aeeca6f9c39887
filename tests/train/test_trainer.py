"""A run from end to end: what it writes, that it learns, that it stops and resumes bit for bit."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForImageTextToText, AutoTokenizer

from mixed_r1.config import ConfigError
from mixed_r1.data import DataError
from mixed_r1.plan import first_step
from mixed_r1.run_directory import RunDirectory, is_metric
from mixed_r1.schema import Reason, Sample
from mixed_r1.train import TrainConfig, Trainer, train
from tests import forked
from tests.train.runs import assert_same_run, lines


def settings(start, out, **changes):
    values = {
        "model": start / "model",
        "data": start / "data" / "train.jsonl",
        "validation": start / "data" / "validation.jsonl",
        "out": out,
        "steps": 3,
        "prompts_per_step": 4,
        "completions_per_prompt": 4,
        "max_new_tokens": 24,
        "lr": 3e-4,
        "eval_samples": 8,
        "eval_completions": 2,
        "completions_every": 2,
    }
    return TrainConfig.from_mapping({**values, **changes})


@pytest.fixture(scope="module")
def run(start, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "run"
    summary = train(settings(start, out, freeze=()))
    return out, summary


def test_every_evaluation_keeps_its_answers_row_by_row(run):
    out, summary = run
    files = RunDirectory(out).all_answers()
    assert list(files) == [0, 3]
    for step, when in ((0, "before"), (3, "after")):
        rows = pq.read_table(files[step]).to_pylist()
        assert {row["split"] for row in rows} == {"validation"} and {row["step"] for row in rows} == {step}
        for mode, evaluation in summary["evaluation"].items():
            (overall,) = (record for record in evaluation[when] if record["task"] == "all")
            totals: dict[str, list[float]] = {}
            for row in rows:
                if row["mode"] == mode:
                    totals.setdefault(row["sample_id"], []).append(row["total"])
            assert len(totals) == overall["n"] and len({len(some) for some in totals.values()}) == 1
            assert np.mean([np.mean(some) for some in totals.values()]) == pytest.approx(overall["mean"])
        assert all(row["prompt"] and row["completion"] is not None for row in rows)
        for row in rows:
            sample = Sample.model_validate_json(row["sample"])
            assert sample.id == row["sample_id"] and sample.task == row["task"]
            assert all((out / image).is_file() or Path(image).is_file() for image in sample.images)
            assert row["reason_format"] in Reason.__members__
        assert len({row["sample_id"] for row in rows}) == 8


def test_answers_of_an_evaluation_that_is_not_on_record_go_when_a_run_goes_on(run, tmp_path):
    """A run that was killed after an evaluation and before its checkpoint evaluates again."""
    out = Path(shutil.copytree(run[0], tmp_path / "again", symlinks=True))
    files = RunDirectory(out)
    shutil.copy(files.answers(3), files.answers(99))
    train(TrainConfig.load(out / "config.yaml", [f"out={out}"]), resume=True)
    assert list(files.all_answers()) == [0, 3]


def test_every_step_is_recorded(run):
    out, _ = run
    metrics = lines(out / "metrics.jsonl")
    assert [m["step"] for m in metrics] == [1, 2, 3]
    wanted = {
        *(
            "reward/mean",
            "reward/std",
            "zero_variance",
            "length/mean",
            "clip_fraction",
            "entropy",
            "kl",
            "grad_norm",
        ),
        *(
            "loss",
            "tokens_per_second",
            "time/rollout",
            "time/reward",
            "time/train",
            "memory_mb",
            "lr",
            "skipped",
        ),
    }
    for m in metrics:
        assert wanted <= set(m)
        assert abs(sum(v for k, v in m.items() if k.startswith("reward/share/")) - 1) < 1e-6
        assert sum(v for k, v in m.items() if k.startswith("reason/format/")) == 16
        # The first update is on-policy: the trainer's log-probs are the sampler's.
        assert m["clip_fraction"] == 0 and m["old_kl"] < 1e-8
        assert m["entropy"] > 0 and 0 <= m["reward/mean"] <= 1


def test_every_name_in_a_record_is_one_of_the_format(run):
    out, _ = run
    names = {name for record in lines(out / "metrics.jsonl") for name in record}
    assert {name for name in names if not is_metric(name)} == set()


def test_completions_are_written_with_rewards_reasons_and_advantages(run):
    out, _ = run
    files = sorted(path.name for path in (out / "completions").iterdir())
    assert files == ["step-000001.parquet", "step-000002.parquet", "step-000003.parquet"]
    rows = pq.read_table(out / "completions" / "step-000002.parquet").to_pylist()
    assert len(rows) == 16
    for g in range(4):
        group = [row for row in rows if row["prompt_group"] == g]
        total = np.array([row["total"] for row in group])
        spread = total.std(ddof=1)
        expected = (total - total.mean()) / (spread + 1e-6) if np.ptp(total) > 0 else np.zeros(4)
        np.testing.assert_allclose([row["advantage"] for row in group], expected, atol=1e-6)
        assert len({row["sample_id"] for row in group}) == 1
    assert {row["reason_format"] for row in rows} <= {
        "OK",
        "NO_ANSWER_TAG",
        "TEXT_OUTSIDE_TAGS",
        "DUPLICATE_TAG",
        "TAG_ORDER",
    }


def test_evaluation_before_and_after(run):
    out, summary = run
    records = lines(out / "evaluation.jsonl")
    assert {(r["step"], r["mode"]) for r in records} == {
        (s, m) for s in (0, 3) for m in ("greedy", "sampled")
    }
    assert all(r["n"] == 8 for r in records if r["task"] == "all")
    assert summary == json.loads((out / "summary.json").read_text())
    sampled = {r["step"]: r["mean"] for r in records if r["task"] == "all" and r["mode"] == "sampled"}
    difference = summary["evaluation"]["sampled"]["difference"]
    assert difference["mean"] == pytest.approx(sampled[3] - sampled[0])


def test_the_checkpoint_is_a_hugging_face_model_and_has_changed(run, start):
    out, _ = run
    latest = out / "checkpoints" / "latest"
    model = AutoModelForImageTextToText.from_pretrained(latest)
    before = AutoModelForImageTextToText.from_pretrained(start / "model")
    changed = [
        n
        for (n, a), b in zip(model.named_parameters(), before.parameters(), strict=True)
        if not torch.equal(a, b)
    ]
    assert any("visual" in name for name in changed) and any("language_model" in name for name in changed)
    assert AutoTokenizer.from_pretrained(latest).decode([5]) == AutoTokenizer.from_pretrained(
        start / "model"
    ).decode([5])


def test_frozen_parts_do_not_change_and_give_the_same_rollout(start, tmp_path):
    """The default freezes vision tower and projector, and their features come from the rollout."""
    train(settings(start, tmp_path / "run", steps=1))
    after = load_file(tmp_path / "run" / "checkpoints" / "latest" / "model.safetensors")
    before = load_file(start / "model" / "model.safetensors")
    assert all(torch.equal(after[k], before[k]) for k in before if "visual" in k)
    assert not all(torch.equal(after[k], before[k]) for k in before)


@pytest.mark.parametrize("changes", [{"freeze": []}, {"lora_rank": 4, "beta": 0.1}], ids=["all", "lora"])
def test_gradient_checkpointing_changes_memory_alone(start, tmp_path, changes):
    for name, on in (("without", False), ("with", True)):
        train(settings(start, tmp_path / name, steps=2, gradient_checkpointing=on, **changes))
    without, with_ = (lines(tmp_path / name / "metrics.jsonl") for name in ("without", "with"))
    for left, right in zip(without, with_, strict=True):
        for key in left:
            if not key.startswith(("time", "tokens_per", "memory")):
                a, b = (np.nan if record[key] is None else record[key] for record in (left, right))
                assert a == pytest.approx(b, rel=1e-3, abs=1e-5, nan_ok=True), key


@pytest.mark.parametrize("loss", ["dapo", "gspo"])
def test_several_updates_clip(start, tmp_path, loss):
    """With a large step and narrow clipping the second update clips; the KL term pulls to the starting
    model."""
    config = settings(
        start,
        tmp_path / "run",
        steps=2,
        updates_per_rollout=3,
        loss=loss,
        beta=0.1,
        lr=3e-3,
        clip_low=0.001,
        clip_high=0.001,
    )
    train(config)
    metrics = lines(tmp_path / "run" / "metrics.jsonl")
    assert all(m["clip_fraction"] > 0 and m["old_kl"] > 0 for m in metrics)
    assert metrics[1]["kl"] > 0


@pytest.mark.parametrize("method", ["mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema"])
def test_every_advantage_method_trains(start, tmp_path, method):
    train(settings(start, tmp_path / "run", steps=2, advantage=method, validation=None))
    assert all(
        np.isfinite(m["loss"]) and m["grad_norm"] > 0 for m in lines(tmp_path / "run" / "metrics.jsonl")
    )


def test_a_row_whose_image_is_damaged_is_skipped_and_named(start, tmp_path, capsys):
    rows = [json.loads(line) for line in (start / "data" / "train.jsonl").read_text().splitlines()]
    pictures = [row for row in rows if row.get("images")][:5]
    (tmp_path / "images").mkdir()
    for row in pictures:
        for image in row["images"]:
            data = (start / "data" / image).read_bytes()
            (tmp_path / image).write_bytes(data[:40] if row is pictures[2] else data)
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pictures))
    train(settings(start, tmp_path / "run", data=tmp_path / "train.jsonl", validation=None, steps=3))
    assert sum(m["skipped"] for m in lines(tmp_path / "run" / "metrics.jsonl")) >= 1
    assert f"row {pictures[2]['id']} skipped" in capsys.readouterr().err


def test_few_good_rows_among_many_bad_ones_are_enough(start, tmp_path):
    """Two of fourteen rows fit; a step wants eight, so they come again and again."""
    rows = [json.loads(line) for line in (start / "data" / "train.jsonl").read_text().splitlines()]
    good = [row for row in rows if not row.get("images")][:2]
    bad = [{**good[0], "id": f"long-{i}", "question": "word " * 300} for i in range(12)]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in good + bad))
    config = settings(
        start,
        tmp_path / "run",
        data=tmp_path / "train.jsonl",
        validation=None,
        steps=1,
        prompts_per_step=8,
        max_prompt_tokens=100,
    )
    train(config)
    skipped = lines(tmp_path / "run" / "metrics.jsonl")[0]["skipped"]
    assert skipped > 14 and first_step(config).skipped == skipped
    with pytest.raises(ValueError, match="data must hold rows .* got 29 bad ones in a row"):
        train(config.model_copy(update={"out": tmp_path / "none", "max_prompt_tokens": 1}))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_the_learning_rate_of_a_record_is_that_of_its_last_update(start, tmp_path, schedule):
    """Six updates, two of warm-up: the schedule falls from the third on, and would be 0 at a seventh."""
    changes = {"lr_schedule": schedule, "warmup_steps": 2, "updates_per_rollout": 2, "max_new_tokens": 4}
    train(settings(start, tmp_path / "run", validation=None, **changes))
    left = {"linear": [0.75, 0.25], "cosine": [0.5 + 0.5 * np.cos(np.pi * x) for x in (0.25, 0.75)]}[schedule]
    logged = [record["lr"] for record in lines(tmp_path / "run" / "metrics.jsonl")]
    assert logged == pytest.approx([3e-4, *(3e-4 * share for share in left)])


def test_a_directory_with_a_run_is_not_overwritten(run, start):
    out, _ = run
    with pytest.raises(ConfigError, match="out must be a new directory"):
        train(settings(start, out, freeze=()))
    with pytest.raises(ConfigError, match=r"lr was 0.0003, got 0.01"):
        train(settings(start, out, freeze=(), lr=0.01), resume=True)


def test_resume_of_a_finished_run_does_nothing_but_evaluate(run, start):
    out, _ = run
    before = (out / "metrics.jsonl").read_bytes()
    train(settings(start, out, freeze=()), resume=True)
    assert (out / "metrics.jsonl").read_bytes() == before


def test_sigterm_saves_and_a_resumed_run_is_bit_identical(start, tmp_path):
    changes = {
        "steps": 6,
        "checkpoint_every": 2,
        "lr_schedule": "cosine",
        "warmup_steps": 2,
        "advantage": "task_ema",
    }
    straight = settings(start, tmp_path / "straight", **changes)
    train(straight)
    stopped = settings(start, tmp_path / "stopped", **changes)
    stopped.save(tmp_path / "stopped.yaml")
    process = forked.start(forked.train_run, tmp_path / "stopped.yaml", log=tmp_path / "log.txt")
    wait_for_step(tmp_path / "stopped", 2, process)
    os.kill(process.pid, signal.SIGTERM)
    assert forked.finish(process) == 143
    done = len(lines(tmp_path / "stopped" / "metrics.jsonl"))
    assert 2 <= done < 6
    assert (tmp_path / "stopped" / "checkpoints" / "latest").resolve().name == f"step-{done:06d}"
    train(stopped, resume=True)
    assert_same_run(tmp_path / "straight", tmp_path / "stopped")


def count_lines(path):
    return len(path.read_text().splitlines()) if path.exists() else 0


def wait_for_step(out, step, process):
    deadline = time.monotonic() + 120
    while count_lines(out / "metrics.jsonl") < step:
        assert process.exitcode is None and time.monotonic() < deadline
        time.sleep(0.005)


ALL_METHODS = ["group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema"]
FLAT = {
    "equal": np.array([0.7, 0.7, 0.7, 0.7]),
    "one ulp apart": np.array([0.7, np.nextafter(0.7, 1), 0.7, 0.7]),
    "one float32 ulp apart": np.array([0.7, np.nextafter(np.float32(0.7), np.float32(1)), 0.7, 0.7]),
    "masked": np.array([0.1, 0.9, 0.4, 0.2]),
    "alone": np.array([0.7]),
}


@pytest.mark.parametrize(
    # A group of one is refused by the settings of the other methods.
    ("kind", "method"),
    [(kind, method) for kind in FLAT for method in ALL_METHODS if kind != "alone" or method == "batch"],
)
def test_groups_that_teach_nothing_change_nothing(start, tmp_path, kind, method):
    """No advantage, loss, KL or gradient, and not one bit of a weight: not by weight decay either."""
    changes = {"advantage": method, "completions_per_prompt": len(FLAT[kind]), "weight_decay": 0.1, "lr": 0.1}
    if kind == "masked":
        changes["beta"] = 0.5
    trainer = Trainer(settings(start, tmp_path / "run", **changes, steps=2, validation=None))
    real = trainer.scorer.reward

    class Flat:
        column_weights = staticmethod(real.column_weights)

        def __call__(self, texts, samples):
            batch = real(texts, samples)
            total = np.resize(FLAT[kind], len(batch))
            values = np.where(np.isnan(batch.values), np.nan, total[:, None])
            mask = np.full(len(batch), kind != "masked")
            return replace(batch, total=total, values=values, mask=mask)

    trainer.scorer.reward = Flat()
    trainer.run()
    for record in lines(tmp_path / "run" / "metrics.jsonl"):
        assert record["zero_variance"] == 1
        for name in ("loss", "grad_norm", "kl", "old_kl", "packs", "skipped_updates"):
            assert record[name] == 0, name
    rows = pq.read_table(tmp_path / "run" / "completions" / "step-000001.parquet").to_pylist()
    assert {row["advantage"] for row in rows} == ({None} if kind == "masked" else {0.0})
    before, after = (
        load_file(folder / "model.safetensors")
        for folder in (start / "model", tmp_path / "run" / "checkpoints" / "latest")
    )
    assert before.keys() == after.keys() and all(torch.equal(before[k], after[k]) for k in before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data": "no-such-rows.jsonl"}, "no-such-rows.jsonl"),
        ({"validation": "no-such-rows.jsonl"}, "no-such-rows.jsonl"),
        ({"mixture": {"nowhere": 1.0}}, "weights must name sources of the data"),
        ({"order": "curriculum"}, "must all have a difficulty"),
    ],
)
def test_what_cannot_work_makes_no_run(start, tmp_path, changes, message):
    """So the corrected settings may use the same directory."""
    with pytest.raises((ConfigError, DataError, OSError), match=message):
        train(settings(start, tmp_path / "run", **changes))
    assert not (tmp_path / "run").exists()
