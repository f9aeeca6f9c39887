"""MixedReward: completions and rows in, one RewardBatch out."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from mixed_r1.rewards.batch import RewardBatch
from mixed_r1.rewards.config import COLUMN_OF, TASK_COLUMNS, RewardConfig
from mixed_r1.rewards.grounding import score_boxes
from mixed_r1.rewards.open_ended import OpenEndedScorer
from mixed_r1.rewards.prepared import PreparedRow, content_key, prepare
from mixed_r1.schema import Sample
from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import compile_gold, verify

__all__ = ["MixedReward", "RewardFunction"]

RewardFunction = Callable[[Sequence[str], Sequence[str], Sequence[Any]], Sequence[float | None]]
Floats = NDArray[np.float64]
MAX_CACHED_ROWS = 1 << 16


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
            not applicable, NaN or infinite masks the row.
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
        base.column_weights(self.names)
        if (table is None) != (tokenizer is None):
            missing = "tokenizer" if tokenizer is None else "table"
            raise ValueError(
                f"{missing} must be given together with the other of table and tokenizer, got None"
            )
        self.open_ended = OpenEndedScorer(table, tokenizer) if table is not None else None
        self._rows: dict[Any, PreparedRow] = {}

    def column_weights(self) -> NDArray[np.float64]:
        """The weights [K] of the columns, before overrides of tasks and rows."""
        weights = self.config.column_weights(self.names)
        return np.array([weights[name] for name in self.names])

    def check(self, samples: Sequence[Sample | Mapping[str, Any]]) -> list[tuple[int, str]]:
        """(index, what is wrong) of every row that would be masked. For loading time."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rows = [self.prepared_row(sample) for sample in samples]
        return [(i, row.error) for i, row in enumerate(rows) if row.error is not None]

    def __call__(
        self, completions: Sequence[str], samples: Sequence[Sample | Mapping[str, Any]]
    ) -> RewardBatch:
        """Score ``completions[i]`` against ``samples[i]``.

        No content of a completion raises. A row that cannot be scored (bad gold, missing image size) is
        masked, with one warning that names it.

        Raises:
            ValueError: different lengths, or open_ended rows without a table and a tokenizer.
            TypeError: a completion that is not a string, or a sample that is neither Sample nor mapping.
        """
        if len(completions) != len(samples):
            raise ValueError(f"samples must be one per completion ({len(completions)}), got {len(samples)}")
        batch = _Call(self, completions, samples)
        batch.score_boxes()
        batch.score_texts(self.open_ended)
        values, reasons = batch.table(self.names)
        self._call_functions(batch, values, reasons)
        mask = np.logical_not(np.isin(reasons, (Reason.BAD_GOLD, Reason.INTERNAL_ERROR)).any(axis=1))
        weights = np.array([row.weights for row in batch.rows]).reshape(-1, len(self.names))[batch.row_of]
        total = np.zeros(len(completions))
        for k in range(len(self.names)):  # one order of summation whatever the batch
            total += np.where(np.isnan(values[:, k]), 0.0, values[:, k]) * weights[:, k]
        total[~mask] = np.nan
        return RewardBatch(total, values, self.names, reasons, mask, weights, batch.result.spans, completions)

    def prepared_row(self, row: Sample | Mapping[str, Any]) -> PreparedRow:
        """The compiled form of ``row``, made once per distinct content. An unusable one warns."""
        if isinstance(row, Sample):
            return self._prepare(row)
        if not isinstance(row, Mapping):
            raise TypeError(f"samples must hold Sample or mappings, got {type(row).__name__}")
        try:
            return self._prepare(Sample(**row))
        except ValidationError as error:
            problem = "; ".join(item["msg"] for item in error.errors())
            self._warn(str(row.get("id")), problem)
            gold = compile_gold("open_ended", None, settings=self.config.verify_settings())
            column = self.names.index(dict[Any, str](COLUMN_OF).get(row.get("task"), "matching"))
            return PreparedRow(self.config, column, self.column_weights(), gold, problem)

    def _prepare(self, sample: Sample) -> PreparedRow:
        key = content_key(sample)
        row = self._rows.get(key)
        if row is None:
            row = prepare(sample, self.config, self.names)
            if len(self._rows) >= MAX_CACHED_ROWS:
                self._rows.clear()
            self._rows[key] = row
            if row.error is not None:
                self._warn(sample.id, row.error)
        return row

    def _warn(self, sample_id: str, problem: str) -> None:
        warnings.warn(f"sample {sample_id} is masked, it cannot be scored: {problem}", stacklevel=6)

    def _call_functions(self, batch: _Call, values: Floats, reasons: NDArray[np.uint8]) -> None:
        if not self.functions:
            return
        starts_ends = batch.result.spans.tolist()
        answers = [text[a:b] for text, (a, b) in zip(batch.completions, starts_ends, strict=True)]
        for name, function in self.functions.items():
            scores = list(function(batch.completions, answers, batch.samples))
            if len(scores) != len(answers):
                raise ValueError(
                    f"{name} must return one score per completion ({len(answers)}), got {len(scores)}"
                )
            k = self.names.index(name)
            for i, score in enumerate(scores):
                if score is None:
                    continue
                finite = math.isfinite(score)
                values[i, k] = float(score) if finite else np.nan
                reasons[i, k] = Reason.OK if finite else Reason.INTERNAL_ERROR


