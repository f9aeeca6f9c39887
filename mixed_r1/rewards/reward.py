"""MixedReward: completions and rows in, one RewardBatch out."""

from __future__ import annotations

import os
import threading
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.batch import RewardBatch
from mixed_r1.rewards.config import TASK_COLUMNS, RewardConfig
from mixed_r1.rewards.grounding import score_boxes
from mixed_r1.rewards.math_pool import MathPool
from mixed_r1.rewards.open_ended import OpenEndedScorer
from mixed_r1.rewards.rows import Rows
from mixed_r1.schema import TASKS, Sample
from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import verify

__all__ = ["MixedReward", "RewardFunction"]

RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Any]], Sequence[float | None]]
Floats = NDArray[np.float64]
MATH, GROUNDING, OPEN_ENDED = map(TASKS.index, ("math", "grounding", "open_ended"))
MAX_SCORE = 1e12  # of a user's function: with MAX_WEIGHT, totals and their squares fit a float32
UNREAD = (Reason.NO_NUMBER, Reason.TOO_MANY_ITEMS, Reason.TOO_DEEP)
EVERY: weakref.WeakSet[MixedReward] = weakref.WeakSet()


class MixedReward:
    """Scores a batch of completions, each by the reward of its row's task, plus the format reward.

    Columns: ``matching`` (yes_no, multiple_choice), ``chart``, ``math``, ``iou`` (grounding),
    ``open_ended``, one for each of ``functions``, ``format``.

    Args:
        table: EmbeddingTable behind the open-ended reward; needed for open_ended rows only.
        tokenizer: a Hugging Face fast tokenizer or a ``tokenizers.Tokenizer``; its ids index ``table``.
        weights: weight of columns by name; overrides ``config.weights``.
        config: RewardConfig.
        functions: more rewards by column name, ``f(completions, answers, samples) -> [N] floats``; None is
            not applicable. Scores need not be in [0, 1]. NaN, an infinity, a magnitude above 1e12 or no
            number masks the row (INTERNAL_ERROR); so does, for every row of the batch, a function that raises
            or returns another number of scores, with a warning.
        impl: of the ``verify`` op.

    Raises:
        ValueError: a weight of an unknown column, a table without a tokenizer, or one too small for it.
    """

    def __init__(
        self,
        table: Any = None,
        tokenizer: Any = None,
        weights: Mapping[str, float] | None = None,
        config: RewardConfig | None = None,
        *,
        functions: Mapping[str, RewardFunction] | None = None,
        impl: str = "auto",
    ) -> None:
        self.functions = dict(functions or {})
        for name in self.functions:
            if name in TASK_COLUMNS or name == "format":
                raise ValueError(f"functions must have names of their own, got {name!r}")
        self.names = (*TASK_COLUMNS, *self.functions, "format")
        base = config or RewardConfig()
        if weights is not None:
            values = {name: getattr(base, name) for name in RewardConfig.model_fields}
            base = RewardConfig.from_mapping({**values, "weights": {**base.weights, **weights}})
        self.config, self.impl = base, impl
        for task in TASKS:
            base.for_task(task).column_weights(self.names)
        if (table is None) != (tokenizer is None):
            missing = "tokenizer" if tokenizer is None else "table"
            raise ValueError(
                f"{missing} must be given together with the other of table and tokenizer, got None"
            )
        self.open_ended = OpenEndedScorer(table, tokenizer) if table is not None else None
        self.rows = Rows(base, self.names)
        self._lock = threading.RLock()
        EVERY.add(self)
        self._pool: MathPool | None = None
        if any(base.for_task(task).math == "math_verify" for task in TASKS):
            self._math_pool()  # a missing package is an error now, not at the first row

    def column_weights(self) -> NDArray[np.float64]:
        """The weights [K] of the columns, before overrides of tasks and rows."""
        weights = self.config.column_weights(self.names)
        return np.array([weights[name] for name in self.names])

    def check(self, samples: Sequence[Sample | Mapping[str, Any]]) -> list[tuple[int, str]]:
        """(index, what is wrong) of every row that would be masked. For loading time."""
        with self._lock:
            self.rows.warns = False
            try:
                slots = self.rows.slots(samples).tolist()
            finally:
                self.rows.warns = True
            problems = [(i, self.rows.prepared[slot].error) for i, slot in enumerate(slots)]
        return [(i, problem) for i, problem in problems if problem is not None]

    def calibrate(self, samples: Sequence[Sample | Mapping[str, Any]]) -> None:
        """Measure token weights and the score of unrelated text on the references of the open_ended rows.

        Call it once, with the training rows, where ``OpenEndedConfig`` asks for ``idf`` or a measured
        baseline (``preset="robust"``); without open_ended rows or a table it does nothing. The same rows in
        any order give the same measures.
        """
        with self._lock:
            slots = np.unique(self.rows.slots(samples)).tolist() if samples else []
            slots = [s for s in slots if self.rows.task[s] == OPEN_ENDED and not self.rows.unusable[s]]
            references = [self.rows.prepared[slot].gold.spec.answer for slot in slots]
            if self.open_ended is not None and references:
                self.open_ended.calibrate(references)

    def taking_turns(self) -> AbstractContextManager[Any]:
        """Several calls as one: no other thread's comes between."""
        return self._lock

    def close(self) -> None:
        """End the math-verify processes, where there are any; the next call that needs one starts it."""
        with self._lock:
            if self._pool is not None:
                self._pool.close()

    def _math_pool(self) -> MathPool:
        if self._pool is None:
            self._pool = MathPool(seconds=self.config.math_seconds)
        return self._pool

    def __call__(
        self, completions: Sequence[str], samples: Sequence[Sample | Mapping[str, Any]]
    ) -> RewardBatch:
        """Score ``completions[i]`` against ``samples[i]``.

        No content of a completion raises. A row that cannot be scored (bad gold, missing image size) is
        masked, with one warning that names it. Calls from several threads take turns.

        Raises:
            ValueError: different lengths, or open_ended rows without a table and a tokenizer, or with
                settings that need ``calibrate`` before it was called.
            TypeError: one completion or sample where a sequence is wanted, a completion that is not a string,
                or a sample that is neither Sample nor mapping.
        """
        if isinstance(completions, str):
            raise TypeError("completions must be a sequence of strings, got one str")
        if isinstance(samples, (Sample, Mapping)):
            raise TypeError(f"samples must be a sequence of rows, got one {type(samples).__name__}")
        if len(completions) != len(samples):
            raise ValueError(f"samples must be one per completion ({len(completions)}), got {len(samples)}")
        with self._lock:
            return self._score(completions, samples)

    def _score(self, completions: Sequence[str], samples: Sequence[Any]) -> RewardBatch:
        batch = _Call(self, completions, samples)
        batch.score_boxes()
        batch.score_texts(self.open_ended)
        batch.score_math(self._math_pool)
        values, reasons = batch.table(self.names)
        weights = np.take(self.rows.weights, batch.slots, axis=0)
        task_weights = weights[np.arange(len(values)), batch.columns]
        total = _or_zero(batch.values) * task_weights
        mask = batch.reasons != Reason.BAD_GOLD
        for name, function in self.functions.items():
            k = self.names.index(name)
            values[:, k], reasons[:, k] = batch.call(name, function)
            total += _or_zero(values[:, k]) * weights[:, k]
            mask &= reasons[:, k] != Reason.INTERNAL_ERROR
        total += _or_zero(values[:, -1]) * weights[:, -1]
        total[~mask] = np.nan
        return RewardBatch(total, values, self.names, reasons, mask, weights, batch.result.spans, completions)


