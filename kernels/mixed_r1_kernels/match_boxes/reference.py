"""Optimal one-to-one assignment of predicted to target boxes, set by set: the definition."""

from __future__ import annotations

import numpy as np

from mixed_r1_kernels.box_iou.reference import box_iou


def match_boxes(
    pred: np.ndarray, target: np.ndarray, pred_counts: np.ndarray, target_counts: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """(pred_index [K], target_index [K], iou [K], total [S])"""
    matches: list[tuple[int, int, float]] = []
    total = np.zeros(len(pred_counts))
    pred_start = target_start = 0
    for index, (num_pred, num_target) in enumerate(zip(pred_counts, target_counts, strict=True)):
        iou = box_iou(
            pred[pred_start : pred_start + num_pred], target[target_start : target_start + num_target], "iou"
        )
        rows, columns = assign(iou)
        matched = [(r, c) for r, c in zip(rows, columns, strict=True) if iou[r, c] > 0]
        matches += [(pred_start + r, target_start + c, iou[r, c]) for r, c in matched]
        total[index] = sum(sorted(iou[r, c] for r, c in matched))
        pred_start += num_pred
        target_start += num_target
    return (
        np.array([match[0] for match in matches], dtype=np.int64),
        np.array([match[1] for match in matches], dtype=np.int64),
        np.array([match[2] for match in matches], dtype=np.float64),
        total,
    )


def assign(score: np.ndarray) -> tuple[list[int], list[int]]:
    """Rows (ascending) and their columns: min(n, m) pairs, none sharing a row or column, of the largest sum.

    Shortest augmenting paths (Crouse, On implementing 2D rectangular assignment algorithms, 2016).
    """
    n, m = score.shape
    if n > m:
        columns, rows = assign(score.T)
        order = np.argsort(rows)
        return [rows[i] for i in order], [columns[i] for i in order]
    row_potential, column_potential = np.zeros(n), np.zeros(m)
    row_of, column_of = np.full(m, -1), np.full(n, -1)
    for start in range(n):
        distance, previous, closed = np.full(m, np.inf), np.full(m, -1), np.zeros(m, dtype=bool)
        row = start
        reached = 0.0
        while row >= 0:
            reduced = reached - score[row] - row_potential[row] - column_potential
            closer = ~closed & (reduced < distance)
            distance[closer] = reduced[closer]
            previous[closer] = row
            column = int(np.argmin(np.where(closed, np.inf, distance)))
            closed[column] = True
            reached = distance[column]
            row = int(row_of[column])
        passed = closed & (row_of >= 0)
        row_potential[start] += reached
        row_potential[row_of[passed]] += reached - distance[passed]
        column_potential[closed] -= reached - distance[closed]
        while column >= 0:
            row = int(previous[column])
            row_of[column], column, column_of[row] = row, int(column_of[row]), column
    return list(range(n)), [int(column) for column in column_of]
