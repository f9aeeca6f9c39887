"""An answer must be a value: arithmetic that is left to be worked out earns nothing.

A small policy trained on "What is 28 + 29?" learned within 16 steps to answer "28 + 29.", which any reader
that does arithmetic accepts.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1_kernels import Reason

UNEVALUATED = (0.0, Reason.UNEVALUATED)
RIGHT = (1.0, Reason.OK)


@pytest.mark.parametrize("task", ["math", "chart"])
@pytest.mark.parametrize(
    "answer",
    [
        "28 + 29.", "28+29", "$28 + 29$", "\\boxed{28+29}", "x = 28 + 29", "60 - 3", "3 \\cdot 19", "3*19",
        "3(19)", "114/2", "\\frac{114}{2}", "114 \\div 2", "(28 + 29)/1", "7^2 + 8", "\\sqrt{3249}",
        "3249^{1/2}", "\\frac{50+7}{1}", "28 + 29 = 29 + 28", "57 + 0", "57 \\times 1", "-(-28 - 29)",
        "0.5 + 56.5", "28 + 29\\%",
    ],
)  # fmt: skip
def test_arithmetic_left_undone(judge: Any, task: str, answer: str) -> None:
    assert judge(task, "57", answer)[:2] == UNEVALUATED


@pytest.mark.parametrize("task", ["math", "chart"])
@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("28 + 29 = 57", RIGHT),
        ("57 = 28 + 29", RIGHT),
        ("$28 + 29 = 57$.", RIGHT),
        ("x = 28 + 29 = 57", RIGHT),
        ("7^2 + 8 = 49 + 8 = 57", RIGHT),
        ("28 + 29 = 58", (0.0, Reason.AMBIGUOUS)),
        ("28 + 30 = 57", (0.0, Reason.AMBIGUOUS)),
        ("56 = 57", (0.0, Reason.AMBIGUOUS)),
        ("30 + 28 = 58", None),  # true, and wrong
    ],
)
def test_an_equation_states_its_value(judge: Any, task: str, answer: str, expected: Any) -> None:
    if expected is None:
        expected = (0.0, Reason.OUT_OF_TOLERANCE if task == "chart" else Reason.NO_MATCH)
    assert judge(task, "57", answer, chart_tolerance=0.0)[:2] == expected


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("57", "57"),
        ("57", "(57)"),
        ("57", "57/1"),
        ("57", "5.7 \\times 10^1"),
        ("0.001", "10^{-3}"),
        ("1500", "1.5 \\cdot 10^{3}"),
        ("1/2", "2/4"),
        ("1/2", "-\\frac{-1}{2}"),
        ("7/3", "2\\frac{1}{3}"),
        ("0.5", "50\\%"),
        ("2\\sqrt{2}", "\\sqrt{8}"),
        ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt2}"),
        ("1 + \\pi", "\\pi + 1"),
        ("\\sqrt{2} - 1", "\\frac{1}{1+\\sqrt{2}}"),
    ],
)
def test_ways_to_write_a_value(judge: Any, gold: str, answer: str) -> None:
    assert judge("math", gold, answer)[:2] == RIGHT


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("5\\pi", "2\\pi + 3\\pi"),
        ("6\\pi", "2 \\cdot 3\\pi"),
        ("(2, 3)", "(1 + 1, 3)"),
        ("\\{2, 3\\}", "1 + 1, 3"),
        ("1/6", "\\frac{1}{2} \\cdot \\frac{1}{3}"),
        ("3/2", "\\frac{1/2}{1/3}"),
        ("1024", "2^{10}"),
        ("3", "\\sqrt[3]{27}"),
        ("2", "8^{1/3}"),
        ("-1", "(1 + \\sqrt2)(1 - \\sqrt2)"),
        ("30000", "3 \\cdot 10^3 \\cdot 10"),
    ],
)
def test_inside_and_among_irrational_numbers(judge: Any, gold: str, answer: str) -> None:
    assert judge("math", gold, answer)[:2] == UNEVALUATED


@pytest.mark.parametrize("gold", ["2^{10}", "2^9 + 2^9", "1000 + 24 = 2^{10}"])
def test_a_gold_that_is_written_so_takes_any_form(judge: Any, gold: str) -> None:
    """But a gold that states its value asks for a value."""
    for answer in ("1024", "2^{10}", "2 \\cdot 512"):
        assert judge("math", gold, answer)[:2] == RIGHT
    assert judge("math", "2^{10} = 1024", "2^{10}")[:2] == UNEVALUATED
    assert judge("math", "2^{10} = 1024", "1024")[:2] == RIGHT


@pytest.fixture(scope="module")
def with_math_verify() -> Iterator[MixedReward]:
    pytest.importorskip("math_verify")
    reward = MixedReward(config=RewardConfig(format="none", math="math_verify", math_seconds=20.0))
    yield reward
    reward.close()


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        ("57", "28 + 29.", UNEVALUATED),
        ("57", "28 + 29 = 57", RIGHT),
        ("1267650600228229401496703205376", "2^{100}", UNEVALUATED),
        ("2^{100}", "2^{100}", RIGHT),  # the gold is written so
        ("2", "\\log_{10}(100)", UNEVALUATED),
        ("120", "5!", UNEVALUATED),
        ("1/2", "\\sin(\\pi/6)", UNEVALUATED),
        ("\\ln 2", "\\ln(2)", RIGHT),  # no arithmetic makes it simpler
        ("\\ln 2 + 1", "1 + \\ln(2)", RIGHT),
        ("x + 57", "57 + x", RIGHT),
        ("x + 57", "x + 28 + 29", UNEVALUATED),
        ("x^2 - 1", "(x + 1)(x - 1)", RIGHT),  # equal as a polynomial: only like terms are held to a form
    ],
)
def test_math_verify(with_math_verify: MixedReward, gold: str, answer: str, expected: Any) -> None:
    batch = with_math_verify([answer], [{"id": "1", "task": "math", "question": "?", "answer": gold}])
    assert (batch.column("math")[0], batch.reasons[0, batch.names.index("math")]) == expected
