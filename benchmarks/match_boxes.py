"""Optimal matching of boxes in many small sets, and in one large one, beside scipy's solver on IoU by NumPy
and by torch. Both loop over the sets, as nothing that is installed takes ragged ones."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.box_iou import random_boxes, torch_iou
from benchmarks.harness import Case, Contender
from mixed_r1_kernels import match_boxes

THREADS = (1, 2)
STANDARD = [(1000, 1, 4), (1000, 2, 8), (1, 256, 256)]
SCALING = [(10000, 1, 1), (1000, 16, 16), (10, 64, 64), (1, 1000, 1000)]


def cases(options: argparse.Namespace) -> Iterator[Case]:
    for num_sets, low, high in SCALING if options.scaling else STANDARD:
        rng = np.random.default_rng(0)
        counts = [rng.integers(low, high + 1, num_sets) for _ in range(2)]
        pred, target = (random_boxes(int(count.sum()), np.float64, seed) for seed, count in enumerate(counts))
        yield _case(pred, target, *counts, options)


def _case(
    pred: np.ndarray, target: np.ndarray, pred_counts: np.ndarray, target_counts: np.ndarray, options: Any
) -> Case:
    expected = _scipy(_numpy_iou, pred, target, pred_counts, target_counts)

    def error(result: Any) -> float:
        return float(np.abs(np.asarray(result) - expected).max())

    contenders = [
        Contender(
            f"mixed_r1 {impl}",
            lambda impl=impl: match_boxes(pred, target, pred_counts, target_counts, impl=impl).total,
            tolerance=1e-9,
        )
        for impl in options.impl
    ]
    if options.peers:
        contenders += [
            Contender(name, call, is_peer=True)
            for name, call in peers(pred, target, pred_counts, target_counts, threads=options.threads)
        ]
    pairs = float((pred_counts * target_counts).sum())
    sizes = f"{pred_counts.min()} to {pred_counts.max()}"
    return Case(
        name=f"{len(pred_counts)} sets of {sizes} boxes",
        contenders=contenders,
        error=error,
        work=pairs,
        unit="Gpair/s",
        formula="sum over sets of predicted x target boxes",
        parameters={"sets": len(pred_counts), "pred": len(pred), "target": len(target), "pairs": pairs},
    )


def peers(*data: np.ndarray, threads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    yield "numpy IoU + scipy", lambda: _scipy(_numpy_iou, *data)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
    tensors = [torch.from_numpy(array) for array in data[:2]]
    yield "torch IoU + scipy", lambda: _scipy(torch_iou, *tensors, *data[2:])


def _scipy(iou: Callable[[Any, Any], Any], pred: Any, target: Any, *counts: np.ndarray) -> np.ndarray:
    """Set by set: the IoU matrix, then scipy.optimize.linear_sum_assignment."""
    from scipy.optimize import linear_sum_assignment

    totals = np.zeros(len(counts[0]))
    ends = [np.cumsum(count) for count in counts]
    for i, (num_pred, num_target) in enumerate(zip(*counts, strict=True)):
        p, t = pred[ends[0][i] - num_pred : ends[0][i]], target[ends[1][i] - num_target : ends[1][i]]
        scores = np.asarray(iou(p, t))
        totals[i] = scores[linear_sum_assignment(scores, maximize=True)].sum()
    return totals


def _numpy_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    size = (np.minimum(a[:, None, 2:], b[:, 2:]) - np.maximum(a[:, None, :2], b[:, :2])).clip(0)
    areas = [(x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b)]
    intersection = size.prod(axis=2)
    return intersection / (areas[0][:, None] + areas[1] - intersection)
