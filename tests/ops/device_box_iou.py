"""box_iou of tensors on a GPU, or in Triton's interpreter. Not collected by name: test_triton_interpreter.py
runs it where there is no GPU, benchmarks/gpu_check.py where there is one."""

from __future__ import annotations

import math
import os

import numpy as np
import pytest
import torch

from mixed_r1_kernels import box_iou, paired_box_iou
from mixed_r1_kernels._impl import missing
from mixed_r1_kernels.box_iou.api import KINDS

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
IMPLS = [impl for impl in ("triton", "cuda") if missing(impl, DEVICE) is None]

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
