"""docs/data.md: its recipes load, its names exist, its source works."""

import re
from pathlib import Path

import pytest
import yaml

from mixed_r1.data.columns import CONVERTERS
from mixed_r1.data.filters import FILTERS
from mixed_r1.data.recipe import Difficulty, Recipe
from mixed_r1.data.sources import KINDS, ListSource

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "data.md").read_text(encoding="utf-8")


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def test_the_recipes_load():
    recipe, part = (yaml.safe_load(block) for block in blocks("yaml"))
    assert {spec.kind for spec in Recipe.from_mapping(recipe).sources} <= set(KINDS)
    assert Difficulty.from_mapping(part["difficulty"]).k == 8


@pytest.mark.parametrize("names", [KINDS, FILTERS, CONVERTERS], ids=["sources", "filters", "converters"])
def test_every_name_is_documented(names):
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_the_source_works():
    namespace = {}
    code = next(block for block in blocks("python") if "class Squares" in block)
    exec(compile(code, "docs/data.md", "exec"), namespace)
    source = namespace["Squares"](upto=5)
    assert isinstance(source, ListSource)
    (partition,) = source.partitions(10)
    assert [row["answer"] for _, row in source.read(partition)] == [0, 1, 4, 9, 16]
