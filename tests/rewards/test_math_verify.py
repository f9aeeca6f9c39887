"""math-verify behind the exact reader: what it adds, and that no answer can stop or kill the caller."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from typing import Any

import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.math_pool import MathPool
from mixed_r1.schema import Sample
from mixed_r1_kernels import Reason

pytest.importorskip("math_verify")


def row(answer: str) -> Sample:
    return Sample(id=answer, task="math", question="q", answer=answer)


@pytest.fixture(scope="module")
def reward() -> Iterator[MixedReward]:
    reward = MixedReward(config=RewardConfig(format="none", math="math_verify", math_seconds=20.0))
    yield reward
    reward._math_pool().close()


def judged(reward: MixedReward, gold: str, answer: str) -> tuple[Any, Reason]:
    batch = reward([answer], [row(gold)])
    return batch.column("math")[0], Reason(batch.reasons[0, batch.names.index("math")])


@pytest.mark.parametrize(
    ("gold", "answer", "value", "reason"),
    [
        ("x^2 + 1", "1 + x^2", 1.0, Reason.OK),  # only math-verify reads this gold
        ("x^2 + 1", "x^2 + 2", 0.0, Reason.NO_MATCH),
        ("\\frac{1}{2}", "\\frac{2}{4}", 1.0, Reason.OK),  # both exact
        ("2", "\\log_{10}(100)", 1.0, Reason.OK),  # an answer that only math-verify reads
        ("2", "two apples", 0.0, Reason.NO_MATCH),  # products of symbols, to it
        ("x + 1", "x" * 5000, 0.0, Reason.TOO_LONG),
        ("x + 1", "", 0.0, Reason.EMPTY),
    ],
)
def test_verdicts(reward: MixedReward, gold: str, answer: str, value: float, reason: Reason) -> None:
    assert judged(reward, gold, answer) == (value, reason)


def test_without_it_such_a_gold_is_masked() -> None:
    with pytest.warns(UserWarning, match="is masked"):
        batch = MixedReward(config=RewardConfig(format="none"))(["1 + x^2"], [row("x^2 + 1")])
    assert not batch.mask[0] and batch.reasons[0, 2] == Reason.BAD_GOLD


def test_an_answer_that_hangs_costs_its_process_only() -> None:
    """Stopped, the process is as one that computes forever: other verdicts stand, and time is bounded."""
    pool = MathPool(num_workers=1, seconds=2.0)
    assert pool.judge([("1", "1")]) == [(1.0, Reason.OK)]
    os.kill(pool._idle[0].process.pid, signal.SIGSTOP)
    start = time.monotonic()
    verdicts = pool.judge([("x", "x"), ("x+1", "1+x")])
    assert verdicts[0] == (0.0, Reason.TOO_DEEP) and verdicts[1] == (1.0, Reason.OK)
    assert time.monotonic() - start < 60.0
    pool.close()


def test_a_process_that_dies_is_replaced() -> None:
    pool = MathPool(num_workers=1, seconds=20.0)
    assert pool.judge([("1", "1")]) == [(1.0, Reason.OK)]
    pool._idle[0].process.kill()
    pool._idle[0].process.wait()
    assert pool.judge([("x", "x"), ("x+1", "1+x")]) == [(1.0, Reason.OK), (1.0, Reason.OK)]
    assert pool.judge([("x+1", "1+x")] * 3) == [(1.0, Reason.OK)] * 3  # kept, not judged again
    pool.close()


@pytest.mark.parametrize(
    "answer", ["9**9**9**9", "__import__('os').abort()", "{" * 3000, "\\sqrt{" * 500 + "2"]
)
def test_hostile_answers_score_zero(reward: MixedReward, answer: str) -> None:
    value, reason = judged(reward, "x + 1", answer)
    assert value == 0.0 and reason in (Reason.NO_NUMBER, Reason.NO_MATCH, Reason.TOO_DEEP)
    assert judged(reward, "x + 1", "1 + x")[0] == 1.0
