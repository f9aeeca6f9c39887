"""Overlap scores on a GPU, each pair in units of its enclosing box, so that nothing over- or underflows."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

__all__ = ["box_iou", "paired_box_iou"]

PAIRS = {"BLOCK_N": 2, "BLOCK_M": 128, "num_warps": 4}  # two pairs a thread: more would spill in float64
PAIRED = {"BLOCK_N": 256, "num_warps": 4}


@triton.jit
def load_boxes(boxes_ptr, angle_ptr, offs, mask, KIND: tl.constexpr):
    """Corners in order (a quarter of them: differences stay finite), angle, and whether the box is finite."""
    a = tl.load(boxes_ptr + offs * 4, mask=mask, other=0.0)
    b = tl.load(boxes_ptr + offs * 4 + 1, mask=mask, other=0.0)
    c = tl.load(boxes_ptr + offs * 4 + 2, mask=mask, other=0.0)
    d = tl.load(boxes_ptr + offs * 4 + 3, mask=mask, other=0.0)
    # x - x is 0 for a finite x only.
    finite = (a - a == 0.0) & (b - b == 0.0) & (c - c == 0.0) & (d - d == 0.0)
    angle = a
    if KIND == "ciou":
        angle = tl.load(angle_ptr + offs, mask=mask, other=0.0)
    x1, y1 = tl.minimum(a, c) * 0.25, tl.minimum(b, d) * 0.25
    x2, y2 = tl.maximum(a, c) * 0.25, tl.maximum(b, d) * 0.25
    return x1, y1, x2, y2, angle, finite


@triton.jit
def divide(numerator, denominator):
    """numerator / denominator, rounded to nearest. Triton's own ``/`` is approximate in float32: with it
    equal boxes would score not quite 1."""
    if numerator.dtype == tl.float32:
        return tl.div_rn(numerator, denominator)
    else:
        return numerator / denominator


@triton.jit
def ratio(numerator, denominator):
    """numerator / denominator, and 0 where the denominator is not above 0."""
    positive = denominator > 0.0
    return tl.where(positive, divide(numerator, tl.where(positive, denominator, 1.0)), 0.0)


@triton.jit
def score_boxes(ax1, ay1, ax2, ay2, a_angle, bx1, by1, bx2, by2, b_angle, KIND: tl.constexpr):
    # An axis on which the enclosing box has no extent has only zero widths: any unit serves.
    width = tl.maximum(ax2, bx2) - tl.minimum(ax1, bx1)
    height = tl.maximum(ay2, by2) - tl.minimum(ay1, by1)
    x_unit, y_unit = tl.where(width > 0.0, width, 1.0), tl.where(height > 0.0, height, 1.0)
    x_overlap = divide(tl.maximum(tl.minimum(ax2, bx2) - tl.maximum(ax1, bx1), 0.0), x_unit)
    y_overlap = divide(tl.maximum(tl.minimum(ay2, by2) - tl.maximum(ay1, by1), 0.0), y_unit)
    intersection = x_overlap * y_overlap
    a_area = divide(ax2 - ax1, x_unit) * divide(ay2 - ay1, y_unit)
    b_area = divide(bx2 - bx1, x_unit) * divide(by2 - by1, y_unit)
    union = (a_area + b_area) - intersection
    iou = tl.minimum(ratio(intersection, union), 1.0)
    score = iou
    if KIND == "giou":
        # In these units the enclosing box has area 1, or 0 where an extent is 0.
        has_area = (width > 0.0) & (height > 0.0)
        score = iou - tl.where(has_area, tl.maximum(1.0 - union, 0.0), 0.0)
    if (KIND == "diou") | (KIND == "ciou"):
        unit = tl.maximum(x_unit, y_unit)
        unit = tl.where(width > 0.0, tl.where(height > 0.0, unit, x_unit), y_unit)
        dx, dy = divide((ax1 - bx1) + (ax2 - bx2), unit), divide((ay1 - by1) + (ay2 - by2), unit)
        across, down = divide(width, unit), divide(height, unit)
        score = iou - ratio(0.25 * (dx * dx + dy * dy), across * across + down * down)
    if KIND == "ciou":
        turn = a_angle - b_angle
        aspect = 0.4052847345693511 * (turn * turn)  # 4 / pi^2
        score = score - ratio(aspect * aspect, (1.0 - iou) + aspect)
    return score


@triton.jit
def pairs_kernel(
    boxes1_ptr,
    boxes2_ptr,
    angle1_ptr,
    angle2_ptr,
    out_ptr,
    num_boxes1,
    num_boxes2,
    KIND: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_M: tl.constexpr,
):
    """Scores of BLOCK_N boxes with BLOCK_M others."""
    # The axis of the most blocks is the first: the second holds 65,535 at most, so it is walked in strides.
    offs_m = tl.program_id(0).to(tl.int64) * BLOCK_M + tl.arange(0, BLOCK_M)
    in_m = offs_m < num_boxes2
    bx1, by1, bx2, by2, b_angle, b_finite = load_boxes(boxes2_ptr, angle2_ptr, offs_m, in_m, KIND)
    step = tl.num_programs(1).to(tl.int64) * BLOCK_N
    for first in range(tl.program_id(1).to(tl.int64) * BLOCK_N, num_boxes1, step):
        offs_n = first + tl.arange(0, BLOCK_N).to(tl.int64)
        in_n = offs_n < num_boxes1
        ax1, ay1, ax2, ay2, a_angle, a_finite = load_boxes(boxes1_ptr, angle1_ptr, offs_n, in_n, KIND)
        score = score_boxes(
            ax1[:, None],
            ay1[:, None],
            ax2[:, None],
            ay2[:, None],
            a_angle[:, None],
            bx1[None, :],
            by1[None, :],
            bx2[None, :],
            by2[None, :],
            b_angle[None, :],
            KIND,
        )
        score = tl.where(a_finite[:, None] & b_finite[None, :], score, 0.0)
        here = in_n[:, None] & in_m[None, :]
        tl.store(out_ptr + offs_n[:, None] * num_boxes2 + offs_m[None, :], score, mask=here)


@triton.jit
def paired_kernel(
    boxes1_ptr,
    boxes2_ptr,
    angle1_ptr,
    angle2_ptr,
    out_ptr,
    num_boxes,
    KIND: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Scores of BLOCK_N boxes with their partners."""
    offs = tl.program_id(0).to(tl.int64) * BLOCK_N + tl.arange(0, BLOCK_N)
    here = offs < num_boxes
    ax1, ay1, ax2, ay2, a_angle, a_finite = load_boxes(boxes1_ptr, angle1_ptr, offs, here, KIND)
    bx1, by1, bx2, by2, b_angle, b_finite = load_boxes(boxes2_ptr, angle2_ptr, offs, here, KIND)
    score = score_boxes(ax1, ay1, ax2, ay2, a_angle, bx1, by1, bx2, by2, b_angle, KIND)
    tl.store(out_ptr + offs, tl.where(a_finite & b_finite, score, 0.0), mask=here)


