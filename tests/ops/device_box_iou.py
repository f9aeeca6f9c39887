"""box_iou of tensors on a GPU, or in Triton's interpreter. Not collected by name: test_triton_interpreter.py
runs it where there is no GPU, benchmarks/gpu_check.py where there is one."""

from __future__ import annotations

import math
import os
from fractions import Fraction

import numpy as np
import pytest
import torch

from mixed_r1_kernels import box_iou, paired_box_iou
from mixed_r1_kernels._impl import missing
from mixed_r1_kernels.box_iou.api import KINDS

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# On a GPU one that is not built fails; the interpreter has no CUDA.
IMPLS = [impl for impl in ("triton", "cuda") if DEVICE == "cuda" or missing(impl, DEVICE) is None]

pytestmark = pytest.mark.parametrize("impl", IMPLS)


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    corners = rng.random((count, 2)) * 500
    return np.concatenate([corners, corners + rng.random((count, 2)) * 500], axis=1)


def on_device(boxes: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(boxes).to(DEVICE)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(1, 1), (2, 127), (4, 128), (5, 129), (3, 300)])
def test_values(impl: str, kind: str, dtype: type, shape: tuple[int, int]) -> None:
    rng = np.random.default_rng(shape[0])
    a, b = (random_boxes(rng, count).astype(dtype) for count in shape)
    scores = box_iou(on_device(a), on_device(b), kind=kind, impl=impl)
    # Sixteen roundings of numbers at most 2.
    atol = 32 * np.finfo(dtype).eps
    expected = box_iou(a, b, kind=kind, impl="reference")
    np.testing.assert_allclose(scores.cpu().numpy(), expected, atol=atol, rtol=0)
    assert scores.dtype == on_device(a).dtype and scores.device.type == DEVICE
    count = min(shape)
    paired = paired_box_iou(on_device(a[:count]), on_device(b[:count]), kind=kind, impl=impl)
    np.testing.assert_allclose(paired.cpu().numpy(), np.diagonal(expected)[:count], atol=atol, rtol=0)


