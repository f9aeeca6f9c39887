"""The rows a MixedReward has met, compiled once, in columns: a batch is looked up, not looped over."""

from __future__ import annotations

import re
import warnings
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from itertools import pairwise
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mixed_r1.rewards.config import COLUMN_OF, BoxScore, RewardConfig
from mixed_r1.rewards.frames import in_one_frame
from mixed_r1.schema import TASKS, Sample
from mixed_r1_kernels.verify import CompiledGold, compile_gold

__all__ = ["BOX_SCORES", "GoldBoxes", "PreparedRow", "Rows", "asks_for_quantity"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BOX_SCORES: tuple[str, ...] = get_args(BoxScore)
MAX_ROWS = 1 << 16


class PreparedRow(NamedTuple):
    """What is kept of a row beside its columns. ``error``: why it cannot be scored; it is masked then."""

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

    def __init__(self, config: RewardConfig, names: tuple[str, ...]) -> None:
        self.config, self.names = config, names
        self._weights = _as_array(config, names)
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

        self.task: Ints = column("task", (size,), np.int64)
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
        ids = np.fromiter(map(id, samples), np.int64, len(samples))
        starts = np.flatnonzero(np.diff(ids, prepend=0))  # a row stands once for each completion of its group
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
        task = task if isinstance(task, str) and task in TASKS else "open_ended"
        gold = compile_gold("open_ended", None, settings=self.config.verify_settings())
        return self._add(PreparedRow(self.config, gold, problem), self._weights, task, str(row.get("id")))

    def _slot_of_sample(self, sample: Sample) -> int:
        overrides = repr(sorted(sample.reward.items())) if sample.reward else None
        sizes = (sample.frame, sample.image_size, sample.resized_size)
        asks = sample.task == "chart" and asks_for_quantity(sample.question)
        content = (sample.task, sample.answer, sample.alternatives, sample.options, sizes, overrides, asks)
        slot = self._by_content.get(content)
        if slot is None:
            slot = self._by_content[content] = self._compile(sample)
        return slot

    def _compile(self, sample: Sample) -> int:
        config, weights, error = self.config, self._weights, None
        try:
            config = self.config.for_task(sample.task, sample.reward)
            if config is not self.config:
                weights = _as_array(config, self.names)
        except ValueError as problem:
            error = f"reward must hold settings that fit: {problem}"
        if config.math == "math_verify" and sample.task == "math" and find_spec("math_verify") is None:
            error = "math_verify must be installed for math='math_verify': pip install 'mixed-r1[math]'"
        settings = config.verify_settings()
        if config.chart_years == "auto" and asks_for_quantity(sample.question):
            settings = replace(settings, chart_years="tolerant")
        gold = compile_gold(
            sample.task,
            sample.answer,
            options=sample.options or (),
            alternatives=sample.alternatives,
            settings=settings,
        )
        row = PreparedRow(config, gold, error or gold.error)
        if (
            sample.task == "math"
            and gold.error is not None
            and error is None
            and config.math == "math_verify"
        ):
            # The scan only finds the answer; math-verify judges it.
            found = compile_gold("open_ended", sample.answer, settings=settings)
            row = PreparedRow(config, found, found.error)
        if sample.task != "grounding" or row.error is not None:
            return self._add(row, weights, sample.task, sample.id)
        try:
            boxes, scale = in_one_frame(sample, config.box_frame)
        except ValueError as problem:
            return self._add(row._replace(error=str(problem)), weights, sample.task, sample.id)
        slot = self._add(row, weights, sample.task, sample.id)
        self._scale[slot] = scale
        self._first_box[slot], self._box_count[slot] = self._num_boxes, len(boxes)
        self._mode[slot] = BOX_SCORES.index(config.box_score)
        self._threshold[slot] = config.box_threshold
        self._boxes.append(boxes)
        self._num_boxes += len(boxes)
        return slot

    def _add(self, row: PreparedRow, weights: Floats, task: str, sample_id: str) -> int:
        slot = len(self.prepared)
        if slot == len(self.task):
            self._grow(2 * slot)
        self.prepared.append(row)
        self.task[slot] = list[str](TASKS).index(task)
        self.column[slot] = self.names.index(COLUMN_OF[task])
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


def asks_for_quantity(question: str) -> bool:
    """Whether ``question`` asks how many or how much, and names no year or date."""
    words = re.findall("[a-z]+", question.lower())
    pairs = set(pairwise(words))
    quantity = (
        ("how", "many") in pairs or ("how", "much") in pairs or {"total", "sum", "average"} & set(words)
    )
    return bool(quantity) and not {"year", "years", "when", "date"} & set(words)


def _forget(by_id: dict[int, int], references: dict[int, Any], key: int, _: Any) -> None:
    by_id.pop(key, None)
    references.pop(key, None)


def _rule(item: Any) -> str:
    """One problem of a row: its field, where the message does not say it, and the rule."""
    field, message = ".".join(map(str, item["loc"])), item["msg"].removeprefix("Value error, ")
    return f"{field}: {message}" if field else message


def _as_array(config: RewardConfig, names: tuple[str, ...]) -> Floats:
    weights = config.column_weights(names)
    return np.array([weights[name] for name in names])
