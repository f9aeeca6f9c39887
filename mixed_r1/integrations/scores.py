"""A RewardBatch as the dictionaries that trainers log: plain floats, the same keys for every row."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from mixed_r1.rewards import RewardBatch

__all__ = ["NAMES", "Scores", "scores"]

Scores: TypeAlias = "dict[str, float]"
NAMES = ("score", "task", "format", "masked")


def scores(batch: RewardBatch) -> list[Scores]:
    """``score`` (the total), ``task``, ``format`` and ``masked`` for each row.

    These trainers have no masked rows, and a NaN would spread over their whole batch. So a row that cannot be
    scored (it has a bad gold) gets score 0 for every completion, hence advantage 0, and ``masked`` is 1.
    """
    task = [batch.names.index(name) for name in batch.task_columns]
    columns = (
        batch.total,
        np.nan_to_num(batch.values[:, task]).sum(axis=1),
        batch.values[:, -1],
        (~batch.mask).astype(np.float64),
    )
    rows = zip(*(np.nan_to_num(values).tolist() for values in columns), strict=True)
    return [dict(zip(NAMES, row, strict=True)) for row in rows]
