"""RewardBatch: what a call of MixedReward returns, and the statistics a trainer logs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixed_r1.tasks import TASK_COLUMNS
from mixed_r1_kernels.reason import Reason

__all__ = ["RewardBatch"]


@dataclass(frozen=True)
class RewardBatch:
    """Rewards of N completions in K columns.

    ``values[i, k]`` is in [0, 1] (of a task or function of the user: in [-1e12, 1e12]), or NaN where column k
    does not score row i (``reasons`` says why, as Reason codes). ``mask[i]`` is False where row i could not
    be scored (bad gold, internal error); ``total[i]`` is NaN there and else the finite sum over columns of
    ``weights[i, k] * values[i, k]``, NaN cells left out.
    """

    total: NDArray[np.float64]  # [N]
    values: NDArray[np.float64]  # [N, K]
    names: tuple[str, ...]  # [K]
    reasons: NDArray[np.uint8]  # [N, K]
    mask: NDArray[np.bool_]  # [N]
    weights: NDArray[np.float64]  # [N, K]
    spans: NDArray[np.int64]  # [N, 2] code point offsets of the answers
    completions: Sequence[str]
    task_columns: tuple[str, ...] = TASK_COLUMNS  # those of ``names`` that a task fills, one of them a row

    def __len__(self) -> int:
        return len(self.total)

    @classmethod
    def concatenate(cls, batches: Sequence[RewardBatch]) -> RewardBatch:
        """The rows of one or more batches of one MixedReward, in their order."""
        arrays = {
            name: np.concatenate([getattr(batch, name) for batch in batches])
            for name in ("total", "values", "reasons", "mask", "weights", "spans")
        }
        completions = [text for batch in batches for text in batch.completions]
        return cls(
            names=batches[0].names, completions=completions, task_columns=batches[0].task_columns, **arrays
        )

    @property
    def answers(self) -> list[str]:
        """The extracted answer texts, "" where there is none."""
        spans = self.spans.tolist()
        return [text[start:end] for text, (start, end) in zip(self.completions, spans, strict=True)]

    def column(self, name: str) -> NDArray[np.float64]:
        """The values [N] of one column."""
        return self.values[:, self.names.index(name)]

    def means(self) -> dict[str, float]:
        """Mean of each column over the rows it scores; NaN where it scores none."""
        return {name: _mean(self.values[:, k]) for k, name in enumerate(self.names)}

    def shares(self) -> dict[str, float]:
        """Each column's part of the sum of totals: they add up to 1 (all 0 where the sum is 0)."""
        weighted = np.where(np.isnan(self.values), 0.0, self.values * self.weights)[self.mask]
        columns = weighted.sum(axis=0)
        total = float(columns.sum())
        return {
            name: float(c) / total if total > 0 else 0.0 for name, c in zip(self.names, columns, strict=True)
        }

    def reason_counts(self) -> dict[str, dict[str, int]]:
        """How often each reason occurs in each column, NOT_APPLICABLE left out."""
        counts = {}
        for k, name in enumerate(self.names):
            tally = np.bincount(self.reasons[:, k], minlength=len(Reason))
            tally[Reason.NOT_APPLICABLE] = 0
            counts[name] = {Reason(code).name: int(tally[code]) for code in np.flatnonzero(tally).tolist()}
        return counts


def _mean(values: NDArray[np.float64]) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
