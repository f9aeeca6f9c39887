"""Optimal one-to-one matching of predicted to target boxes, many sets in one call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from mixed_r1_kernels._arrays import boxes, contiguous, from_sequence, is_tensor, like
from mixed_r1_kernels._impl import native, resolve

__all__ = ["BoxMatches", "match_boxes"]

_IMPLEMENTED = ("reference", "native")


class BoxMatches(NamedTuple):
    """K matched pairs, set by set, in the order of ``pred``; arrays or tensors as ``pred`` was."""

    pred_index: Any  # [K] int64, rows of pred
    target_index: Any  # [K] int64, rows of target
    iou: Any  # [K] float64, above 0
    total: Any  # [S] float64, sum of iou per set


def match_boxes(
    pred: Any,
    target: Any,
    pred_counts: Sequence[int] | Any,
    target_counts: Sequence[int] | Any,
    *,
    impl: str = "auto",
) -> BoxMatches:
    """For each of S sets, the one-to-one assignment with the largest sum of IoU.

    Pairs that do not overlap are not matched. ``total`` sums the matched IoU in ascending order, so the order
    of boxes in a set does not change it. Corners may come in any order; one that is not finite matches none.
    O(min(n, m)^2 max(n, m)) per set of n predicted and m target boxes, on the CPU.

    Args:
        pred: [sum(pred_counts), 4] corners (x1, y1, x2, y2), the boxes of each set contiguous; ndarray or
            tensor of numbers, computed in float64.
        target: [sum(target_counts), 4], likewise.
        pred_counts: [S] integers of at least 0.
        target_counts: [S], likewise.
        impl: "auto", "native" or "reference".

    Raises:
        TypeError: ``pred`` or ``target`` is neither ndarray nor tensor, or not of real numbers.
        ValueError: a shape or count that does not fit.
        ImplUnavailable: ``impl`` cannot run here.
    """
    sets = (
        contiguous(boxes("pred", pred), np.float64),
        contiguous(boxes("target", target), np.float64),
    )
    counts = (
        _counts("pred_counts", pred_counts, len(sets[0])),
        _counts("target_counts", target_counts, len(sets[1])),
    )
    if counts[0].size != counts[1].size:
        raise ValueError(f"target_counts must have {counts[0].size} entries, got {counts[1].size}")
    if resolve(impl, op="match_boxes", implemented=_IMPLEMENTED) == "native":
        results = native().match_boxes(*sets, *counts)
    else:
        from mixed_r1_kernels.match_boxes import reference

        results = reference.match_boxes(*sets, *counts)
    if is_tensor(pred):
        results = tuple(like(result, pred) for result in results)
    return BoxMatches(*results)


def _counts(name: str, value: Any, num_boxes: int) -> np.ndarray:
    array = from_sequence(name, value)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(f"{name} must be one-dimensional integers, got {array.dtype} {list(array.shape)}")
    counts = contiguous(array, np.int64)
    if counts.size and counts.min() < 0:
        raise ValueError(f"{name} must be at least 0, got {counts.min()}")
    if counts.sum() != num_boxes or (counts.size and counts.max() > num_boxes):  # a sum may wrap around
        raise ValueError(f"{name} must sum to the number of boxes, {num_boxes}, got {counts.sum()}")
    return counts