def _or_zero(values: Floats) -> Floats:
    return np.where(np.isnan(values), 0.0, values)


class _Call:
    """One batch on its way: the verdicts of the scan, and the task values still to be made."""

    def __init__(self, reward: MixedReward, completions: Sequence[str], samples: Sequence[Any]) -> None:
        self.completions, self.samples, self.rows = completions, samples, reward.rows
        self.slots = reward.rows.slots(samples)
        golds, gold_of = reward.rows.golds(self.slots)
        self.result = verify(completions, golds, gold_of=gold_of, impl=reward.impl)
        self.tasks = reward.rows.task[self.slots]
        self.columns = reward.rows.column[self.slots]
        self.unusable = reward.rows.unusable[self.slots]
        self.values = np.where(self.unusable, np.nan, self.result.task_value)
        self.reasons = np.where(self.unusable, np.uint8(Reason.BAD_GOLD), self.result.task_reason)
        self.pending = np.isnan(self.values) & ~self.unusable

    def score_boxes(self) -> None:
        chosen = self.pending & (self.tasks == GROUNDING)
        counts = self.result.box_counts
        boxes = self.result.boxes[np.repeat(chosen, counts)]
        self.values[chosen] = score_boxes(boxes, counts[chosen], self.rows.gold_boxes(self.slots[chosen]))

    def score_texts(self, scorer: OpenEndedScorer | None) -> None:
        open_ended = (self.tasks == OPEN_ENDED) & ~self.unusable
        if scorer is None and open_ended.any():
            raise ValueError(
                "table and tokenizer must be given to MixedReward where samples are open_ended, got None; "
                "for example MixedReward(table=EmbeddingTable.from_pretrained(path), tokenizer=...)"
            )
        chosen = np.flatnonzero(self.pending & open_ended)
        if scorer is None or not chosen.size:
            return
        spans = self.result.spans[chosen].tolist()
        rows = [self.rows.prepared[slot] for slot in self.slots[chosen].tolist()]
        scores = scorer.score(
            [self.completions[i][a:b] for i, (a, b) in zip(chosen.tolist(), spans, strict=True)],
            [row.gold.spec.answer for row in rows],
            [row.config.open_ended for row in rows],
        )
        self.values[chosen], self.reasons[chosen] = scores.values, scores.reasons

    def score_math(self, pool: Callable[[], MathPool]) -> None:
        """math-verify on what the exact reader could not read, where the row's settings say so."""
        unread = self.pending | np.isin(self.reasons, UNREAD)
        for_pool = [
            i
            for i in np.flatnonzero(unread & (self.tasks == MATH) & ~self.unusable).tolist()
            if self.rows.prepared[self.slots[i]].config.math == "math_verify"
        ]
        pairs = []
        for i in for_pool:
            row, (start, end) = self.rows.prepared[self.slots[i]], self.result.spans[i]
            answer = self.completions[i][start:end]
            if len(answer.encode()) > row.config.max_answer_bytes:
                self.values[i], self.reasons[i] = 0.0, Reason.TOO_LONG
            else:
                pairs.append((i, (row.gold.spec.answer, answer)))
        if pairs:
            seconds = [self.rows.prepared[self.slots[i]].config.math_seconds for i, _ in pairs]
            verdicts = pool().judge([pair for _, pair in pairs], seconds)
            for (i, _), (value, reason) in zip(pairs, verdicts, strict=True):
                self.values[i], self.reasons[i] = value, reason

    def table(self, names: tuple[str, ...]) -> tuple[Floats, NDArray[np.uint8]]:
        """Values and reasons [N, K]: the task in its column, the format in the last."""
        shape = (len(self.values), len(names))
        values, reasons = np.full(shape, np.nan), np.full(shape, Reason.NOT_APPLICABLE, np.uint8)
        every = np.arange(shape[0])
        values[every, self.columns], reasons[every, self.columns] = self.values, self.reasons
        values[:, -1], reasons[:, -1] = self.result.format_value, self.result.format_reason
        return values, reasons

    def call(self, name: str, function: RewardFunction) -> tuple[Floats, NDArray[np.uint8]]:
        """The scores [N] of a function of the user, with reasons."""
        spans = self.result.spans.tolist()
        answers = [text[a:b] for text, (a, b) in zip(self.completions, spans, strict=True)]
        try:
            scores: list[Any] = list(function(self.completions, answers, self.samples))
            if len(scores) != len(answers):
                raise ValueError(f"scores must be one per completion ({len(answers)}), got {len(scores)}")
        except Exception as error:
            warnings.warn(f"{name} masks a batch, it raised {type(error).__name__}: {error}", stacklevel=2)
            scores = [np.nan] * len(answers)
        values = np.array([_as_float(score) for score in scores], np.float64)
        given = np.array([score is not None for score in scores], bool)
        failed = given & ~(np.abs(values) <= MAX_SCORE)
        reasons = np.full(len(scores), Reason.OK, np.uint8)
        reasons[~given], reasons[failed] = Reason.NOT_APPLICABLE, Reason.INTERNAL_ERROR
        return np.where(failed, np.nan, values), reasons


def _as_float(score: Any) -> float:
    """A score of a user's function; NaN where it is no number."""
    try:
        return float("nan") if score is None or isinstance(score, str) else float(score)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # of torch: a tensor of several elements
        return float("nan")


def _before_fork() -> None:
    """A fork waits for the calls under way, or its child would find a lock that nobody holds any more."""
    held = list(EVERY)
    for reward in held:
        reward._lock.acquire()
    FORKING[threading.get_ident()] = held


def _after_fork() -> None:
    for reward in FORKING.pop(threading.get_ident()):
        reward._lock.release()


FORKING: dict[int, list[MixedReward]] = {}
os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
