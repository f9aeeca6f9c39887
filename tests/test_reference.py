"""Every setting is described, its example is accepted, and the page and ``mixed-r1 help`` say so."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import pytest
import yaml
from pydantic import TypeAdapter
from typer.testing import CliRunner

from mixed_r1.cli.app import app
from mixed_r1.config import Config, ConfigError
from mixed_r1.data.filters import FILTERS, Filter
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.sources import KINDS
from mixed_r1.data.spec import SourceSpec
from mixed_r1.foreign_names import FOREIGN_NAMES
from mixed_r1.loading import load_object
from mixed_r1.reference import look_up, page, sections
from mixed_r1.rewards import RewardConfig
from mixed_r1.train_config import TrainConfig

ROOT = Path(__file__).parents[1]


def described():
    return {setting.name: setting for section in sections() for setting in section.settings}


def models() -> dict[str, type[Config]]:
    """Every model of settings, by what stands before its keys."""
    found = {
        "": TrainConfig,
        "reward": RewardConfig,
        "recipe": Recipe,
        "source": SourceSpec,
        "filter": Filter,
    }
    found |= {f"source.{kind}": load_object(path, what="kind") for kind, path in KINDS.items()}
    return found | {f"filter.{name}": model for name, model in FILTERS.items()}


@pytest.mark.parametrize("prefix", models())
def test_every_setting_is_there_with_its_meaning_and_an_example_that_is_accepted(prefix):
    known = described()
    for key, field in models()[prefix].model_fields.items():
        if prefix.startswith("filter.") and key in Filter.model_fields:
            continue
        setting = known[f"{prefix}.{key}" if prefix else key]
        assert setting.meaning.endswith((".", "?")) and len(setting.meaning) > 8, setting
        assert setting.values and (setting.default != "") == (not field.is_required()), setting
        separator = "=" if prefix in ("", "reward") else ": "
        name, _, example = setting.example.partition(separator)
        assert name == (setting.name if separator == "=" else key)
        value = yaml.safe_load(example)
        if setting.name in ("recipe.filters", "recipe.balance"):  # which the recipe opens
            Recipe.from_mapping({"name": "r", "sources": [{"path": "rows.jsonl"}], key: value})
        else:
            TypeAdapter(Annotated[field.annotation, field]).validate_python(value)


def test_settings_inside_settings_are_there_too():
    known = described()
    for name in ("reward.open_ended.idf", "recipe.difficulty.servers.urls", "recipe.split.shares"):
        assert known[name].meaning
    assert "recipe.sources.kind" not in known, "a source has a section of its own"


def test_the_page_is_what_the_models_say():
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == page(), "python -m mixed_r1.reference > docs/settings.md"
    assert all(f"## {section.title}\n" in written for section in sections())


def test_a_key_a_section_and_the_name_of_another_trainer_are_found():
    def names(key):
        return [setting.name for section in look_up(key) for setting in section.settings]

    assert names("lr") == ["lr"] and names("lr=1e-5") == ["lr"]
    assert names("box_score") == names("reward.box_score") == ["reward.box_score"]
    assert names("learning_rate") == ["lr"] and names("actor.optim.lr") == ["lr"]
    assert "clip_low" in names("objective") and "temperature" not in names("objective")
    assert set(names("recipe.dedup")) == {"recipe.dedup.image_distance", "recipe.dedup.text_similarity"}
    assert {"filter.boxes.min_side", "source.coco.min_side"} <= set(names("min_side"))
    ours_too = {setting.key for setting in described().values()}
    for name, ours in FOREIGN_NAMES.items():
        key = ours.partition(":")[0].partition(" ")[0]
        if key != "none" and name not in ours_too:  # of which the command says what it is there
            assert key in names(name), name


@pytest.mark.parametrize(
    ("key", "said"),
    [("temprature", "did you mean temperature"), ("qqqq", "mixed-r1 help lists the sections")],
)
def test_an_unknown_key_says_what_was_meant(key, said):
    with pytest.raises(ConfigError, match=said):
        look_up(key)


def test_the_command_prints_settings_and_sections():
    run = CliRunner().invoke
    one = run(app, ["help", "num_generations"])
    assert one.exit_code == 0, one.output
    for text in (
        "completions_per_prompt",
        "whole number, at least 1",
        "default  8",
        "completions_per_prompt=8",
    ):
        assert text in one.output
    every = run(app, ["help"])
    assert all(setting.key in every.output for section in sections() for setting in section.settings)
    section = run(app, ["help", "optimizer"], env={"COLUMNS": "200"})
    assert "max_grad_norm" in section.output and "Longer gradients are scaled down" in section.output
    unknown = run(app, ["help", "temprature"])
    assert unknown.exit_code == 2 and "did you mean temperature" in unknown.stderr