class _Call:
    """One batch on its way: its distinct rows, the verdicts of the scan, the task values still to be made."""

    def __init__(self, reward: MixedReward, completions: Sequence[str], samples: Sequence[Any]) -> None:
        self.completions, self.samples = completions, samples
        keys = list(map(id, samples))
        self.rows: list[PreparedRow] = []
        position: dict[int, int] = {}
        for key, sample in dict(zip(keys, samples, strict=True)).items():
            position[key] = len(self.rows)
            self.rows.append(reward.prepared_row(sample))
        row_of = list(map(position.__getitem__, keys))
        self.row_of: NDArray[np.int64] = np.array(row_of, np.int64)
        golds = [row.gold for row in self.rows]
        self.result = verify(completions, golds, gold_of=self.row_of, impl=reward.impl)
        self.columns = np.array([row.column for row in self.rows], np.int64)[self.row_of]
        self.tasks = np.array([row.gold.spec.task for row in self.rows], object)[self.row_of]
        unusable = np.array([row.error is not None for row in self.rows], bool)[self.row_of]
        self.values, self.reasons = self.result.task_value.copy(), self.result.task_reason.copy()
        self.values[unusable], self.reasons[unusable] = np.nan, Reason.BAD_GOLD
        self.pending = np.isnan(self.values) & ~unusable

    def score_boxes(self) -> None:
        chosen = np.flatnonzero(self.pending & (self.tasks == "grounding"))
        counts = self.result.box_counts
        boxes = self.result.boxes[np.repeat(np.isin(np.arange(len(counts)), chosen), counts)]
        self.values[chosen] = score_boxes([self.rows[r] for r in self.row_of[chosen]], boxes, counts[chosen])

    def score_texts(self, scorer: OpenEndedScorer | None) -> None:
        open_ended = self.tasks == "open_ended"
        if scorer is None and open_ended.any():
            raise ValueError(
                "table and tokenizer must be given to MixedReward where samples are open_ended, got None; "
                "for example MixedReward(table=EmbeddingTable.from_pretrained(path), tokenizer=...)"
            )
        chosen = np.flatnonzero(self.pending & open_ended)
        if scorer is None or not chosen.size:
            return
        spans = self.result.spans[chosen].tolist()
        rows = [self.rows[r] for r in self.row_of[chosen]]
        scores = scorer.score(
            [self.completions[i][a:b] for i, (a, b) in zip(chosen.tolist(), spans, strict=True)],
            [row.gold.spec.answer for row in rows],
            [row.config.open_ended for row in rows],
        )
        self.values[chosen], self.reasons[chosen] = scores.values, scores.reasons

    def table(self, names: tuple[str, ...]) -> tuple[Floats, NDArray[np.uint8]]:
        """Values and reasons [N, K]: the task in its column, the format in the last."""
        shape = (len(self.values), len(names))
        values, reasons = np.full(shape, np.nan), np.full(shape, Reason.NOT_APPLICABLE, np.uint8)
        every = np.arange(shape[0])
        values[every, self.columns], reasons[every, self.columns] = self.values, self.reasons
        values[:, -1], reasons[:, -1] = self.result.format_value, self.result.format_reason
        return values, reasons
