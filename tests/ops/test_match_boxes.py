from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linear_sum_assignment

from mixed_r1_kernels import BoxMatches, box_iou, match_boxes

IMPLS = ("reference", "native")


def random_boxes(rng, count):
    corners = rng.random((count, 2)) * 4
    return np.concatenate([corners, corners + rng.random((count, 2)) * 4], axis=1)


def by_scipy(pred, target, pred_counts, target_counts):
    """Per set, the best sum that any one-to-one assignment reaches."""
    totals = []
    for i, (n, m) in enumerate(zip(pred_counts, target_counts, strict=True)):
        p, t = sum(pred_counts[:i]), sum(target_counts[:i])
        iou = box_iou(pred[p : p + n], target[t : t + m], impl="reference")
        totals.append(iou[linear_sum_assignment(iou, maximize=True)].sum())
    return np.array(totals)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=6), st.integers(0, 2**32 - 1))
def test_ragged_sets_against_scipy(shapes, seed):
    rng = np.random.default_rng(seed)
    pred_counts, target_counts = ([shape[k] for shape in shapes] for k in (0, 1))
    pred, target = random_boxes(rng, sum(pred_counts)), random_boxes(rng, sum(target_counts))
    expected = by_scipy(pred, target, pred_counts, target_counts)
    results = [match_boxes(pred, target, pred_counts, target_counts, impl=impl) for impl in IMPLS]
    for result in results:
        np.testing.assert_allclose(result.total, expected, atol=1e-12)
        assert len(set(result.pred_index.tolist())) == len(result.pred_index)
        assert len(set(result.target_index.tolist())) == len(result.target_index)
        scores = box_iou(pred, target, impl="reference")[result.pred_index, result.target_index]
        np.testing.assert_allclose(result.iou, scores, atol=1e-12)
        assert bool((result.iou > 0).all())
        sets_of_pred = np.repeat(np.arange(len(shapes)), pred_counts)[result.pred_index]
        sets_of_target = np.repeat(np.arange(len(shapes)), target_counts)[result.target_index]
        np.testing.assert_array_equal(sets_of_pred, sets_of_target)
        np.testing.assert_allclose(
            np.bincount(sets_of_pred, result.iou, len(shapes)), result.total, atol=1e-12
        )
        assert bool((np.diff(result.pred_index) > 0).all())
    for ours, reference in zip(*results, strict=True):
        np.testing.assert_allclose(ours, reference, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_greedy_choice_is_not_taken(impl):
    # The best single pair (p0, t0) forces (p1, t1) to 0; the optimum crosses over.
    target = np.array([[0, 0, 10, 10], [4, 0, 14, 10]], dtype=float)
    pred = np.array([[1, 0, 11, 10], [-5, 0, 5, 10]], dtype=float)
    iou = box_iou(pred, target)
    assert iou.argmax() == 0 and iou[1, 1] < iou[1, 0]
    result = match_boxes(pred, target, [2], [2], impl=impl)
    assert isinstance(result, BoxMatches)
    assert result.pred_index.tolist() == [0, 1] and result.target_index.tolist() == [1, 0]
    assert result.total[0] == pytest.approx(iou[0, 1] + iou[1, 0], abs=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_order_of_boxes_changes_no_bit_of_the_total(impl):
    rng = np.random.default_rng(3)
    pred, target = random_boxes(rng, 5), random_boxes(rng, 4)
    totals = {
        match_boxes(pred[list(order)], target[::-1], [5], [4], impl=impl).total[0]
        for order in itertools.permutations(range(5))
    }
    assert len(totals) == 1


@pytest.mark.parametrize("impl", IMPLS)
def test_boxes_that_do_not_overlap_or_are_not_finite_match_nothing(impl):
    target = np.array([[0, 0, 1, 1], [5, 5, 6, 6]], dtype=float)
    pred = np.array([[2, 2, 3, 3], [math.nan, 0, 1, 1], [5, 5, 6, math.inf]], dtype=float)
    result = match_boxes(pred, target, [3, 0], [1, 1], impl=impl)
    assert result.pred_index.size == 0 and result.iou.size == 0
    np.testing.assert_array_equal(result.total, [0, 0])


@pytest.mark.parametrize("impl", IMPLS)
def test_no_sets(impl):
    result = match_boxes(np.zeros((0, 4)), np.zeros((0, 4)), [], [], impl=impl)
    assert [part.shape for part in result] == [(0,)] * 4
    assert result.pred_index.dtype == result.target_index.dtype == np.int64


def test_many_boxes_in_one_set():
    rng = np.random.default_rng(5)
    pred, target = random_boxes(rng, 256), random_boxes(rng, 200)
    result = match_boxes(pred, target, [256], [200])
    np.testing.assert_allclose(result.total, by_scipy(pred, target, [256], [200]), atol=1e-9)


def test_tensors_in_tensors_out_and_any_layout():
    rng = np.random.default_rng(6)
    pred, target = random_boxes(rng, 7), random_boxes(rng, 6)
    expected = match_boxes(pred, target, [3, 4], [4, 2])
    tensors = match_boxes(
        torch.from_numpy(pred),
        torch.from_numpy(target),
        torch.tensor([3, 4]),
        np.array([4, 2], dtype=np.int32),
    )
    strided = match_boxes(np.repeat(pred, 2, axis=0)[::2], np.asfortranarray(target), (3, 4), [4, 2])
    for plain, tensor, other in zip(expected, tensors, strided, strict=True):
        assert isinstance(tensor, torch.Tensor)
        np.testing.assert_array_equal(tensor.numpy(), plain, strict=True)
        np.testing.assert_array_equal(other, plain, strict=True)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize(
    ("counts", "message"),
    [
        (([2], [1]), "pred_counts must sum to the number of boxes, 3, got 2"),
        (([3], [2]), "target_counts must sum to the number of boxes, 1, got 2"),
        (([3, 0], [1]), "target_counts must have 2 entries, got 1"),
        (([4, -1], [1, 0]), "pred_counts must be at least 0, got -1"),
        (([2**63 - 1, 2**63 - 1, 5], [1, 0, 0]), "pred_counts must sum to the number of boxes, 3, got 3"),
        (([3.0], [1]), "pred_counts must be one-dimensional integers, got float64"),
        (([[3]], [1]), "pred_counts must be one-dimensional integers"),
        ((3, [1]), "pred_counts must be one-dimensional integers"),
    ],
)
def test_bad_counts(impl, counts, message):
    with pytest.raises(ValueError, match=message):
        match_boxes(np.zeros((3, 4)), np.zeros((1, 4)), *counts, impl=impl)


def test_bad_boxes():
    with pytest.raises(ValueError, match=r"target must have shape \[N, 4\], got \[1, 3\]"):
        match_boxes(np.zeros((3, 4)), np.zeros((1, 3)), [3], [1])
    with pytest.raises(TypeError, match="pred must be an ndarray or a torch tensor, got list"):
        match_boxes([[0, 0, 1, 1]], np.zeros((1, 4)), [1], [1])
    with pytest.raises(TypeError, match="pred must hold real numbers, got bool"):
        match_boxes(np.zeros((3, 4), dtype=bool), np.zeros((1, 4)), [3], [1])
