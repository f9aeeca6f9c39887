"""Math against what math-verify's own tests expect of it: tests/rewards/math_cases.txt.

Natively four in five of the cases without prose are judged alike or otherwise for a reason, and nothing that
they refuse is paid but for one. With ``math: math_verify`` all are; ``EXCEPTIONS`` gives the reason of each
kind.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Reason
from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify

FILE = Path(__file__).with_name("math_cases.txt")
EXCEPTIONS = {
    "sum": "ours refuses arithmetic that is left to be worked out: a policy learns to answer 28 + 29 where "
    "the reader does the sum",
    "chain": "ours refuses a chain of equations whose sides differ; theirs takes the last side whatever the "
    "others say",
    "rounded": "ours takes a rounded decimal for another number; theirs compares six decimals",
    "comma": "a comma is thousands or a list here, never a decimal point: 1,222 would be two numbers",
    "space": "two numbers side by side are no number, as in charts; 1\\,000 and 1,000 are",
    "kind": "ours keeps a set and a tuple apart; theirs reads a pair of numbers in a row as the tuple",
    "boxes": "several boxes that differ are no answer here (box: last takes the last); theirs joins them",
    "interval": "ours reads an inequality of one letter as its interval on both sides; theirs on the gold's "
    "side, unless told to",
    "text": "ours reads a number in a text command, which models write often; theirs keeps it as a text",
    "two": "ours gives math-verify the math of a text that has some; theirs goes on to bare numbers",
}


class Case(NamedTuple):
    is_right: bool
    exception: str
    gold: str
    answer: str
    has_prose: bool


def read_cases() -> list[Case]:
    cases, prose = [], False
    for line in FILE.read_text(encoding="utf-8").splitlines():
        prose = prose or line == "# with prose"
        if "\t" in line and not line.startswith("#"):
            verdict, gold, answer = line.split("\t")
            right, _, exception = verdict.partition(" !")
            cases.append(Case(right == "1", exception, gold, answer.replace("\u00b6", "\n"), prose))
    return cases


CASES = read_cases()


def test_the_table() -> None:
    assert len(CASES) >= 268 and sum(not case.has_prose for case in CASES) >= 150
    assert {case.exception for case in CASES} - {""} == set(EXCEPTIONS)


def test_natively(impl: str) -> None:
    settings = VerifySettings(format="none")
    golds = [compile_gold("math", case.gold, settings=settings) for case in CASES]
    values = verify([case.answer for case in CASES], golds, impl=impl).task_value
    paid = [case for case, value in zip(CASES, values, strict=True) if value == 1.0 and not case.is_right]
    assert {case.exception for case in paid} == {"interval", "text"}
    plain = [(case, value) for case, value in zip(CASES, values, strict=True) if not case.has_prose]
    known = [(case, value) for case, value in plain if not np.isnan(value)]  # a masked row is not right
    alike = sum(value == float(case.is_right) for case, value in known)
    right = sum((value == float(case.is_right)) != bool(case.exception) for case, value in known)
    assert alike >= 150 and right >= 120 / 150 * len(plain)


@pytest.fixture(scope="module")
def judged() -> tuple[np.ndarray, np.ndarray]:
    pytest.importorskip("math_verify")
    reward = MixedReward(config=RewardConfig(format="none", math="math_verify", math_seconds=60.0))
    rows = [
        {"id": str(i), "task": "math", "question": "?", "answer": case.gold} for i, case in enumerate(CASES)
    ]
    batch = reward([case.answer for case in CASES], rows)
    reward._math_pool().close()
    return batch.column("math"), batch.reasons[:, batch.names.index("math")]


def test_with_math_verify(judged: tuple[np.ndarray, np.ndarray]) -> None:
    values, reasons = judged
    assert [case for case, reason in zip(CASES, reasons, strict=True) if reason == Reason.BAD_GOLD] == []
    differ = [case for case, value in zip(CASES, values, strict=True) if value != float(case.is_right)]
    assert [case for case in differ if not case.exception] == []
    assert [case for case in CASES if case.exception and case not in differ] == []
    assert len(CASES) - len(differ) >= 259


def test_no_anagram_is_paid(judged: tuple[np.ndarray, np.ndarray]) -> None:
    """Words that neither reader reads mask their row; letters with signs between them may commute."""
    reward = MixedReward(config=RewardConfig(format="none", math="math_verify", math_seconds=60.0))
    words = ["silent", "listen", "ABCD", "BDAC", "\\text{tinsel}", "forty-two", "two-forty", "Evelyn"]
    rows = [
        {"id": f"{i}", "task": "math", "question": "?", "answer": gold}
        for i, gold in enumerate(words)
        for answer in words
        if gold != answer
    ]
    answers = [answer for gold in words for answer in words if gold != answer]
    assert not (reward(answers, rows).column("math") == 1.0).any()
    reward._math_pool().close()
