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
        ("7", "7 or 8", Reason.NO_NUMBER),
        ("7", "7/0", Reason.NO_NUMBER),
        ("7", "__import__('os')", Reason.NO_NUMBER),
    ],
)
def test_not_equal(judge: Any, gold: str, answer: str, reason: Reason) -> None:
    assert judge("math", gold, answer)[:2] == (0.0, reason)
