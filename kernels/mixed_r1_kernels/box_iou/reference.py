"""Intersection over union of boxes in NumPy, in extended precision: the definition."""

from __future__ import annotations

import numpy as np


def box_iou(boxes1: np.ndarray, boxes2: np.ndarray, kind: str) -> np.ndarray:
    """[N, 4] x [M, 4] -> [N, M] float64."""
    return _overlap(boxes1[:, None, :], boxes2[None, :, :], kind)


def paired_box_iou(boxes1: np.ndarray, boxes2: np.ndarray, kind: str) -> np.ndarray:
    """[N, 4] x [N, 4] -> [N] float64."""
    return _overlap(boxes1, boxes2, kind)


def _overlap(boxes1: np.ndarray, boxes2: np.ndarray, kind: str) -> np.ndarray:
    # The exponent range of long double keeps the square of any double finite and above zero.
    a, b = _canonical(boxes1), _canonical(boxes2)
    intersection = _area(np.maximum(a[..., :2], b[..., :2]), np.minimum(a[..., 2:], b[..., 2:]))
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - intersection
    score = _ratio(intersection, union)
    low, high = np.minimum(a[..., :2], b[..., :2]), np.maximum(a[..., 2:], b[..., 2:])
    if kind == "giou":
        enclosing = _area(low, high)
        score = score - _ratio(enclosing - union, enclosing)
    if kind in ("diou", "ciou"):
        center_distance = (((a[..., :2] + a[..., 2:]) - (b[..., :2] + b[..., 2:])) ** 2).sum(axis=-1) / 4
        distance = _ratio(center_distance, ((high - low) ** 2).sum(axis=-1))
        if kind == "ciou":
            aspect = 4 / np.pi**2 * (_angle(a) - _angle(b)) ** 2
            score = score - _ratio(aspect**2, (1 - score) + aspect)
        score = score - distance
    valid = np.isfinite(boxes1).all(axis=-1) & np.isfinite(boxes2).all(axis=-1)
    return np.where(valid, score, 0).astype(np.float64)


def _canonical(boxes: np.ndarray) -> np.ndarray:
    """Corners in order; a box that is not finite becomes a point, whose scores are overwritten."""
    wide = np.where(np.isfinite(boxes).all(axis=-1, keepdims=True), boxes, 0).astype(np.longdouble)
    return np.concatenate(
        [np.minimum(wide[..., :2], wide[..., 2:]), np.maximum(wide[..., :2], wide[..., 2:])], axis=-1
    )


def _area(low: np.ndarray, high: np.ndarray) -> np.ndarray:
    return np.maximum(high - low, 0).prod(axis=-1)


def _angle(boxes: np.ndarray) -> np.ndarray:
    # + 0: -0.0 - 0.0 is -0.0, and arctan2(0, -0.0) is pi.
    return np.arctan2(boxes[..., 2] - boxes[..., 0] + 0, boxes[..., 3] - boxes[..., 1] + 0)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """numerator / denominator, and 0 where the denominator is not above 0."""
    positive = denominator > 0
    return np.where(positive, numerator / np.where(positive, denominator, 1), 0)
