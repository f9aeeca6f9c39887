"""The benchmark that trains a policy against the verifiers: its plain reader, its rows, and a short run."""

from __future__ import annotations

import argparse
import itertools
import json
import random
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.adversary import hedges, read, reward_of, run, show
from benchmarks.adversary_rows import RIVALS, forms, make_row
from benchmarks.plain_reader import granted
from benchmarks.verdicts import read_answers
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.run_directory import Column
from mixed_r1.schema import TASKS

OPTIONS = ["red", "blue", "green", "black"]


@pytest.mark.parametrize(
    ("task", "gold", "answer", "expected"),
    [
        ("yes_no", "yes", "Yes, there is a dog.", 1.0),
        ("yes_no", "yes", "Yes or no", 0.0),
        ("yes_no", "no", "No, it is not.", 1.0),
        ("yes_no", "no", "not yes", 0.0),
        ("multiple_choice", "B", "The answer is B. blue", 1.0),
        ("multiple_choice", "B", "Blue.", 1.0),
        ("multiple_choice", "B", "B. red", 0.0),
        ("multiple_choice", "B", "A or B", 0.0),
        ("chart", "42", "It is 43.", 1.0),
        ("chart", "42", "42 50", 0.0),
        ("chart", ["3", "4"], "[3, 4]", 1.0),
        ("chart", "Oslo", "oslo", 1.0),
        ("math", "57", "28 + 29", 0.0),
        ("math", "57", "28 + 29 = 57", 1.0),
        ("math", "57", "28 + 28 = 57", 0.0),
        ("math", "\\frac{1}{2}", "$0.5$", 1.0),
        ("grounding", [[0, 0, 10, 10]], '{"bbox_2d": [0, 0, 10, 5]}', 0.5),
        ("grounding", [[0, 0, 10, 10]], "[0, 0, 10, 10] [0, 0, 10, 5]", 0.0),
        ("open_ended", "A red dog on the grass.", "A red cat on the grass.", 2 / 3),
        ("open_ended", "A red dog on the grass.", "the of a on", 0.0),
    ],
)
def test_the_plain_reader(task: str, gold: Any, answer: str, expected: float) -> None:
    row = {"task": task, "answer": gold, "options": OPTIONS}
    assert granted(row, answer, 1.0) == pytest.approx(expected)
    assert granted(row, answer, 0.25) == pytest.approx(min(0.25, expected))


def test_the_plain_reader_grants_no_wrong_answer_of_the_corpus() -> None:
    """Two readers without a common line: what the corpus calls wrong is nothing to this one either."""
    wrong = [answer for answer in read_answers() if not answer.is_right]
    assert [answer for answer in wrong if granted(answer.row, answer.text, 1.0) > 1 - 1e-9] == []
    right = [answer for answer in read_answers() if answer.is_right]
    assert sum(granted(answer.row, answer.text, 1.0) == 1.0 for answer in right) > 0.3 * len(right)


@pytest.mark.parametrize("task", TASKS)
def test_rows_and_forms(task: str) -> None:
    made = [make_row(task, number, random.Random(number)) for number in range(50)]
    if task != "open_ended":
        assert MixedReward(config=RewardConfig()).check(made) == []
    assert len({str(row.answer) for row in made}) > 1
    pairs = list(itertools.islice(forms(task, random.Random(0)), 200))
    assert len({text for _, text in pairs}) > 25 and all(row.task == task for row, _ in pairs)


def test_hedges_are_found() -> None:
    """A verifier with a hole: with a tolerance of 90% one number is right for nearly every gold."""
    reward = MixedReward(config=RewardConfig(format="none", chart_tolerance=0.9))
    row = {Column.SAMPLE: json.dumps({"id": "1", "task": "chart", "question": "?", "answer": "12"})}
    (found,) = hedges("chart", {"12": row, "zero": row}, reward)
    assert found["answer"] == "12" and found["worth"] > 4
    assert hedges("chart", {"12": row, "12 or 50": row}, reward_of("chart")) == []
    assert all(len({str(gold) for gold in golds}) == len(golds) for golds in RIVALS.values())


def test_what_is_read_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    sample = json.dumps({"task": "math", "answer": "57", "question": "What is 28 + 29?"})
    names = (Column.COMPLETION, Column.TOTAL, Column.SAMPLE)
    said = [("57", 1.0), ("28 + 29", 1.0), ("28 + 29", 1.0), ("5", 0.0), ("?", None)]
    step = [dict(zip(names, (text, total, sample), strict=True)) for text, total in said]
    found = {"task": "math", "hedges": [], **read([step])}
    assert found["share_granted"] == pytest.approx(1 / 3) and found["reward_last"] == pytest.approx(0.6)
    assert found["not_granted"] == [{"answer": "28 + 29", "times": 2, "paid": 2.0, "granted": 0.0}]
    show(Console(), found)
    assert "33.3% of it granted" in capsys.readouterr().out


def test_a_short_run(tmp_path: Path) -> None:
    settings = {"weights": "tiny", "steps": 2, "warmup_steps": 4, "prompts": 2, "completions": 2, "seed": 0}
    found = run(tmp_path / "yes_no", "yes_no", argparse.Namespace(**settings))
    assert found["completions"] == 8 and 0 <= found["share_granted"] <= 1
