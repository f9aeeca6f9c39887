"""Rows as data sets and column files give them: each form is scored, not masked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from mixed_r1.integrations import decode, encode
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Sample

OPTIONS = ["red", "blue", "green"]


def sample(task: str, answer: Any, **fields: Any) -> Sample:
    return Sample.model_validate({"id": "1", "task": task, "question": "?", "answer": answer, **fields})


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), (" B) ", "B"), ("B. blue", "B"), ("blue", "B"),
        ("Blue.", "B"), (1, "B"), ("1", "B"), (0, "A"), (np.int64(1), "B"), (["A", "C"], "AC"), ("A, C",
        "AC"),
        ("AC", "AC"), ("A and C", "AC"),
    ],
)  # fmt: skip
def test_choices(answer: Any, letters: str) -> None:
    """A letter, an option's text, an index from 0; several letters are all to be chosen."""
    assert sample("multiple_choice", answer, options=OPTIONS).answer == letters


@pytest.mark.parametrize(
    "options",
    [
        {"A": "red", "B": "blue", "C": "green"},
        {"B": "blue", "C": "green", "A": "red", "D": None},  # a column file fills in the D of other rows
        {"0": "red", "1": "blue", "2": "green"},
        '["red", "blue", "green"]',
        np.array(["red", "blue", "green"]),
    ],
)
def test_options(options: Any) -> None:
    assert sample("multiple_choice", "B", options=options).options == ("red", "blue", "green")


def test_digits_are_an_options_text_before_an_index() -> None:
    assert sample("multiple_choice", "2", options=["3", "2", "1"]).answer == "B"
    assert sample("multiple_choice", 2, options=["3", "2", "1"]).answer == "C"


@pytest.mark.parametrize("answer", ["D", "purple", 3, -1, True, "AD", ""])
def test_choices_that_are_none(answer: Any) -> None:
    with pytest.raises(ValidationError, match="an option's text, or its index from 0"):
        sample("multiple_choice", answer, options=OPTIONS)


def test_a_null_is_no_answer() -> None:
    """Column files fill in nulls where a row has nothing to say."""
    with pytest.raises(ValidationError, match="answer\n  Field required"):
        sample("multiple_choice", None, options=OPTIONS)


def test_options_that_are_none() -> None:
    with pytest.raises(ValidationError, match="map the letters A, B"):
        sample("multiple_choice", "A", options={"A": "red", "C": "blue"})


@pytest.mark.parametrize(
    ("task", "given", "read"),
    [
        ("yes_no", "Yes.", "yes"),
        ("yes_no", True, "yes"),
        ("yes_no", np.bool_(False), "no"),
        ("yes_no", "False", "no"),
        ("chart", "['Red', 'Blue']", ("Red", "Blue")),
        ("chart", "[3, 4]", ("3", "4")),
        ("chart", np.array([3.5, 4.0]), ("3.5", "4.0")),
        ("chart", np.float64(0.1) + np.float64(0.2), "0.3"),
        ("math", 0.1 + 0.2, "0.3"),
        ("math", "0.30000000000000004", "0.3"),
        ("math", 0.25, "0.25"),
        ("math", np.int32(7), "7"),
        ("grounding", "[1, 2, 3, 4]", ((1.0, 2.0, 3.0, 4.0),)),
        ("grounding", np.array([[1, 2, 3, 4]]), ((1.0, 2.0, 3.0, 4.0),)),
    ],
)
def test_answers(task: str, given: Any, read: Any) -> None:
    assert sample(task, given).answer == read


def test_other_fields() -> None:
    row = sample("math", "1", id=17, reward={"math": None, "task_weight": 0.5})
    assert row.id == "17" and row.reward == {"task_weight": 0.5}
    assert sample("math", "1", reward={"math": None}).reward is None


@pytest.mark.parametrize(
    ("fields", "right", "wrong"),
    [
        ({"task": "chart", "answer": "USA", "alternatives": ["United States", "US"]}, ["US.", "USA"], ["UK"]),
        ({"task": "math", "answer": "7", "alternatives": ["8"]}, ["7", "8"], ["9", "7 or 8", "3 + 4"]),
        (
            {"task": "multiple_choice", "answer": "A", "alternatives": ["B"], "options": OPTIONS},
            ["A", "b"],
            ["C"],
        ),
        ({"task": "yes_no", "answer": "yes", "alternatives": ["no"]}, ["yes", "no"], ["maybe"]),
    ],
)
@pytest.mark.parametrize("impl", ["native", "reference"])
def test_alternatives(impl: str, fields: dict[str, Any], right: list[str], wrong: list[str]) -> None:
    reward = MixedReward(config=RewardConfig(format="none"), impl=impl)
    row = {"id": "1", "question": "?", **fields}
    assert reward(right, [row] * len(right)).total.tolist() == [1.0] * len(right)
    assert reward(wrong, [row] * len(wrong)).total.tolist() == [0.0] * len(wrong)
    again = decode(encode(Sample.model_validate(row)))
    assert reward(right, [again] * len(right)).total.tolist() == [1.0] * len(right)


def test_alternatives_are_checked() -> None:
    with pytest.raises(ValidationError, match="alternatives must be absent for task open_ended"):
        sample("open_ended", "a", alternatives=["b"])
    with pytest.warns(UserWarning, match="is masked"):
        batch = MixedReward()(
            ["1"], [{"id": "1", "task": "math", "question": "?", "answer": "1", "alternatives": ["x y"]}]
        )
    assert not batch.mask[0]


def test_a_row_without_a_task_is_told_what_to_write() -> None:
    with pytest.warns(UserWarning, match=r"write both, for example \{'task': 'math', 'answer': '42'\}"):
        MixedReward()(["42"], [decode("42")])


@pytest.mark.parametrize(
    ("question", "answer", "value"),
    [
        ("How many people live there?", "2908", 1.0),
        ("What is the total of both bars?", "2908", 1.0),
        ("In which year was it highest?", "2908", 0.0),
        ("How many years?", "2908", 0.0),
        ("What does the chart show?", "2908", 0.0),
        ("What does the chart show?", "2880", 1.0),
    ],
)
def test_the_question_tells_years_from_quantities(question: str, answer: str, value: float) -> None:
    row = {"id": "1", "task": "chart", "question": question, "answer": "2880"}
    assert MixedReward(config=RewardConfig(format="none"))([answer], [row]).total[0] == value
    tolerant = RewardConfig(format="none", chart_years="tolerant")
    assert MixedReward(config=tolerant)(["2908"], [row]).total[0] == 1.0
