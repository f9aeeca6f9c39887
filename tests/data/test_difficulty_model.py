"""The difficulty stage with a model of this process: sampled, scored in its frame, killed and resumed."""

import json
import os
import signal

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from mixed_r1.cli.app import app
from mixed_r1.data import load_samples, save_samples
from mixed_r1.data.engine import build
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.mini import sft_target
from mixed_r1.data.recipe import Recipe
from mixed_r1.demo.warmup import Example, in_model_frame, warm_up
from mixed_r1.difficulty import open_difficulty
from mixed_r1.models import tiny_adapter
from mixed_r1.schema import Sample
from tests.processes import assert_killed

SIZE = 96  # the model sees images at half this size


def picture(seed):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8))


KNOWN = [
    *(Sample(id=f"y{i}", task="yes_no", question=f"Is {i} odd?", answer=bool(i % 2)) for i in range(4)),
    *(
        Sample(
            id=f"g{i}",
            task="grounding",
            question=f"Where is part {i}?",
            images=(picture(i),),
            answer=[16 * i, 32, 16 * i + 32, 80],
            image_size=(SIZE, SIZE),
        )
        for i in range(3)
    ),
]
NEVER_SEEN = Sample(id="n", task="math", question="How many?", answer="999")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with rows, a model that learned all of them but one, and a recipe."""
    root = tmp_path_factory.mktemp("model")
    targets = [sft_target(row) for row in KNOWN]
    adapter = tiny_adapter("qwen2_5_vl", corpus=[*targets, *(row.question for row in KNOWN)], seed=0)
    rows = [in_model_frame(adapter, row) for row in KNOWN]
    examples = [Example(row, sft_target(row)) for row in rows]
    loss = warm_up(adapter, examples, steps=120, batch_size=len(rows), seed=0)
    assert loss < 0.2
    adapter.save(str(root / "model"))
    save_samples([*KNOWN, NEVER_SEEN], root / "rows.jsonl")
    always = {"of": "mean", "ge": 0.0}
    recipe = {
        "name": "measured",
        "sources": [{"name": "s", "kind": "jsonl", "options": {"path": "rows.jsonl"}}],
        "difficulty": {
            "k": 3,
            "rows_per_batch": 2,
            "windows": {"yes_no": always, "grounding": {**always, "k": 4}, "math": {"gt": 0.0}},
            "model": {"path": "model", "max_tokens": 32, "temperature": 0.0},
        },
    }
    (root / "recipe.yaml").write_text(yaml.safe_dump(recipe))
    return root


def command(home, out, *overrides):
    arguments = ["data", "build", str(home / "recipe.yaml"), "--out", str(out), *overrides]
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    return {row.id.removeprefix("s/"): row for row in load_samples(out / "train")}


def test_rewards_are_those_of_the_model_in_its_own_frame(home, tmp_path):
    rows = command(home, tmp_path / "out")
    assert set(rows) == {row.id for row in KNOWN}, "what the model never gets right is outside the window"
    for name, row in rows.items():
        measured = row.metadata["rollouts"]
        assert measured["num_scored"] == (4 if name.startswith("g") else 3)
        assert measured["mean"] > 0.95, (name, measured)
        assert row.difficulty == pytest.approx(1 - measured["mean"])
    (lost,) = [json.loads(line) for line in (tmp_path / "out" / "rejects.jsonl").read_text().splitlines()]
    assert (lost["id"], lost["stage"], lost["reason"]) == ("s/n", "difficulty", "outside window")


def test_killed_it_asks_only_for_what_is_missing(home, tmp_path):
    recipe = Recipe.read(home / "recipe.yaml", ("difficulty.model.temperature=1.0",))
    sampler, scorer = open_difficulty(recipe)
    expected = build(recipe, tmp_path / "whole", sampler=sampler, scorer=scorer)
    journal = tmp_path / "out" / ".work" / "rollouts" / "journal.jsonl"

    def dying(samples, k):
        answers = sampler(samples, k)
        if journal.stat().st_size:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers

    assert_killed(lambda: build(recipe, tmp_path / "out", sampler=dying, scorer=scorer))
    assert len(journal.read_text().splitlines()) == 2
    asked = []

    def recording(samples, k):
        asked.extend(sample.id for sample in samples)
        return sampler(samples, k)

    resumed = build(recipe, tmp_path / "out", sampler=recording, scorer=scorer)
    assert len(asked) == len(KNOWN) - 1
    for name in json.loads((expected.out / "manifest.json").read_text())["files"]:
        assert (resumed.out / name).read_bytes() == (expected.out / name).read_bytes()


def test_a_row_that_the_model_cannot_be_shown_is_unscored(home, tmp_path):
    spoiled = KNOWN[0].model_copy(update={"question": "What is <|image_pad|>?"})
    save_samples([spoiled, KNOWN[1]], tmp_path / "rows.jsonl")
    recipe = Recipe.read(home / "recipe.yaml", (f"difficulty.model.path={home / 'model'}",))
    recipe = recipe.model_copy(update={"base": tmp_path})
    sampler, scorer = open_difficulty(recipe)
    result = build(recipe, tmp_path / "out", sampler=sampler, scorer=scorer)
    assert result.dropped["difficulty"] == {"unscored": 1}
    assert [row.id for row in load_samples(result.out / "train")] == ["s/y1"]


def test_boxes_of_a_server_are_read_in_the_frame_that_the_recipe_names(home):
    """The answers a Qwen2.5-VL server gives: pixels of the image at a multiple of 28."""
    settings = yaml.safe_load((home / "recipe.yaml").read_text())
    settings["difficulty"].pop("model")
    settings["difficulty"]["servers"] = {"urls": ["http://127.0.0.1:1"], "model": "m"}
    settings["difficulty"]["reward"] = {"box_frame": "resized"}
    with pytest.raises(BuildError, match="smart_resize must be given for box_frame resized, got none"):
        open_difficulty(Recipe.from_mapping(settings))
    settings["difficulty"]["servers"]["smart_resize"] = [28, 3136, 12845056]
    _, scorer = open_difficulty(Recipe.from_mapping(settings))
    row = KNOWN[5].model_copy(update={"image_size": (100, 50)})  # seen at 112 x 56
    box = [round(v * 1.12, 2) for v in row.answer[0]]
    answers = [f"<answer>{box}</answer>", f"<answer>{list(row.answer[0])}</answer>", "<answer>none</answer>"]
    right, unscaled, none = scorer(answers, [row] * 3)
    assert right == pytest.approx(1.0, abs=0.01) and 0.3 < unscaled < 0.9 and none == 0
