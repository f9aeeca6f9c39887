"""Recipes that cannot be used say why."""

import pytest

from mixed_r1.config import ConfigError
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sources": []}, "sources"),
        ({"colour": 1}, "key must be a known setting, got 'colour'"),
        ({"sources": [{"name": "a", "kind": "jsonl", "optoins": {}}]}, "sources.0.optoins"),
        ({"filters": [{"name": "boxes", "max_share": 0.5, "depth": 1}]}, "got 'depth'"),
        ({"filters": [{"name": "taste"}]}, "filter name must be one of answer_length"),
        ({"split": {"shares": {"a": 0.7, "b": 0.6}}}, "shares must add up to at most 1"),
        ({"sources": [{"name": "a", "kind": "jsonl"}, {"name": "a", "kind": "jsonl"}]}, "different names"),
    ],
)
def test_wrong_recipes(change, message):
    with pytest.raises(ConfigError, match=message):
        Recipe.from_mapping({"name": "x", "sources": [{"name": "a", "kind": "jsonl"}], **change})


def test_wrong_sources(tmp_path):
    def attempt(**spec):
        build(Recipe.from_mapping({"name": "x", "sources": [{"name": "a", **spec}]}), tmp_path / "out")

    with pytest.raises(ConfigError, match="kind must be one of files, jsonl, parquet"):
        attempt(kind="xml")
    with pytest.raises(ConfigError, match="kind must name something that can be imported"):
        attempt(kind="no_such_module:Source")
    with pytest.raises(ConfigError, match="kind must name a Source, got 'json:loads'"):
        attempt(kind="json:loads")
    with pytest.raises(ConfigError, match="did you mean path"):
        attempt(kind="jsonl", options={"paht": "x"})
    with pytest.raises(FileNotFoundError, match="path must exist"):
        attempt(kind="jsonl", options={"path": "absent.jsonl"})


def test_recipe_round_trip(local_sources, tmp_path):
    recipe = Recipe.read(local_sources / "recipe.yaml")
    recipe.save(tmp_path / "saved.yaml")
    assert Recipe.load(tmp_path / "saved.yaml") == recipe
