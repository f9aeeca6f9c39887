"""Who settles a completion. Every scorer has one shape: ``score(call, chosen) -> Verdicts``.

``chosen`` [n] are the places of the batch that are the scorer's, in ascending order; the answer is n values
and n reasons. What a scorer says of one completion depends on nothing else in the batch.
"""

from __future__ import annotations

import asyncio
import inspect
import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias

import numpy as np

from mixed_r1.rewards.call import Call, Floats, Ints, Verdicts
from mixed_r1.rewards.grounding import score_boxes
from mixed_r1.rewards.math_pool import MathPool
from mixed_r1.rewards.open_ended import OpenEndedScorer
from mixed_r1.schema import Sample
from mixed_r1.tasks import Task
from mixed_r1_kernels import Reason

__all__ = [
    "BoxScorer",
    "EmbeddingScorer",
    "FormatScorer",
    "FunctionScorer",
    "MathVerifyScorer",
    "RewardFunction",
    "Scorer",
    "TaskScorer",
    "TextScorer",
]

# f(completions, answers, samples) -> one score a completion, None where it does not apply; ``async def`` too.
RewardFunction: TypeAlias = Callable[[Sequence[str], Sequence[str], Sequence[Any]], Any]
MAX_SCORE = 1e12  # of code of the user: with MAX_WEIGHT, totals and their squares fit a float32
UNREAD = (Reason.NO_NUMBER, Reason.TOO_MANY_ITEMS, Reason.TOO_DEEP)


class Scorer(ABC):
    """One way to settle completions."""

    @abstractmethod
    def score(self, call: Call, chosen: Ints) -> Verdicts:
        """Values and reasons of the completions ``chosen`` of ``call``."""


class TextScorer(Scorer):
    """Answers that text alone decides: the compiled scan has settled them."""

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        return call.scanned(chosen)


class BoxScorer(Scorer):
    """The IoU reward of the boxes that the scan found, all of them in one assignment."""

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        verdicts = call.scanned(chosen)
        found = np.isnan(verdicts.values)
        mine = np.zeros(len(call), bool)
        mine[chosen[found]] = True
        counts = call.result.box_counts
        boxes = call.result.boxes[np.repeat(mine, counts)]
        gold = call.rows.gold_boxes(call.slots[mine])
        verdicts.values[found] = score_boxes(boxes, counts[mine], gold)
        return verdicts


class EmbeddingScorer(Scorer):
    """BMAS between the answer and the row's reference; ``scorer`` is None where no table was given."""

    def __init__(self, scorer: OpenEndedScorer | None) -> None:
        self.scorer = scorer

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        if self.scorer is None:
            raise ValueError(
                "table and tokenizer must be given to MixedReward where samples are open_ended, got None; "
                "for example MixedReward(table=EmbeddingTable.from_pretrained(path), tokenizer=...)"
            )
        verdicts = call.scanned(chosen)
        found = np.isnan(verdicts.values)
        rows = call.prepared(chosen[found])
        scores = self.scorer.score(
            call.answers(chosen[found]),
            [row.gold.spec.answer for row in rows],
            [row.config.open_ended for row in rows],
        )
        verdicts.values[found], verdicts.reasons[found] = scores.values, scores.reasons
        return verdicts


class MathVerifyScorer(Scorer):
    """What the exact reader could not read goes to math-verify, in the processes of ``pool()``."""

    def __init__(self, pool: Callable[[], MathPool]) -> None:
        self.pool = pool

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        verdicts = call.scanned(chosen)
        unread = np.flatnonzero(np.isnan(verdicts.values) | np.isin(verdicts.reasons, UNREAD))
        rows, answers = call.prepared(chosen[unread]), call.answers(chosen[unread])
        judged, pairs, seconds = [], [], []
        for i, row, answer in zip(unread.tolist(), rows, answers, strict=True):
            if len(answer.encode()) > row.config.max_answer_bytes:
                verdicts.values[i], verdicts.reasons[i] = 0.0, Reason.TOO_LONG
            else:
                judged.append(i)
                pairs.append((row.gold.spec.answer, answer))
                seconds.append(row.config.math_seconds)
        if pairs:
            for i, verdict in zip(judged, self.pool().judge(pairs, seconds), strict=True):
                verdicts.values[i], verdicts.reasons[i] = verdict
        return verdicts


