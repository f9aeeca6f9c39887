"""math-verify behind the exact reader: what it adds, and that no answer can stop or kill the caller."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.math_pool import MathPool
from mixed_r1.schema import Sample
from mixed_r1_kernels import Reason

pytest.importorskip("math_verify")


SINE = "\\sin(x) + 1"  # a gold that only math-verify reads


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
        ("\\sin(x)^2 + 1", "1 + \\sin(x)^2", 1.0, Reason.OK),  # only math-verify reads this gold
        ("\\sin(x)^2 + 1", "\\sin(x)^2 + 2", 0.0, Reason.NO_MATCH),
        ("\\frac{1}{2}", "\\frac{2}{4}", 1.0, Reason.OK),  # both exact
        ("\\ln 2", "\\ln(2)", 1.0, Reason.OK),
        ("2", "\\log_{10}(100)", 0.0, Reason.UNEVALUATED),
        ("2", "two apples", 0.0, Reason.NO_NUMBER),  # letters of a word are no product
        ("\\sin(x) + 1", "Therefore $1 + \\sin(x)$ is the answer.", 1.0, Reason.OK),  # math of its own
        ("\\ln 42", "\\neq \\ln 42", 0.0, Reason.NO_MATCH),
        ("x + 1", "x" * 5000, 0.0, Reason.TOO_LONG),
        ("x + 1", "", 0.0, Reason.EMPTY),
    ],
)
def test_verdicts(reward: MixedReward, gold: str, answer: str, value: float, reason: Reason) -> None:
    assert judged(reward, gold, answer) == (value, reason)


@pytest.mark.parametrize(
    ("gold", "answer"), [("ABCD", "BDAC"), ("silent", "listen"), ("forty-two", "two-forty")]
)
def test_no_anagram_is_equal(reward: MixedReward, gold: str, answer: str) -> None:
    """Words that neither reader can read mask their row."""
    value, reason = judged(reward, gold, answer)
    assert value != value and reason == Reason.BAD_GOLD


def test_without_it_such_a_gold_is_masked() -> None:
    with pytest.warns(UserWarning, match="is masked"):
        batch = MixedReward(config=RewardConfig(format="none"))(["1 + \\sin(x)"], [row("\\sin(x) + 1")])
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


def test_a_process_killed_at_work_is_not_the_answers_fault() -> None:
    """By the system, or by somebody: the answer gets another process."""
    pool = MathPool(num_workers=1, seconds=30.0)
    assert pool.judge([("1", "1")]) == [(1.0, Reason.OK)]
    pid = pool._idle[0].process.pid
    os.kill(pid, signal.SIGSTOP)
    with ThreadPoolExecutor(1) as thread:
        judging = thread.submit(pool.judge, [("x + 1", "1 + x")])
        time.sleep(0.3)
        os.kill(pid, signal.SIGKILL)
        assert judging.result(timeout=60.0) == [(1.0, Reason.OK)]
    pool.close()


@pytest.mark.slow
def test_an_answer_that_ends_its_process_twice_scores_zero() -> None:
    pool = MathPool(num_workers=1, seconds=300.0)
    with ThreadPoolExecutor(1) as thread:
        judging = thread.submit(pool.judge, [("x + 1", ENDLESS[1]), ("x", "x")])
        for _ in range(2):
            while not (child := _at_work()):
                assert not judging.done()
                time.sleep(0.1)
            child.kill()
            child.wait()
        assert judging.result(timeout=120.0) == [(0.0, Reason.TOO_DEEP), (1.0, Reason.OK)]
    pool.close()


def _at_work() -> psutil.Process | None:
    """A process of a pool that has computed for longer than its start takes."""
    for child in psutil.Process().children():
        if "mixed_r1.rewards.math_worker" in child.cmdline() and child.cpu_times().user > 8.0:
            return child
    return None


def test_the_caller_keeps_its_signals_threads_files_and_children() -> None:
    """Nothing of it is touched; processes that were killed leave no zombie and no open pipe."""
    handlers = {
        number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGCHLD, signal.SIGPIPE)
    }
    process, threads = psutil.Process(), threading.active_count()
    children, files = set(process.children()), process.num_fds()
    pool = MathPool(num_workers=2, seconds=20.0)
    for i in range(3):
        for worker in pool._idle:
            worker.process.kill()
        assert pool.judge([(f"x + {i}", f"{i} + x")]) == [(1.0, Reason.OK)]
    assert len(set(process.children()) - children) <= 2 and threading.active_count() == threads
    pool.close()
    assert set(process.children()) <= children and process.num_fds() == files
    assert {number: signal.getsignal(number) for number in handlers} == handlers
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_calls_from_several_threads(reward: MixedReward) -> None:
    """Off the main thread, where an alarm would not work, and several at once."""
    pairs = [(f"y + {i % 5}", f"{i % 7} + y") for i in range(24)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda pair: judged(reward, *pair), pairs))
    assert [value for value, _ in found] == [float(i % 5 == i % 7) for i in range(24)]


def test_a_forked_child_has_processes_of_its_own(reward: MixedReward) -> None:
    assert judged(reward, "\\ln z + 1", "1 + \\ln z")[0] == 1.0
    before = [worker.process.pid for worker in reward._math_pool()._idle]
    child = os.fork()
    if child == 0:
        right = judged(reward, "\\ln z + 2", "2 + \\ln z")[0] == 1.0
        apart = not set(before) & {worker.process.pid for worker in reward._math_pool()._idle}
        reward._math_pool().close()
        os._exit(0 if right and apart else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert all(worker.process.poll() is None for worker in reward._math_pool()._idle)
    assert judged(reward, "\\ln z + 3", "3 + \\ln z")[0] == 1.0
    assert before == [worker.process.pid for worker in reward._math_pool()._idle]


HOSTILE = (
    "9^9^9^9", "9**9**9**9", "x=9^9^9^9", "__import__('os').abort()", "{" * 300, "\\sqrt{" * 500 + "2",
    "\\frac" * 600, "$" * 3000, "1" * 4000, "1e999999999", "\ud800", "\0", "9^9^9^9, 7",
)  # fmt: skip
ENDLESS = (
    "9^{9^{9^{9}}}", "(10^9)!", "\\prod_{k=1}^{10^9} k", "\\binom{10^9}{5*10^8}",
    "\\int_0^{10^9} e^{x^x} dx", "(" * 2000 + "1" + ")" * 2000, "x^" * 1500 + "x", "2^{-10^{10}}",
    "\\sin(10^{1000000})", "{" * 3000,
)  # fmt: skip
FAILED = (Reason.NO_NUMBER, Reason.NO_MATCH, Reason.TOO_DEEP, Reason.BAD_UTF8, Reason.UNEVALUATED)


@pytest.mark.parametrize("answer", HOSTILE, ids=lambda answer: repr(answer[:20]))
def test_hostile_answers_score_zero(reward: MixedReward, answer: str) -> None:
    value, reason = judged(reward, SINE, answer)
    assert value == 0.0 and reason in FAILED
    assert judged(reward, SINE, SINE)[0] == 1.0


def test_endless_answers_cost_their_seconds() -> None:
    """What sympy would compute for hours, between answers that are right."""
    reward = MixedReward(config=RewardConfig(format="none", math="math_verify", math_seconds=2.0))
    reward([SINE], [row(SINE)])  # processes up
    answers = [SINE, ENDLESS[0], "1 + \\sin(x)", ENDLESS[1], SINE]
    start = time.monotonic()
    batch = reward(answers, [row(SINE)] * 5)
    assert time.monotonic() - start < 60.0
    assert batch.column("math").tolist() == [1.0, 0.0, 1.0, 0.0, 1.0]
    assert batch.reason_counts()["math"] == {"OK": 3, "TOO_DEEP": 2}
    reward._math_pool().close()


def test_seconds_of_a_task_and_of_a_row() -> None:
    """Each answer has the time its own settings give it; the time of all rows is for the others."""
    config = {"math_seconds": 600.0, "tasks": {"math": {"math": "math_verify", "math_seconds": 1.0}}}
    reward = MixedReward(config=RewardConfig(format="none", **config))  # type: ignore[arg-type]
    strict = row(SINE).model_copy(update={"reward": {"math_seconds": 0.5}})
    reward([SINE], [row(SINE)])  # a process up
    start = time.monotonic()
    batch = reward([ENDLESS[0], ENDLESS[0], SINE], [row(SINE), strict, row(SINE)])
    assert time.monotonic() - start < 60.0
    assert batch.reason_counts()["math"] == {"OK": 1, "TOO_DEEP": 2}
    reward.close()


@pytest.mark.slow
@pytest.mark.parametrize("gold", [SINE, "7"])
def test_every_endless_answer_scores_zero(gold: str) -> None:
    reward = MixedReward(config=RewardConfig(format="none", math="math_verify", math_seconds=3.0))
    batch = reward(list(ENDLESS), [row(gold)] * len(ENDLESS))
    assert batch.column("math").tolist() == [0.0] * len(ENDLESS) and batch.mask.all()
    reward._math_pool().close()