def box_iou(boxes1: Tensor, boxes2: Tensor, kind: str) -> Tensor:
    """[N, 4] x [M, 4] -> [N, M]; both contiguous, of one dtype, float32 or float64."""
    N, M = len(boxes1), len(boxes2)
    out = boxes1.new_empty(N, M)
    if out.numel():
        grid = triton.cdiv(M, PAIRS["BLOCK_M"]), min(triton.cdiv(N, PAIRS["BLOCK_N"]), 65535)
        angles = _angle(boxes1, kind), _angle(boxes2, kind)
        with _device(boxes1):
            pairs_kernel[grid](boxes1, boxes2, *angles, out, N, M, KIND=kind, **PAIRS)
    return out


def paired_box_iou(boxes1: Tensor, boxes2: Tensor, kind: str) -> Tensor:
    """[N, 4] x [N, 4] -> [N]; as ``box_iou``."""
    out = boxes1.new_empty(len(boxes1))
    if out.numel():
        grid = (triton.cdiv(len(boxes1), PAIRED["BLOCK_N"]),)
        angles = _angle(boxes1, kind), _angle(boxes2, kind)
        with _device(boxes1):
            paired_kernel[grid](boxes1, boxes2, *angles, out, len(boxes1), KIND=kind, **PAIRED)
    return out


def _angle(boxes: Tensor, kind: str) -> Tensor:
    """atan2(w, h) of each box; anything where it is not used."""
    if kind != "ciou":
        return boxes
    size = (boxes[:, 2:] * 0.25 - boxes[:, :2] * 0.25).abs()
    return torch.atan2(size[:, 0], size[:, 1])


def _device(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


# For the compile-only tests: (kernel, run-time types, ":16" where divisible by 16; the rest of the launch).
COMPILE_SIGNATURES = [
    (kernel, " ".join([f"*{dtype}:16"] * 5 + integers), {"KIND": kind} | launch)
    for kernel, integers, launch in (
        (pairs_kernel, ["i32", "i32"], PAIRS),
        (paired_kernel, ["i32"], PAIRED),
    )
    for kind in ("iou", "giou", "diou", "ciou")
    for dtype in ("fp32", "fp64")
]
