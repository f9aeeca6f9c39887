"""Math answers compared as exact rationals."""

from __future__ import annotations

from typing import Any

import pytest

from mixed_r1_kernels import Reason


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("7", "7"),
        ("7", "7.0"),
        ("7", "$7$"),
        ("7", "+7."),
        ("-7", "\u22127"),
        ("1/2", "0.5"),
        ("1/2", "2/4"),
        ("1/2", "\\frac{1}{2}"),
        ("-1/2", "-\\dfrac{1}{2}"),
        ("0.5", "50%"),
        ("50\\%", "0.5"),
        ("1,000", "1000"),
        ("0.1", "0.10000000000000000000"),
        ("12345678901234567890123", "12345678901234567890123"),
        ("1e3", "1000"),
        ("7/3", "2\\frac{1}{3}"),  # a mixed number
        ("2\\pi/3", "2\\frac{\\pi}{3}"),  # a product
        ("\\frac12", "\\tfrac{1}{2}"),
        ("2\\sqrt{2}", "\\sqrt{8}"),
        ("\\frac{\\sqrt{2}}{2}", "\\frac{1}{\\sqrt2}"),
        ("\\sqrt{2} - 1", "\\frac{1}{1+\\sqrt{2}}"),
        ("\\sqrt[3]{27}", "3"),
        ("8^{1/3}", "2"),
        ("2^{10}", "1024"),
        ("\\pi^2", "\\pi \\cdot \\pi"),
        ("\\pi", "\u03c0"),
        ("90", "90^\\circ"),
        ("5", "x = 5"),
        ("(1, 2)", "\\left(1, 2\\right)"),
        ("[1, \\infty)", "x \\in [1,\\infty)"),
        ("(-\\infty,1)\\cup(2,3]", "(2,3] \\cup (-\\infty,1)"),
        ("\\{1, 2\\}", "2, 1"),
        ("1{,}000", "\\(1000\\)"),
        ("-3", "\\boxed{-3}"),
        ("-3", "$\\boxed{-3}$."),
        ("-3", "\\[ \\boxed{ -3 } \\]"),
        ("-3", "\\boxed{$-3$}"),
        ("-\\frac{1}{2}", "\\boxed{-\\frac{1}{2}}"),
        ("\\boxed{7}", "7"),
        ("\\{1, 2\\}", "\\boxed{\\{2, 1\\}}"),
    ],
)
def test_equal(judge: Any, gold: str, answer: str) -> None:
    assert judge("math", gold, answer)[:2] == (1.0, Reason.OK)


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("7", "8", Reason.NO_MATCH),
        ("1/3", "0.333333333333333333", Reason.NO_MATCH),
        ("12345678901234567890123", "12345678901234567890124", Reason.NO_MATCH),
        ("7", "seven", Reason.NO_NUMBER),
        ("7", "7 or 8", Reason.NO_MATCH),  # a set of two
        ("7", "\\boxed{8}", Reason.NO_MATCH),
        ("7", "\\boxed{7} \\boxed{8}", Reason.AMBIGUOUS),
        ("7", "\\boxed{7", Reason.NO_NUMBER),
        ("7", "\\boxed{}", Reason.NO_NUMBER),
        ("7", "\\boxed{\\boxed{7}}", Reason.NO_NUMBER),  # a box in a box
        ("7", "7/0", Reason.NO_NUMBER),
        ("7", "__import__('os')", Reason.NO_NUMBER),
        ("3\\pi", "9.42477796", Reason.NO_MATCH),  # an approximation is not equal
        ("(1, 2)", "(2, 1)", Reason.NO_MATCH),
        ("[1, 2)", "[1, 2]", Reason.NO_MATCH),
        ("7", "\\sqrt{-49}", Reason.NO_NUMBER),
        ("7", "9^{9^{9^9}}", Reason.NO_NUMBER),
        ("7", "\\frac{1}{0}", Reason.NO_NUMBER),
        ("7", "(" * 40 + "7" + ")" * 40, Reason.TOO_DEEP),
        ("7", "1+" * 600 + "1", Reason.TOO_MANY_ITEMS),
        ("7", "(1+\\sqrt2+\\sqrt3+\\sqrt5)^{64}", Reason.NO_NUMBER),  # beyond the budget of exact work
    ],
)
def test_not_equal(judge: Any, gold: str, answer: str, reason: Reason) -> None:
    assert judge("math", gold, answer)[:2] == (0.0, reason)
