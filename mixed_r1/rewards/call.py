"""One call of MixedReward on its way: what every scorer needs to know of the batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.rows import PreparedRow, Rows
from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import VerifyResult, verify

__all__ = ["Call", "Verdicts"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Verdicts(NamedTuple):
    """What a scorer says of n completions. A value is NaN where there is none: the reason says why."""

    values: Floats  # [n]
    reasons: NDArray[np.uint8]  # [n]


class Call:
    """N completions with the row of each, after the one scan that finds every answer.

    The scan is the ``verify`` op, once for the whole batch. It settles what text alone decides; for other
    answers ``result`` has the value NaN with reason OK, and their scorer settles them.
    """

    def __init__(self, rows: Rows, completions: Sequence[str], samples: Sequence[Any], *, impl: str) -> None:
        self.completions, self.samples, self.rows = completions, samples, rows
        self.slots = rows.slots(samples)
        golds, gold_of = rows.golds(self.slots)
        self.result: VerifyResult = verify(completions, golds, gold_of=gold_of, impl=impl)
        self.scorers = rows.scorer[self.slots]  # [N] which scorer settles the completion
        self.columns = rows.column[self.slots]  # [N] the column of its task
        self.usable = ~rows.unusable[self.slots]  # [N] whether its row can be scored at all
        self.weights: Floats = np.take(rows.weights, self.slots, axis=0)  # [N, K]

    def __len__(self) -> int:
        return len(self.slots)

    def scanned(self, chosen: Ints) -> Verdicts:
        """The scan's verdicts on the completions ``chosen`` [n]; a scorer may write into these arrays."""
        return Verdicts(self.result.task_value[chosen], self.result.task_reason[chosen])

    def answers(self, chosen: Sequence[int] | Ints) -> list[str]:
        """The answer texts of the completions ``chosen``, "" where there is none."""
        index = np.asarray(chosen, np.int64)
        spans = self.result.spans[index].tolist()
        return [self.completions[i][a:b] for i, (a, b) in zip(index.tolist(), spans, strict=True)]

    def prepared(self, chosen: Ints) -> list[PreparedRow]:
        """The compiled rows of the completions ``chosen``."""
        return [self.rows.prepared[slot] for slot in self.slots[chosen].tolist()]

    def table(self, num_columns: int) -> Verdicts:
        """Values and reasons [N, K] before any scorer has spoken: BAD_GOLD in the task's column of a row that
        cannot be used, NOT_APPLICABLE elsewhere.
        """
        values = np.full((len(self), num_columns), np.nan)
        reasons = np.full(values.shape, Reason.NOT_APPLICABLE, np.uint8)
        bad = np.flatnonzero(~self.usable)
        reasons[bad, self.columns[bad]] = Reason.BAD_GOLD
        return Verdicts(values, reasons)
