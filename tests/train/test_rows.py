"""Rows of a run as they are: bad ones are left out and named, in training, evaluation and the dry run."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.config import ConfigError
from mixed_r1.data import check_samples
from mixed_r1.models import tiny_adapter
from mixed_r1.plan import first_step
from mixed_r1.rollout import ModelSampler
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig, train
from tests.train.runs import lines

QUESTION = "How many bars are in the picture?"


def picture(seed: int, size: tuple[int, int] = (48, 48)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_adapter("qwen2_5_vl", corpus=[QUESTION], seed=0).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    for i in range(6):
        (tmp_path / f"{i}.png").write_bytes(picture(i))
    return tmp_path


def good(i: int, **fields) -> dict:
    row = {
        "id": f"good-{i}",
        "task": "math",
        "question": QUESTION,
        "answer": str(i),
        "images": [f"{i % 6}.png"],
    }
    return {**row, **fields}


# What is wrong, and the field that ``data check`` names. The last two only a model can know.
BAD = {
    "not json": ("{", "row"),
    "no answer": (good(0, id="x1", answer=None), "answer"),
    "unknown task": (good(0, id="x2", task="poem"), "task"),
    "absent image": (good(0, id="x3", images=["absent.png"]), "images.0"),
    "broken image": (good(0, id="x4", images=["broken.png"]), "images.0"),
    "more placeholders": (good(0, id="x5", question="<image> and <image>?"), "messages"),
    "ends with the assistant": (
        good(0, id="x6", messages=[{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}]),
        "messages",
    ),
    "box outside": (good(0, id="x7", task="grounding", answer=[[0, 0, 60, 20]]), "answer"),
    "which image": (
        good(0, id="x8", task="grounding", answer=[[0, 0, 9, 9]], images=["0.png", "1.png"]),
        "image_of",
    ),
    "vision token": (good(0, id="x9", question="What is <|image_pad|>?"), None),
    "too long": (good(0, id="x10", question="word " * 500), None),
}


def write(path, count: int, bad=BAD) -> None:
    rows = [good(i) for i in range(count)] + [row for row, _ in bad.values()]
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text)
    (path.parent / "broken.png").write_bytes(picture(0)[:60])


def settings(folder, model, **changes) -> TrainConfig:
    values = {
        **{"model": model, "data": folder / "train.jsonl", "validation": folder / "held.jsonl"},
        **{"out": folder / "run", "steps": 2, "prompts_per_step": 16, "completions_per_prompt": 2},
        **{"max_new_tokens": 4, "max_prompt_tokens": 100, "eval_completions": 2, "completions_every": 1},
    }
    return TrainConfig.from_mapping({**values, **changes})


def printed(config: TrainConfig) -> str:
    stream = io.StringIO()
    train(config, console=Console(file=stream, width=1000))
    return stream.getvalue()


def test_a_run_goes_on_without_bad_rows_and_names_each(folder, model):
    for name in ("train", "held"):
        write(folder / f"{name}.jsonl", 6)
    problems = check_samples(folder / "train.jsonl")
    assert [p.field for p in problems] == [field for _, field in BAD.values() if field]
    text = printed(settings(folder, model))
    assert "data: 3 of 17 rows left out" in text and "validation: 3 of 17 rows left out" in text
    for name in (f"x{i}" for i in range(3, 11)):
        assert f"row {name} skipped: " in text and f"validation row {name} left out: " in text
    assert "evaluating 14 of 14 validation rows: " in text
    assert [m["step"] for m in lines(folder / "run" / "metrics.jsonl")] == [1, 2]
    records = [r for r in lines(folder / "run" / "evaluation.jsonl") if r["task"] == "all"]
    assert {r["n"] for r in records} == {6} and len(records) == 4
    with pytest.raises(ConfigError, match="out must be a new directory"):
        train(settings(folder, model))


def test_the_dry_run_looks_at_validation_too(folder, model):
    write(folder / "train.jsonl", 6, {})
    write(folder / "held.jsonl", 6)
    notes = "\n".join(first_step(settings(folder, model)).lines())
    assert "validation: 3 of 17 rows left out" in notes and "validation row x3 cannot be used" in notes
    assert "and 5 more validation rows" in notes


def test_rows_that_can_all_not_be_used_end_the_run_in_one_line(folder, model):
    write(folder / "train.jsonl", 0, {"absent": BAD["absent image"]})
    write(folder / "held.jsonl", 2, {})
    with pytest.raises(ConfigError, match=r"data must hold rows that can be .* the last, x3: images.0"):
        train(settings(folder, model, validation=None))
    write(folder / "train.jsonl", 6, {})
    write(folder / "held.jsonl", 0, {"absent": BAD["absent image"]})
    with pytest.raises(ConfigError, match="got none; x3: images.0"):
        train(settings(folder, model))
    # And neither left a directory that is in the way of the next try.
    write(folder / "held.jsonl", 2, {})
    train(settings(folder, model))


def test_the_evaluation_is_bounded_as_training_is(folder, model, monkeypatch):
    """A row may be long, but not longer than in training; long prompts are answered a few at a time."""
    write(folder / "train.jsonl", 6, {})
    write(folder / "held.jsonl", 24, {})
    sizes = []
    generate = ModelSampler.generate

    def counted(self, request):
        if request.step == -1:
            sizes.append((len(request.prompts), sum(map(len, request.prompts))))
        return generate(self, request)

    monkeypatch.setattr(ModelSampler, "generate", counted)
    config = settings(folder, model, max_rollout_rows=4, max_prompt_tokens=64)
    assert config.rollout_tokens == 128
    train(config)
    assert sum(rows for rows, _ in sizes) == 24 * 2 * 2
    assert max(rows for rows, _ in sizes) <= 4 and max(tokens for _, tokens in sizes) <= 128


def test_a_row_that_is_drawn_twice_in_a_step_is_answered_anew(folder, model):
    """Six rows, sixteen prompts: with equal random numbers the completions would be equal token for token."""
    write(folder / "train.jsonl", 6, {})
    train(settings(folder, model, validation=None, max_new_tokens=12, steps=1))
    table = pq.read_table(folder / "run" / "completions" / "step-000001.parquet").to_pylist()
    groups: dict[tuple[str, int], list[str]] = {}
    for row in table:
        groups.setdefault((row["sample_id"], row["prompt_group"]), []).append(row["completion"])
    assert len(groups) == 16
    assert len({tuple(texts) for texts in groups.values()}) == 16


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_the_tower_sees_no_more_at_once_than_a_pack(family):
    """Whatever the number of prompts in a step; the features are the same."""
    adapter = tiny_adapter(family, corpus=[QUESTION], max_tiles=4)
    rows = [
        Sample(
            id=str(i), task="math", question="?", answer="1", images=(picture(i, (40 + 8 * i, 60)),) * (i % 3)
        )
        for i in range(12)
    ]
    prompts = [adapter.encode(row) for row in rows]
    counted = []
    original = adapter.image_features
    adapter.image_features = lambda some: (
        counted.append(sum(p.num_image_tokens for p in some)) or original(some)
    )
    found = adapter.feature_list(prompts, max_tokens=30)
    largest = max(p.num_image_tokens for p in prompts)
    assert max(counted) <= max(30, largest) and len(counted) > 2
    for prompt, features in zip(prompts, found, strict=True):
        assert (features is None) == (prompt.num_image_tokens == 0)
        if features is not None:
            assert torch.allclose(features, original([prompt]), atol=1e-5)


def test_two_runs_do_not_share_a_directory(folder, model):
    write(folder / "train.jsonl", 6, {})
    config = settings(folder, model, validation=None)
    program = "import fcntl, sys, time; s = open(sys.argv[1], 'a'); fcntl.flock(s, fcntl.LOCK_EX)\n"
    program += "print('held', flush=True); time.sleep(60)"
    (folder / "run").mkdir()
    command = [sys.executable, "-c", program, str(folder / "run" / ".lock")]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout.readline() == "held\n"
        with pytest.raises(ConfigError, match="out must not be in use by another run"):
            train(config)
    finally:
        other.kill()
        other.wait()
    train(config)


def test_directories_that_cannot_be_made_are_one_line(folder, model):
    write(folder / "train.jsonl", 6, {})
    (folder / "file").write_text("")
    for out in (folder / "file", folder / "file" / "run"):
        with pytest.raises(
            ConfigError, match="out must be a directory, got .*, which is a file or below one"
        ):
            train(settings(folder, model, out=out, validation=None))
    closed = folder / "closed"
    closed.mkdir(mode=0o500)
    if os.geteuid() != 0:  # root may write everywhere
        with pytest.raises(ConfigError, match="out must be a directory that can be written"):
            train(settings(folder, model, out=closed / "run", validation=None))


def test_resuming_on_other_rows_says_which(folder, model):
    write(folder / "train.jsonl", 6, {})
    config = settings(folder, model, validation=None, steps=1)
    train(config)
    write(folder / "train.jsonl", 5, {})
    with pytest.raises(
        ConfigError, match=r"data must be the rows of the run in .*'unknown' must have 6 rows, got 5"
    ):
        train(config, resume=True)


def test_a_model_without_a_stop_token_is_refused():
    adapter = tiny_adapter("internvl", corpus=[QUESTION])
    adapter.tokenizer.eos_token = None
    adapter.model.generation_config.eos_token_id = None
    with pytest.raises(ConfigError, match="model must have an end-of-sequence token, got none"):
        type(adapter)(adapter.model, adapter.tokenizer, adapter.image_processor, family="internvl")


def test_checking_a_run_names_every_row_that_it_skips(folder, model):
    """Also those that only the model's tokenizer and limits refuse; and rows that both files have."""
    for name in ("train", "held"):
        write(folder / f"{name}.jsonl", 6)
    rows = [json.loads(line) for line in (folder / "held.jsonl").read_text().splitlines() if line != "{"]
    fresh = [{**row, "question": "How many more?"} if row["id"] == "good-3" else row for row in rows]
    (folder / "held.jsonl").write_text("".join(json.dumps(row) + "\n" for row in fresh))
    config = settings(folder, model)
    config.save(folder / "run.yaml")
    result = CliRunner().invoke(app, ["data", "check", str(folder / "run.yaml")])
    assert result.exit_code == 1
    found = result.stdout.splitlines()
    bad = len(BAD)
    named = [line for line in found if line.startswith(str(folder / "train.jsonl"))]
    assert len(named) == bad and "prompt: must have at most 100 tokens" in named[-1]
    # Five good rows are in both files, and all bad ones whose files can be read.
    assert sum("is row" in line for line in found) == 5 + 7
    skipped = [line for line in printed(config).splitlines() if " skipped: " in line]
    assert skipped
    for name in {line.split()[1] for line in skipped}:
        line = 7 + int(name.removeprefix("x"))  # behind six good ones and the one that is not JSON
        assert any(f"train.jsonl:{line}: " in problem for problem in named), name
