"""What a policy that has learnt nothing can earn: the best constant answer."""

from __future__ import annotations

import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Sample
from mixed_r1.train.evaluation import Evaluation, best_constants


def rows(task, golds, **fields):
    return [Sample(id=f"{task}{i}", task=task, question="?", answer=g, **fields) for i, g in enumerate(golds)]


def test_the_commonest_gold_wins_where_golds_are_few():
    samples = rows("yes_no", ["no", "yes", "no", "no"])
    samples += rows("multiple_choice", ["B", "A", "C", "B"], options=("w", "x", "y"))
    found = best_constants(samples, MixedReward(), Evaluation("greedy", []))
    assert found["yes_no"] == ("no", pytest.approx(0.1 + 0.9 * 0.75))
    assert found["multiple_choice"] == ("B", pytest.approx(0.1 + 0.9 * 0.5))


def test_a_number_within_the_tolerance_of_many_golds_beats_the_commonest():
    """100 is the gold of two rows, but 97 is within 5% of 100, 95 and 98 too."""
    samples = rows("chart", [100, 100, 95, 98, 97])
    answer, mean = best_constants(samples, MixedReward(), Evaluation("greedy", []))["chart"]
    assert answer in ("95", "97", "98") and mean == pytest.approx(1.0)


def test_the_answers_given_are_tried_too():
    """Boxes cannot be guessed from golds of their own, but the policy's favourite box can be tried."""
    size = {"image_size": (100, 100), "resized_size": (100, 100)}
    samples = rows("grounding", [[[0, 0, 50, 100]], [[50, 0, 100, 100]]], **size)
    given = Evaluation(
        "greedy",
        [{"task": "grounding", "answers": ["[0, 0, 100, 100]"]}, {"task": "grounding", "answers": ["x"]}],
    )
    found = best_constants(samples, MixedReward(), given)
    assert found["grounding"] == ("[0, 0, 100, 100]", pytest.approx(0.1 + 0.9 * 0.5))


@pytest.mark.parametrize("form", ["think_answer", "answer", "boxed", "none"])
def test_constants_are_given_in_the_format_that_is_paid(form):
    found = best_constants(
        rows("math", ["7", "7"]), MixedReward(config=RewardConfig(format=form)), Evaluation("greedy", [])
    )
    assert found["math"] == ("7", pytest.approx(1.0))


def test_rows_that_are_masked_do_not_count():
    samples = rows("math", ["7", "{", "{"])
    assert best_constants(samples, MixedReward(), Evaluation("greedy", []))["math"] == (
        "7",
        pytest.approx(1.0),
    )
