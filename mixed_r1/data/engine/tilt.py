"""Which answer is commonest, after each stage: dropping rows can tilt golds without a word.

A file of 40,000 rows that was even when it was read may end with 64% "no" in one kind of question, because
"no" rows look more alike. A constant answer earns that share, and training finds it before it finds the task.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixed_r1.data.engine.table import Drops, FeatureTable

__all__ = ["golds_by_stage"]


def golds_by_stage(table: FeatureTable, drops: Sequence[tuple[str, Drops]]) -> list[dict[str, Any]]:
    """By task and ``metadata.kind``, for each stage that dropped rows: how many were left, the commonest gold
    among them and its share. Golds that are long texts or boxes do not count.
    """
    tasks, task = table.codes("task")
    kinds, kind = table.codes("kind")
    golds, gold = table.codes("gold")
    short = gold >= 0
    alive = np.ones(len(table), dtype=bool)
    stages = [("rows", alive.copy())]
    for name, found in drops:
        if len(found.rows):
            alive[found.rows] = False
            stages.append((name, alive.copy()))
    lines = []
    for code in np.unique(np.stack([task, kind], axis=1)[short], axis=0):
        members = short & (task == code[0]) & (kind == code[1])
        steps = [
            {"stage": name, **_commonest(golds, gold[members & left])}
            for name, left in stages
            if (members & left).any()
        ]
        name = kinds[code[1]] if code[1] >= 0 else ""
        lines.append({"task": tasks[code[0]], "kind": name, "stages": steps})
    return lines


def _commonest(golds: Sequence[str], codes: np.ndarray) -> dict[str, Any]:
    """The commonest of ``codes`` (of several the first by name), its share, and how many there are."""
    counts = np.bincount(codes)
    first = int(counts.argmax())
    return {"rows": len(codes), "gold": golds[first], "share": float(counts[first] / len(codes))}
