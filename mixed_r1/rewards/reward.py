"""MixedReward: completions and rows in, one RewardBatch out."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixed_r1.config import ConfigError
from mixed_r1.frames import PredictedFrame
from mixed_r1.loading import load_object
from mixed_r1.rewards.batch import RewardBatch
from mixed_r1.rewards.call import Call, Ints
from mixed_r1.rewards.config import RewardConfig, column_names
from mixed_r1.rewards.math_pool import MathPool
from mixed_r1.rewards.open_ended import OpenEndedScorer
from mixed_r1.rewards.rows import Rows
from mixed_r1.rewards.scorers import (
    BoxScorer,
    EmbeddingScorer,
    FormatScorer,
    FunctionScorer,
    MathVerifyScorer,
    RewardFunction,
    Scorer,
    TaskScorer,
    TextScorer,
    total,
)
from mixed_r1.schema import Sample
from mixed_r1.tasks import BUILT_IN, Task, register
from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify.settings import Think

__all__ = ["MixedReward", "RewardFunction"]

EVERY: weakref.WeakSet[MixedReward] = weakref.WeakSet()


class MixedReward:
    """Scores a batch of completions, each by the reward of its row's task, plus the format reward.

    Columns: ``matching`` (yes_no, multiple_choice), ``chart``, ``math``, ``iou`` (grounding),
    ``open_ended``, one for each task and one for each function of your own, ``format``.

    Args:
        table: EmbeddingTable behind the open-ended reward; needed for open_ended rows only.
        tokenizer: a Hugging Face fast tokenizer or a ``tokenizers.Tokenizer``; its ids index ``table``.
        weights: weight of columns by name; overrides ``config.weights``.
        config: RewardConfig.
        functions: more rewards by column name, ``f(completions, answers, samples) -> [N] floats``; None is
            not applicable. Scores need not be in [0, 1]. NaN, an infinity, a magnitude above 1e12 or no
            number masks the row (INTERNAL_ERROR); so does, for every row of the batch, a function that raises
            or returns another number of scores, with a warning. Those of ``config.functions`` come first.
        tasks: tasks of your own beside those of ``config.custom_tasks``; they are registered.
        impl: of the ``verify`` op.

    Raises:
        ValueError: a weight of an unknown column, a table without a tokenizer, or one too small for it.
        ConfigError: two columns of one name, or two tasks of one name.
    """

    def __init__(
        self,
        table: Any = None,
        tokenizer: Any = None,
        weights: Mapping[str, float] | None = None,
        config: RewardConfig | None = None,
        *,
        functions: Mapping[str, RewardFunction] | None = None,
        tasks: Sequence[Task | type[Task]] = (),
        impl: str = "auto",
    ) -> None:
        base = config or RewardConfig()
        if weights is not None:
            values = {name: getattr(base, name) for name in RewardConfig.model_fields}
            base = RewardConfig.from_mapping({**values, "weights": {**base.weights, **weights}})
        own = dict.fromkeys([*base.own_tasks(), *map(register, tasks)])
        self.tasks = {task.name: task for task in (*BUILT_IN, *own)}
        self.functions = {
            **{name: load_object(path, what=f"functions.{name}") for name, path in base.functions.items()},
            **(functions or {}),
        }
        self.names = column_names([*own], [*self.functions])
        self.impl = impl
        if (table is None) != (tokenizer is None):
            missing = "tokenizer" if tokenizer is None else "table"
            raise ValueError(
                f"{missing} must be given together with the other of table and tokenizer, got None"
            )
        self.open_ended = OpenEndedScorer(table, tokenizer) if table is not None else None
        self._pool: MathPool | None = None
        # By the name that a row's settings choose; a task that scores itself goes by its own name.
        self.scorers: dict[str, Scorer] = {
            "text": TextScorer(),
            "boxes": BoxScorer(),
            "embedding": EmbeddingScorer(self.open_ended),
            "math_verify": MathVerifyScorer(self._math_pool),
            **{
                f"task {task.name}": TaskScorer(task) for task in self.tasks.values() if task.scorer == "task"
            },
        }
        self._lock = threading.RLock()
        EVERY.add(self)
        self._configure(base)

    @property
    def task_columns(self) -> tuple[str, ...]:
        """The columns that tasks fill."""
        return self.names[: len(self.names) - len(self.functions) - 1]

    def _configure(self, config: RewardConfig) -> None:
        """Take ``config``; rows met before are compiled anew."""
        configs = [config.for_task(task) for task in self.tasks]
        for each in configs:
            each.column_weights(self.names, self.task_columns)
        self.config = config
        self.rows = Rows(config, self.names, self.tasks, list(self.scorers))
        if any(each.math == "math_verify" for each in configs):
            self._math_pool()  # a missing package is an error now, not at the first row

    def speak(self, frame: PredictedFrame, think: Think = "written") -> None:
        """Read completions as the model writes them: boxes in ``frame``, and the thought from its tag on or
        (``prefilled``) from inside it.

        Raises:
            ConfigError: the settings name other ones; they could not hold.
        """
        with self._lock:
            if (self.config.box_frame, self.config.think) != (frame, think):
                self._configure(self.config.for_model(frame, think))

    def settings(self) -> RewardConfig:
        """The settings that make this reward again: tasks and functions that were given as objects are named
        in them, where their name leads back to them.
        """
        own = [task for task in self.tasks.values() if task not in BUILT_IN]
        tasks = [name for task in own if (name := _name_of(type(task))) is not None]
        functions = {column: _name_of(function) for column, function in self.functions.items()}
        known = {column: name for column, name in functions.items() if name is not None}
        weights = {k: v for k, v in self.config.weights.items() if k not in functions or k in known}
        changes = {"custom_tasks": tuple(tasks), "functions": known, "weights": weights}
        return self.config.model_copy(update=changes)

    @property
    def needs_calibration(self) -> bool:
        """Whether ``calibrate`` must be called before texts are scored."""
        texts = [task for task in self.tasks.values() if task.scorer == "embedding"]
        wanted = any(self.config.for_task(task.name).open_ended.is_calibrated for task in texts)
        return wanted and (self.open_ended is None or self.open_ended.calibration is None)

    def column_weights(self) -> NDArray[np.float64]:
        """The weights [K] of the columns, before overrides of tasks and rows."""
        weights = self.config.column_weights(self.names, self.task_columns)
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
            texts = [row for row in samples if self._needs_table(row)]
            slots = np.unique(self.rows.slots(texts)).tolist() if texts else []
            known = [self.rows.prepared[slot] for slot in slots if not self.rows.unusable[slot]]
            references = [row.gold.spec.answer for row in known]
            if self.open_ended is not None and references:
                self.open_ended.calibrate(references)

    def _needs_table(self, row: Sample | Mapping[str, Any]) -> bool:
        name = row.task if isinstance(row, Sample) else row.get("task")
        task = self.tasks.get(name) if isinstance(name, str) else None
        return task is not None and task.scorer == "embedding"

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
        call = Call(self.rows, completions, samples, impl=self.impl)
        values, reasons = call.table(len(self.names))
        for scorer, chosen, columns in self._work(call):
            values[chosen, columns], reasons[chosen, columns] = scorer.score(call, chosen)
        # A cell that has no value although its column applies: the row cannot be scored.
        missing = np.flatnonzero(np.isnan(values) & (reasons != Reason.NOT_APPLICABLE))
        mask = np.ones(len(values), bool)
        mask[missing // len(self.names)] = False
        totals = np.where(mask, total(values, call.weights), np.nan)
        return RewardBatch(
            totals,
            values,
            self.names,
            reasons,
            mask,
            call.weights,
            call.result.spans,
            completions,
            self.task_columns,
        )

    def _work(self, call: Call) -> Iterator[tuple[Scorer, Ints, Any]]:
        """Each scorer with the places of the batch it settles, and the column of each."""
        for number, scorer in enumerate(self.scorers.values()):
            chosen = np.flatnonzero(call.usable & (call.scorers == number))
            if chosen.size:
                yield scorer, chosen, call.columns[chosen]
        every = np.arange(len(call))
        for name, function in self.functions.items():
            yield FunctionScorer(name, function), every, self.names.index(name)
        yield FormatScorer(), every, len(self.names) - 1


def function_name(function: RewardFunction) -> str:
    """The column of a function that was given without one."""
    return getattr(function, "__name__", type(function).__name__)


def _name_of(found: Any) -> str | None:
    """``module:name`` of a class or function, where that leads back to it."""
    name = f"{getattr(found, '__module__', '')}:{getattr(found, '__qualname__', '')}"
    try:
        return name if load_object(name, what="object") is found else None
    except ConfigError:
        return None


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