class TaskScorer(Scorer):
    """A task that scores its answers itself. Answers beyond ``max_answer_bytes`` do not reach it."""

    def __init__(self, task: Task) -> None:
        self.task = task

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        verdicts = call.scanned(chosen)
        found = np.flatnonzero(np.isnan(verdicts.values))
        limits = [row.config.max_answer_bytes for row in call.prepared(chosen[found])]
        answers = call.answers(chosen[found])
        short = np.array([len(a.encode()) <= n for a, n in zip(answers, limits, strict=True)], bool)
        verdicts.values[found[~short]], verdicts.reasons[found[~short]] = 0.0, Reason.TOO_LONG
        found, answers = found[short], [a for a, fits in zip(answers, short.tolist(), strict=True) if fits]
        if answers:
            samples = [_as_sample(call.samples[i]) for i in chosen[found].tolist()]
            scores = _asked(f"task {self.task.name}", len(answers), lambda: self.task.score(answers, samples))
            values, reasons = _checked(scores, missing=Reason.INTERNAL_ERROR)
            reasons[values == 0] = Reason.NO_MATCH
            verdicts.values[found], verdicts.reasons[found] = values, reasons
        return verdicts


class FunctionScorer(Scorer):
    """A reward function of the user: a column for all rows. What fails masks its rows."""

    def __init__(self, name: str, function: RewardFunction) -> None:
        self.name, self.function = name, function

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        answers = call.answers(chosen)
        scores = _asked(
            self.name, len(answers), lambda: self.function(call.completions, answers, call.samples)
        )
        return _checked(scores, missing=Reason.NOT_APPLICABLE)


class FormatScorer(Scorer):
    """Whether the completion has the form that was asked for."""

    def score(self, call: Call, chosen: Ints) -> Verdicts:
        return Verdicts(call.result.format_value[chosen], call.result.format_reason[chosen])


def _as_sample(row: Any) -> Sample:
    return row if isinstance(row, Sample) else Sample.model_validate(dict(row))


def _asked(name: str, count: int, ask: Callable[[], Any]) -> list[Any]:
    """The ``count`` scores that ``ask`` gives or promises; NaN for all, with a warning, where it fails."""
    try:
        scores: list[Any] = list(_awaited(ask()))
        if len(scores) != count:
            raise ValueError(f"scores must be one per completion ({count}), got {len(scores)}")
    except Exception as error:
        warnings.warn(f"{name} masks a batch, it raised {type(error).__name__}: {error}", stacklevel=2)
        scores = [np.nan] * count
    return scores


def _awaited(result: Any) -> Any:
    """The result of an ``async def``; anything else as it is."""
    if not inspect.isawaitable(result):
        return result

    async def wait() -> Any:
        return await result

    # In a thread of its own: the caller's may run an event loop already, as notebooks and servers do.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, wait()).result()


def _checked(scores: Sequence[Any], *, missing: Reason) -> Verdicts:
    """Scores of the user's code: None gets the reason ``missing``, no finite number INTERNAL_ERROR."""
    values = np.array([_as_float(score) for score in scores], np.float64)
    given = np.array([score is not None for score in scores], bool)
    failed = given & ~(np.abs(values) <= MAX_SCORE)
    reasons = np.full(len(scores), Reason.OK, np.uint8)
    reasons[~given], reasons[failed] = missing, Reason.INTERNAL_ERROR
    return Verdicts(np.where(failed, np.nan, values), reasons)


def _as_float(score: Any) -> float:
    """A score as a float; NaN where it is no number."""
    try:
        return float("nan") if score is None or isinstance(score, str) else float(score)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of torch: a tensor of several elements
        return float("nan")


def total(values: Floats, weights: Floats) -> Floats:
    """sum_k weights[:, k] * values[:, k], NaN cells left out, in the order of the columns."""
    parts = np.where(np.isnan(values), 0.0, values)
    parts *= weights
    found = np.zeros(len(values))
    for column in parts.T:
        found += column
    return found
