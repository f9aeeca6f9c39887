"""Golds that are even, and what one answer to everything earns where they are not."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from mixed_r1.data import load_samples, save_samples
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.stats import commonest_golds
from mixed_r1.schema import Sample


def rows() -> list[Sample]:
    """60 yes and 20 no about cats, 10 yes and 30 no about dogs; choices of two and of three; sums."""
    made = []
    for kind, counts in (("cat", {"yes": 60, "no": 20}), ("dog", {"yes": 10, "no": 30})):
        for gold, count in counts.items():
            made += [("yes_no", gold, None, kind)] * count
    made += [("multiple_choice", letter, ("x", "y"), "two") for letter in "A" * 12 + "B" * 5]
    made += [("multiple_choice", letter, ("x", "y", "z"), "three") for letter in "A" * 4 + "B" * 9 + "C" * 6]
    made += [("math", str(i % 4), None, "sum") for i in range(17)]
    return [
        Sample(id=str(i), task=t, question=f"{kind} {i}?", answer=g, options=o, metadata={"kind": kind})
        for i, (t, g, o, kind) in enumerate(made)
    ]


def built(tmp_path, balance) -> tuple[list[Sample], dict[str, object], list[dict[str, str]]]:
    save_samples(rows(), tmp_path / "rows.jsonl")
    source = {"name": "s", "kind": "jsonl", "options": {"path": "rows.jsonl"}}
    settings = {"name": "t", "sources": [source], "dedup": None, "balance": balance, "base": str(tmp_path)}
    out = build(Recipe.from_mapping(settings), tmp_path / "out").out
    rejects = [json.loads(line) for line in (out / "rejects.jsonl").read_text().splitlines()]
    return load_samples(out / "train"), json.loads((out / "stats.json").read_text()), rejects


def golds(samples: list[Sample]) -> dict[str, Counter[str]]:
    counted: dict[str, Counter[str]] = {}
    for sample in samples:
        counted.setdefault(sample.metadata["kind"], Counter())[sample.answer] += 1
    return counted


def test_balance_gold_evens_every_choice_and_names_what_it_drops(tmp_path):
    kept, figures, rejects = built(tmp_path, "gold")
    assert golds(kept) == {
        "cat": {"yes": 20, "no": 20},
        "dog": {"yes": 10, "no": 10},
        "two": {"A": 5, "B": 5},
        "three": {"A": 4, "B": 4, "C": 4},
        "sum": Counter(str(i % 4) for i in range(17)),
    }
    assert {line["reason"] for line in rejects} == {"commoner gold"} and len(rejects) == 40 + 20 + 7 + 7
    assert Counter(line["detail"] for line in rejects)["s cat yes_no: yes keeps 20 of 60"] == 40
    assert figures["commonest golds"]["yes_no"] == {"gold": "no", "share": 0.5}
    card = (tmp_path / "out" / "card.html").read_text()
    assert "The best constant answer" in card and "50.0%" in card


def test_quotas_count_what_is_left_after_it(tmp_path):
    kept, _, rejects = built(tmp_path, {"gold": True, "by": "task", "max_rows": {"yes_no": 30}})
    assert Counter(s.task for s in kept)["yes_no"] == 30
    assert Counter(line["reason"] for line in rejects) == {"commoner gold": 74, "surplus": 30}


def test_without_it_nothing_is_dropped_and_the_card_shows_the_tilt(tmp_path):
    kept, figures, rejects = built(tmp_path, None)
    assert len(kept) == len(rows()) and rejects == []
    share = figures["commonest golds"]["yes_no"]
    assert share["gold"] == "yes" and share["share"] == pytest.approx(70 / 120)


def test_commonest_golds_of_rows():
    found = commonest_golds(rows())
    assert found["yes_no"] == ("yes", pytest.approx(70 / 120))
    assert found["math"] == ("0", pytest.approx(5 / 17))
    box = Sample(id="b", task="grounding", question="?", answer=[1, 2, 3, 4])
    assert commonest_golds([box]) == {}
