"""Intersection over union of axis-aligned boxes and its generalised, distance and complete forms."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mixed_r1_kernels._arrays import boxes, contiguous, is_tensor, like, require_dense
from mixed_r1_kernels._impl import ImplUnavailable, device_of, native, resolve

__all__ = ["KINDS", "box_iou", "paired_box_iou"]

KINDS = ("iou", "giou", "diou", "ciou")
_IMPLEMENTED = ("reference", "native", "triton", "cuda")


def box_iou(boxes1: Any, boxes2: Any, *, kind: str = "iou", impl: str = "auto") -> Any:
    """Score of every box of ``boxes1`` with every box of ``boxes2``: [N, 4] x [M, 4] -> [N, M].

    With I the area of the intersection, U of the union, C of the smallest enclosing box, c its diagonal, r
    the distance of the centres, and v = 4/pi^2 (atan2(w1, h1) - atan2(w2, h2))^2::

        iou  = I / U
        giou = iou - (C - U) / C                      (Rezatofighi et al. 2019)
        diou = iou - r^2 / c^2                        (Zheng et al. 2020)
        ciou = diou - v^2 / ((1 - iou) + v)           (Zheng et al. 2020)

    Corners (x1, y1, x2, y2) may come in any order: they are sorted first. A term whose denominator is 0 is 0,
    so two zero-area boxes score 0 and nothing is NaN. A box that is not finite scores 0 with every box. iou
    is in [0, 1], giou and diou in [-1, 1], ciou in [-1.5, 1]. No coordinate is too large or too small for its
    dtype. The result carries no gradient.

    Args:
        boxes1: [N, 4] ndarray or tensor, any strides; N may be 0.
        boxes2: [M, 4], of the same type and on the same device.
        kind: "iou", "giou", "diou" or "ciou".
        impl: "auto", "native", "triton", "cuda" or "reference".

    Returns:
        [N, M], array or tensor as given: float32 where both inputs are float32 or half precision (computed in
        float32), float64 otherwise (computed in float64).

    Raises:
        TypeError: not arrays or tensors of real numbers, or one of each.
        ValueError: a shape, device or kind that does not fit.
        ImplUnavailable: ``impl`` cannot run here.
    """
    result = (
        _plain(boxes1, boxes2, kind, False, True)
        if type(boxes1) is type(boxes2) is np.ndarray and impl == "auto"
        else None
    )
    return _run(boxes1, boxes2, kind, impl, False) if result is None else result


def paired_box_iou(boxes1: Any, boxes2: Any, *, kind: str = "iou", impl: str = "auto") -> Any:
    """``box_iou`` of each box of ``boxes1`` with its partner in ``boxes2``: [N, 4] x [N, 4] -> [N]."""
    return _run(boxes1, boxes2, kind, impl, True)


def _run(boxes1: Any, boxes2: Any, kind: str, impl: str, paired: bool) -> Any:
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {KINDS}, got {kind!r}")
    for name, value in (("boxes1", boxes1), ("boxes2", boxes2)):
        if is_tensor(value):
            require_dense(name, value)
    if is_tensor(boxes1) != is_tensor(boxes2):
        raise TypeError(
            f"boxes2 must be of boxes1's type {type(boxes1).__name__}, got {type(boxes2).__name__}"
        )
    name = resolve(impl, op="box_iou", implemented=_IMPLEMENTED, device=device_of(boxes1, boxes2))
    if name in ("triton", "cuda"):
        return _run_on_gpu(boxes1, boxes2, kind, name, paired)
    arrays = boxes("boxes1", boxes1), boxes("boxes2", boxes2)
    if paired and len(arrays[0]) != len(arrays[1]):
        raise ValueError(f"boxes2 must have {len(arrays[0])} rows like boxes1, got {len(arrays[1])}")
    half_or_single = all(a.dtype.kind == "f" and a.dtype.itemsize <= 4 for a in arrays)
    dtype = np.dtype(np.float32 if half_or_single else np.float64)
    if name == "native":
        prepared = [contiguous(array, dtype) for array in arrays]
        result = native().box_iou(*prepared, kind, paired, False)
    else:
        from mixed_r1_kernels.box_iou import reference

        function = reference.paired_box_iou if paired else reference.box_iou
        result = function(*arrays, kind).astype(dtype)
    return like(result, boxes1)


def _run_on_gpu(boxes1: Any, boxes2: Any, kind: str, impl: str, paired: bool) -> Any:
    import torch

    for name, value in (("boxes1", boxes1), ("boxes2", boxes2)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} must be a torch tensor for impl {impl}, got {type(value).__name__}")
        if value.dtype.is_complex or value.dtype == torch.bool:
            raise TypeError(f"{name} must hold real numbers, got {value.dtype}")
        if value.ndim != 2 or value.shape[1] != 4:
            raise ValueError(f"{name} must have shape [N, 4], got {list(value.shape)}")
    if boxes1.device != boxes2.device:
        raise ValueError(f"boxes2 must be on boxes1's device {boxes1.device}, got {boxes2.device}")
    if paired and len(boxes1) != len(boxes2):
        raise ValueError(f"boxes2 must have {len(boxes1)} rows like boxes1, got {len(boxes2)}")
    single = (torch.float32, torch.float16, torch.bfloat16)
    dtype = torch.float32 if boxes1.dtype in single and boxes2.dtype in single else torch.float64
    first, second = (value.detach().to(dtype).contiguous() for value in (boxes1, boxes2))
    implementation: Any
    if impl == "triton":
        from mixed_r1_kernels.box_iou import triton_kernel as implementation
    else:
        import mixed_r1_kernels.ops  # noqa: F401 (registers the ops)

        implementation = torch.ops.mixed_r1
    return (implementation.paired_box_iou if paired else implementation.box_iou)(first, second, kind)


def _load() -> Callable[..., Any]:
    """The compiled function, or, where it is missing, one that leaves each call and its error to ``_run``."""
    try:
        return native().box_iou
    except ImplUnavailable:
        return lambda *_: None


_plain = _load()
