"""The IoU reward: predicted against gold boxes, all rows of a batch in one assignment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.rows import BOX_SCORES, GoldBoxes
from mixed_r1_kernels import match_boxes, paired_box_iou

__all__ = ["POINT_IN_BOX", "VLM_R1", "Matching", "first_iou", "match", "score_boxes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
INCLUSIVE = np.array([0.0, 0.0, 1.0, 1.0])  # x2 and y2 name the last pixel inside
THRESHOLD, GIOU, PLUS_ONE, VLM_R1, POINT_IN_BOX = map(
    BOX_SCORES.index, ("threshold", "giou", "plus_one", "vlm_r1", "point_in_box")
)


class Matching(NamedTuple):
    """Boxes in the frame of the gold ones, and the matched pairs of all rows."""

    predicted: Floats  # [P, 4]
    gold: Floats  # [G, 4]
    predicted_index: Ints  # [pairs] into predicted
    gold_index: Ints  # [pairs] into gold
    iou: Floats  # [pairs]
    total: Floats  # [rows] sum of iou


def match(predicted: Floats, counts: Ints, gold: GoldBoxes) -> Matching:
    """The one-to-one assignment of largest total IoU in each row.

    ``predicted`` [P, 4] as the completions gave them, ``counts`` [rows] of them to a row.
    """
    predicted, target = predicted * np.repeat(gold.scale, counts, axis=0), gold.boxes
    inclusive = gold.mode == PLUS_ONE
    if inclusive.any():
        predicted = predicted + np.repeat(inclusive, counts)[:, None] * INCLUSIVE
        target = target + np.repeat(inclusive, gold.counts)[:, None] * INCLUSIVE
    return Matching(predicted, target, *match_boxes(predicted, target, counts, gold.counts))


def score_boxes(predicted: Floats, counts: Ints, gold: GoldBoxes) -> Floats:
    """The IoU reward [rows] in [0, 1], by each row's ``box_score`` (see RewardConfig)."""
    if not len(counts):
        return np.zeros(0)
    matching = match(predicted, counts, gold)
    most = np.maximum(counts, gold.counts)
    scores = matching.total / most
    pair_row = np.repeat(np.arange(len(counts)), counts)[matching.predicted_index]
    modes = set(np.flatnonzero(np.bincount(gold.mode)).tolist())
    if THRESHOLD in modes:
        hits = np.bincount(pair_row, matching.iou >= gold.threshold[pair_row], len(counts))
        scores = np.where(gold.mode == THRESHOLD, hits / most, scores)
    if GIOU in modes:
        pairs = matching.predicted[matching.predicted_index], matching.gold[matching.gold_index]
        giou = np.maximum(paired_box_iou(*pairs, kind="giou"), 0.0)
        order = np.lexsort((giou, pair_row))  # ascending in each row: the order of boxes changes no bit
        scores = np.where(
            gold.mode == GIOU, np.bincount(pair_row[order], giou[order], len(counts)) / most, scores
        )
    if VLM_R1 in modes:
        scores = np.where(gold.mode == VLM_R1, first_iou(matching, counts, gold.counts) > 0.5, scores)
    if POINT_IN_BOX in modes:
        scores = np.where(gold.mode == POINT_IN_BOX, _points_inside(matching, counts, gold.counts), scores)
    return np.clip(scores, 0.0, 1.0)


def _points_inside(matching: Matching, num_predicted: Ints, num_gold: Ints) -> NDArray[np.bool_]:
    """Whether the first corner of each row's first prediction lies in one of its gold boxes [rows]."""
    points = matching.predicted[np.cumsum(num_predicted) - num_predicted, :2]
    row = np.repeat(np.arange(len(num_gold)), num_gold)
    inside = (matching.gold[:, :2] <= points[row]) & (points[row] <= matching.gold[:, 2:])
    return np.bincount(row, inside.all(axis=1), len(num_gold)) > 0


def first_iou(matching: Matching, num_predicted: Ints, num_gold: Ints) -> Floats:
    """IoU [rows] of the first predicted and the first gold box, 0 where they overlap by at most one pixel.

    VLM-R1 counts the overlap of pixels x1..x2-1 as (x2 - 1) - x1 + 1 = x2 - x1, and calls it empty
    where x2 - 1 <= x1.
    """
    first = matching.predicted[np.cumsum(num_predicted) - num_predicted]
    gold = matching.gold[np.cumsum(num_gold) - num_gold]
    overlap = np.minimum(first[:, 2:], gold[:, 2:]) - np.maximum(first[:, :2], gold[:, :2])
    counted = (overlap > 1.0).all(axis=1)
    return np.where(counted, paired_box_iou(first, gold), 0.0)
