"""The sentence that explains each verdict."""

from __future__ import annotations

import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.explain import explain
from mixed_r1.rewards.rules import rule_of
from mixed_r1.schema import TASKS, Reason


@pytest.mark.parametrize("task", TASKS)
def test_every_reason_has_a_sentence(task: str) -> None:
    for reason in Reason:
        for column in ("math", "format"):
            sentence = rule_of(column, task, reason)
            assert sentence[0].isupper() and sentence.endswith(".")


@pytest.mark.parametrize(
    ("fields", "answer", "part"),
    [
        ({"task": "math", "answer": "57"}, "28 + 29", "Arithmetic is left to be worked out"),
        ({"task": "math", "answer": "57"}, "57", "exact value is that of the gold"),
        ({"task": "yes_no", "answer": "yes"}, "Yes and no", "verdicts of both kinds"),
        ({"task": "chart", "answer": "42"}, "45", "beyond the tolerance"),
        (
            {"task": "multiple_choice", "answer": "C", "options": ["Point C", "Point A", "Point B"]},
            "It is Point C",
            "letters in names and formulas",
        ),
    ],
)
def test_explain_names_the_rule(fields: dict[str, object], answer: str, part: str) -> None:
    row = {"id": "1", "question": "?", **fields}
    found = explain(MixedReward(config=RewardConfig(format="none")), answer, row)
    (rule,) = [c.rule for c in found.cells.values() if c.reason != Reason.NOT_APPLICABLE]
    assert part in rule
