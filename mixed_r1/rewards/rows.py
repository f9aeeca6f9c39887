"""The rows a MixedReward has met, compiled once, in columns: a batch is looked up, not looped over."""

from __future__ import annotations

import warnings
import weakref
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mixed_r1.frames import factors
from mixed_r1.rewards.config import BoxScore, RewardConfig
from mixed_r1.schema import Sample
from mixed_r1.tasks import Task
from mixed_r1_kernels.verify import CompiledGold, compile_gold, identities

__all__ = ["BOX_SCORES", "GoldBoxes", "PreparedRow", "Rows"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOX_SCORES: tuple[str, ...] = get_args(BoxScore)
MAX_ROWS = 1 << 16


class PreparedRow(NamedTuple):
    """What is kept of a row beside its columns. ``error``: why it cannot be scored; it is masked then."""

    task: str
    config: RewardConfig
    gold: CompiledGold
    error: str | None


class GoldBoxes(NamedTuple):
    """Gold boxes of some rows and how predicted ones are compared with them.

    ``scale`` takes predicted boxes to the frame of ``boxes``: pixels of the original image, or the frame of
    both where no image size is known.
    """

    boxes: Floats  # [sum(counts), 4]
    counts: Ints  # [rows]
    scale: Floats  # [rows, 4]
    mode: Ints  # [rows] into BOX_SCORES
    threshold: Floats  # [rows]


class Rows:
    """Rows by slot. ``slots`` gives a batch its slots; the columns are indexed by them.

    A Sample met before is recognised by identity, any row by content. The store starts anew at 65,536 rows.
    """

    def __init__(
        self, config: RewardConfig, names: tuple[str, ...], tasks: Mapping[str, Task], scorers: Sequence[str]
    ) -> None:
        """``names`` are the columns, ``tasks`` the tasks by name, ``scorers`` the names that rows choose
        from.
        """
        self.config, self.names, self.tasks, self.scorers = config, names, tasks, list(scorers)
        self._task_columns = tuple(dict.fromkeys(task.column for task in tasks.values()))
        self._weights = self._as_array(config)
        self.warns = True  # of rows that cannot be used
        self._clear()

    def _clear(self) -> None:
        self.prepared: list[PreparedRow] = []
        self._by_content: dict[Any, int] = {}
        self._by_id: dict[int, int] = {}
        self._references: dict[int, weakref.ref[Sample]] = {}
        self._boxes: list[Floats] = []
        self._num_boxes = 0
        self._grow(256)

    def _grow(self, size: int) -> None:
        """Columns of ``size`` slots with what they hold already."""

        def column(name: str, shape: tuple[int, ...], dtype: Any) -> Any:
            new = np.zeros(shape, dtype)
            if self.prepared:
                new[: len(self.prepared)] = getattr(self, name)
            return new

        self.scorer: Ints = column("scorer", (size,), np.int64)
        self.column: Ints = column("column", (size,), np.int64)
        self.unusable: NDArray[np.bool_] = column("unusable", (size,), bool)
        self.weights: Floats = column("weights", (size, len(self.names)), np.float64)
        self._scale: Floats = column("_scale", (size, 4), np.float64)
        self._first_box: Ints = column("_first_box", (size,), np.int64)
        self._box_count: Ints = column("_box_count", (size,), np.int64)
        self._mode: Ints = column("_mode", (size,), np.int64)
        self._threshold: Floats = column("_threshold", (size,), np.float64)

    def slots(self, samples: Sequence[Sample | Mapping[str, Any]]) -> Ints:
        """The slot of each row. Rows not met before are compiled; one that cannot be used warns.

        Raises TypeError for a row that is neither Sample nor mapping.
        """
        if len(self.prepared) >= MAX_ROWS:
            self._clear()
        ids = identities(samples)
        changes = np.ones(len(ids), bool)
        np.not_equal(ids[1:], ids[:-1], out=changes[1:])
        starts = np.flatnonzero(changes)  # a row stands once for each completion of its group
        found = []
        for i in starts.tolist():
            slot = self._by_id.get(id(samples[i]))
            found.append(self._slot(samples[i]) if slot is None else slot)
        return np.repeat(np.array(found, np.int64), np.diff(starts, append=len(ids)))

    def _slot(self, row: Sample | Mapping[str, Any]) -> int:
        if isinstance(row, Sample):
            slot = self._slot_of_sample(row)
            key = id(row)
            self._by_id[key] = slot
            self._references[key] = weakref.ref(row, partial(_forget, self._by_id, self._references, key))
            return slot
        if not isinstance(row, Mapping):
            raise TypeError(f"samples must hold Sample or mappings, got {type(row).__name__}")
        try:
            return self._slot_of_sample(Sample.model_validate(dict(row)))
        except ValidationError as error:
            problem = "; ".join(map(_rule, error.errors()))
            if any(
                item["type"] == "missing" and item["loc"] in (("task",), ("answer",))
                for item in error.errors()
            ):
                problem += "; write both, for example {'task': 'math', 'answer': '42'}"
        except RecursionError:
            problem = "row must not be nested so deep"
        task = row.get("task")
        return self._unusable(task if isinstance(task, str) else "", problem, str(row.get("id")))

    def _unusable(self, task: str, problem: str, sample_id: str) -> int:
        """A row that cannot be scored; one of no known task stands in the column of open_ended."""
        gold = compile_gold("open_ended", None, settings=self.config.verify_settings())
        row = PreparedRow(task if task in self.tasks else "open_ended", self.config, gold, problem)
        return self._add(row, self._weights, sample_id)

    def _slot_of_sample(self, sample: Sample) -> int:
        if sample.task not in self.tasks:
            problem = (
                f"task must be one of {', '.join(self.tasks)} (or given to MixedReward), got {sample.task!r}"
            )
            return self._unusable(sample.task, problem, sample.id)
        overrides = repr(sorted(sample.reward.items())) if sample.reward else None
        sizes = (sample.frame, sample.image_size, sample.resized_size)
        task = self.tasks[sample.task]
        # The answer of a task of the user's own may be anything that JSON holds, lists too.
        answer = (sample.answer, sample.alternatives)
        known = repr(answer) if task.scorer == "task" else answer
        hint = task.hint(sample.question)
        content = (sample.task, known, sample.options, sizes, overrides, hint)
        slot = self._by_content.get(content)
        if slot is None:
            slot = self._by_content[content] = self._compile(sample)
        return slot

    def _compile(self, sample: Sample) -> int:
        task, config, weights, error = self.tasks[sample.task], self.config, self._weights, None
        try:
            config = self.config.for_task(sample.task, sample.reward)
            if config is not self.config:
                weights = self._as_array(config)
        except ValueError as problem:
            error = f"reward must hold settings that fit: {problem}"
        settings = task.settings(config, task.hint(sample.question))
        gold = compile_gold(
            task.reader,
            sample.answer,
            options=sample.options or (),
            alternatives=() if task.scorer == "task" else sample.alternatives,
            settings=settings,
        )
        scorer: str = f"task {task.name}" if task.scorer == "task" else task.scorer
        if task.reader == "math" and config.math == "math_verify":
            scorer = "math_verify"
            if find_spec("math_verify") is None:
                error = "math_verify must be installed for math='math_verify': pip install 'mixed-r1[math]'"
            elif gold.error is not None and error is None:
                # The scan only finds the answer; math-verify judges it.
                gold = compile_gold("open_ended", sample.answer, settings=settings)
        row = PreparedRow(sample.task, config, gold, error or gold.error)
        if task.scorer != "boxes" or row.error is not None:
            return self._add(row, weights, sample.id, scorer)
        try:
            boxes, scale = _in_one_frame(sample, config.frame)
        except ValueError as problem:
            return self._add(row._replace(error=str(problem)), weights, sample.id, scorer)
        slot = self._add(row, weights, sample.id, scorer)
        self._scale[slot] = scale
        self._first_box[slot], self._box_count[slot] = self._num_boxes, len(boxes)
        self._mode[slot] = BOX_SCORES.index(config.box_score)
        self._threshold[slot] = config.box_threshold
        self._boxes.append(boxes)
        self._num_boxes += len(boxes)
        return slot

    def _add(self, row: PreparedRow, weights: Floats, sample_id: str, scorer: str = "text") -> int:
        slot = len(self.prepared)
        if slot == len(self.scorer):
            self._grow(2 * slot)
        self.prepared.append(row)
        self.scorer[slot] = self.scorers.index(scorer)
        self.column[slot] = self.names.index(self.tasks[row.task].column)
        self.unusable[slot] = row.error is not None
        self.weights[slot] = weights
        if row.error is not None and self.warns:
            warnings.warn(f"sample {sample_id} is masked, it cannot be scored: {row.error}", stacklevel=2)
        return slot

    def golds(self, slots: Ints) -> tuple[list[CompiledGold], Ints]:
        """The distinct golds of ``slots``, and which of them is each slot's."""
        seen = np.zeros(len(self.prepared), bool)
        seen[slots] = True
        distinct = np.flatnonzero(seen)
        return [self.prepared[slot].gold for slot in distinct.tolist()], (np.cumsum(seen) - 1)[slots]

    def _as_array(self, config: RewardConfig) -> Floats:
        weights = config.column_weights(self.names, self._task_columns)
        return np.array([weights[name] for name in self.names])

    def gold_boxes(self, slots: Ints) -> GoldBoxes:
        counts = self._box_count[slots]
        if len(self._boxes) > 1:
            self._boxes = [np.concatenate(self._boxes)]
        ends = np.cumsum(counts)
        index = np.arange(ends[-1] if len(ends) else 0) + np.repeat(
            self._first_box[slots] - ends + counts, counts
        )
        boxes = self._boxes[0][index] if self._boxes else np.zeros((0, 4))
        return GoldBoxes(boxes, counts, self._scale[slots], self._mode[slots], self._threshold[slots])


def _forget(by_id: dict[int, int], references: dict[int, Any], key: int, _: Any) -> None:
    by_id.pop(key, None)
    references.pop(key, None)


def _rule(item: Any) -> str:
    """One problem of a row: its field, where the message does not say it, and the rule."""
    field, message = ".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def _in_one_frame(sample: Sample, predicted: str) -> tuple[Floats, Floats]:
    """Gold boxes [G, 4] and the factors (4,) of predicted ones, both to pixels of the original image.

    Where the image size is unknown but both are in the same frame they stay there: IoU is the same in both.
    """
    gold = np.array(sample.answer, np.float64).reshape(-1, 4)
    if sample.image_size is None and sample.frame == predicted:
        return gold, np.ones(4)
    sizes = (sample.image_size, sample.resized_size)
    to_pixels = [np.array(factors(frame, "pixels", *sizes) * 2) for frame in (sample.frame, predicted)]
    return gold * to_pixels[0], to_pixels[1]
