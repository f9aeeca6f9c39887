"""The IoU reward: predicted against gold boxes, all rows of a batch in one assignment."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.prepared import PreparedRow
from mixed_r1_kernels.box_iou.api import paired_box_iou
from mixed_r1_kernels.match_boxes.api import match_boxes

__all__ = ["Matching", "match", "score_boxes"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
INCLUSIVE = np.array([0.0, 0.0, 1.0, 1.0])  # x2 and y2 name the last pixel inside


class Matching(NamedTuple):
    """Rows, boxes and matched pairs; the boxes of a row are in one frame."""

    predicted: Floats  # [P, 4]
    gold: Floats  # [G, 4]
    num_predicted: Ints  # [rows]
    num_gold: Ints  # [rows]
    predicted_index: Ints  # [pairs] into predicted
    gold_index: Ints  # [pairs] into gold
    iou: Floats  # [pairs]
    total: Floats  # [rows] sum of iou


def match(rows: Sequence[PreparedRow], boxes: Floats, counts: Ints) -> Matching:
    """The one-to-one assignment of largest total IoU for each of ``rows``; ``boxes`` [P, 4] are ragged by
    ``counts``.
    """
    scale = np.array([row.scale for row in rows]).reshape(-1, 4)
    inclusive = np.array([row.config.box_score == "plus_one" for row in rows])
    num_gold = np.array([len(row.boxes) for row in rows], np.int64)
    predicted = boxes * np.repeat(scale, counts, axis=0)
    gold = np.concatenate([row.boxes for row in rows]) if rows else np.zeros((0, 4))
    predicted = predicted + np.repeat(inclusive, counts)[:, None] * INCLUSIVE
    gold = gold + np.repeat(inclusive, num_gold)[:, None] * INCLUSIVE
    pairs = match_boxes(predicted, gold, counts, num_gold)
    return Matching(predicted, gold, counts, num_gold, *pairs)


def score_boxes(rows: Sequence[PreparedRow], boxes: Floats, counts: Ints) -> Floats:
    """The IoU reward [rows] in [0, 1], by each row's ``box_score`` (see RewardConfig)."""
    if not rows:
        return np.zeros(0)
    matching = match(rows, boxes, counts)
    most = np.maximum(matching.num_predicted, matching.num_gold)
    scores = matching.total / most
    pair_row = np.repeat(np.arange(len(rows)), matching.num_predicted)[matching.predicted_index]
    modes = np.array([row.config.box_score for row in rows])
    if (modes == "threshold").any():
        thresholds = np.array([row.config.box_threshold for row in rows])
        hits = np.bincount(pair_row, matching.iou >= thresholds[pair_row], len(rows))
        scores = np.where(modes == "threshold", hits / most, scores)
    if (modes == "giou").any():
        ends = matching.predicted[matching.predicted_index], matching.gold[matching.gold_index]
        giou = np.maximum(paired_box_iou(*ends, kind="giou"), 0.0)
        summed = np.array([np.sort(giou[pair_row == i]).sum() for i in range(len(rows))])
        scores = np.where(modes == "giou", summed / most, scores)
    if (modes == "vlm_r1").any():
        scores = np.where(modes == "vlm_r1", _vlm_r1(matching), scores)
    return np.clip(scores, 0.0, 1.0)


def _vlm_r1(matching: Matching) -> Floats:
    """1 where the first predicted and the first gold box have IoU > 0.5 and overlap by more than one pixel
    each way.

    VLM-R1 counts the overlap of pixels x1..x2-1 as (x2 - 1) - x1 + 1 = x2 - x1, and calls it empty
    where x2 - 1 <= x1.
    """
    first = matching.predicted[np.cumsum(matching.num_predicted) - matching.num_predicted]
    gold = matching.gold[np.cumsum(matching.num_gold) - matching.num_gold]
    overlap = np.minimum(first[:, 2:], gold[:, 2:]) - np.maximum(first[:, :2], gold[:, :2])
    counted = (overlap > 1.0).all(axis=1)
    return (counted & (paired_box_iou(first, gold) > 0.5)).astype(np.float64)