@pytest.fixture
def approximate_division(monkeypatch: pytest.MonkeyPatch) -> None:
    """Triton's ``/`` in float32, as GPUs run it (div.full): up to two units in the last place off. The
    interpreter's is exact. On a GPU there is nothing to put in its place."""
    if DEVICE == "cuda":
        return
    from triton.runtime import interpreter

    def divide(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        quotient = np.divide(x, y)
        if quotient.dtype != np.float32:
            return quotient
        offset = quotient.view(np.int32) % 5 - 2
        return np.where(quotient == 0, quotient, quotient * (1 + offset * np.float32(2**-24)))

    builder = interpreter.interpreter_builder
    approximate = lambda x, y: builder.binary_op(x, y, divide)  # noqa: E731
    monkeypatch.setattr(builder, "create_fdiv", approximate, raising=False)


@pytest.mark.usefixtures("approximate_division")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_boxes_score_exactly_one(impl: str, kind: str, dtype: type) -> None:
    boxes = random_boxes(np.random.default_rng(3), 1000).astype(dtype)
    scores = paired_box_iou(on_device(boxes), on_device(boxes[:, [2, 3, 0, 1]].copy()), kind=kind, impl=impl)
    np.testing.assert_array_equal(scores.cpu().numpy(), np.ones(1000))


@pytest.mark.usefixtures("approximate_division")
@pytest.mark.parametrize("kind", ["iou", "giou"])
def test_against_exact_fractions(impl: str, kind: str) -> None:
    rng = np.random.default_rng(4)
    a, b = (np.sort(rng.integers(0, 1000, (300, 2, 2)), axis=1).reshape(300, 4) for _ in range(2))
    scores = paired_box_iou(*(on_device(boxes.astype(np.float32)) for boxes in (a, b)), kind=kind, impl=impl)
    expected = [exact_score(*pair, kind) for pair in zip(a.tolist(), b.tolist(), strict=True)]
    # At most a dozen roundings of numbers at most 1.
    np.testing.assert_allclose(scores.cpu().numpy(), np.array(expected, np.float64), atol=12 * 2**-24, rtol=0)


def exact_score(a: list[int], b: list[int], kind: str) -> Fraction:
    def area(x1: int, y1: int, x2: int, y2: int) -> int:
        return max(x2 - x1, 0) * max(y2 - y1, 0)

    overlap = area(*map(max, a[:2], b[:2]), *map(min, a[2:], b[2:]))
    union = area(*a) + area(*b) - overlap
    hull = area(*map(min, a[:2], b[:2]), *map(max, a[2:], b[2:]))
    iou = Fraction(overlap, union) if union else Fraction(0)
    return iou - Fraction(hull - union, hull) if kind == "giou" and hull else iou


@pytest.mark.parametrize("kind", KINDS)
def test_hard_boxes(impl: str, kind: str) -> None:
    boxes = np.array(
        [
            *(
                [0, 0, 2, 2],
                [2, 2, 0, 0],
                [1, 1, 3, 3],
                [1, 1, 1, 1],
                [0, 0, 0, 2],
                [5, 0, 9, 0],
                [7, 7, 7, 7],
            ),
            *([math.nan, 0, 1, 1], [0, 0, math.inf, 1], [-math.inf, 0, 1, 1]),
            *([-3e38, -3e38, 3e38, 3e38], [0, 0, 3e38, 3e38], [0, 0, 1e-30, 1e-30], [0, 0, 1e-30, 2e-30]),
        ],
        dtype=np.float32,
    )
    scores = box_iou(on_device(boxes), on_device(boxes), kind=kind, impl=impl).cpu().numpy()
    np.testing.assert_allclose(scores, box_iou(boxes, boxes, kind=kind, impl="reference"), atol=4e-6, rtol=0)
    has_area = [0, 1, 2, 10, 11, 12, 13]
    np.testing.assert_array_equal(np.diagonal(scores)[has_area], np.ones(len(has_area)))
    assert not scores[7:10].any() and not scores[:, 7:10].any()


def test_empty(impl: str) -> None:
    boxes = torch.zeros(3, 4, device=DEVICE)
    assert box_iou(boxes[:0], boxes, impl=impl).shape == (0, 3)
    assert box_iou(boxes, boxes[:0], impl=impl).shape == (3, 0)
    assert paired_box_iou(boxes[:0], boxes[:0], impl=impl).shape == (0,)


def test_strided_and_other_dtypes(impl: str) -> None:
    boxes = on_device(random_boxes(np.random.default_rng(0), 9).round().astype(np.float32))
    expected = box_iou(boxes, boxes, impl=impl)
    assert torch.equal(
        box_iou(boxes.T.contiguous().T, torch.stack([boxes, boxes], 1)[:, 0], impl=impl), expected
    )
    whole = box_iou(boxes.to(torch.int64), boxes.to(torch.int32), impl=impl)
    assert whole.dtype == torch.float64
    torch.testing.assert_close(whole.float(), expected, atol=1e-6, rtol=0)
    assert box_iou(boxes.bfloat16(), boxes.half(), impl=impl).dtype == torch.float32


def test_bad_arguments(impl: str) -> None:
    boxes = torch.zeros(2, 4, device=DEVICE)
    with pytest.raises(ValueError, match=r"boxes1 must have shape \[N, 4\], got \[2, 3\]"):
        box_iou(boxes[:, :3], boxes, impl=impl)
    with pytest.raises(ValueError, match="boxes2 must have 2 rows like boxes1, got 1"):
        paired_box_iou(boxes, boxes[:1], impl=impl)
    with pytest.raises(TypeError, match="boxes1 must hold real numbers"):
        box_iou(boxes > 0, boxes, impl=impl)
