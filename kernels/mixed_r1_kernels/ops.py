"""Importing this registers ``torch.ops.mixed_r1.*``: the ops as torch ops, for ``torch.compile`` and for
callers that stay in torch.

They take tensors laid out as the compiled code takes them, check them, and have no gradient. On the CPU all
of them run; on a GPU (where the module was built with CUDA) all but match_boxes. What a plan is made from
(``group_sizes``; ids, offsets and ``reference_of`` of bmas; counts) is on the CPU, wherever the rest is.

- ``box_iou(boxes1, boxes2, kind="iou") -> [N, M]`` and ``paired_box_iou(boxes1, boxes2, kind="iou") -> [N]``:
  boxes float32 or float64, any strides.
- ``match_boxes(pred, target, pred_counts, target_counts) -> (target_of [P] int64, iou [P], total [S])``: the
  row of ``target`` matched to each row of ``pred``, or -1, and its IoU, or 0, float64; counts int64 [S].
- ``group_advantages(rewards, group_sizes, weights, mask=None, method="group", eps=1e-6, scales=None)
  -> [N]``: rewards float64 [N, K], sizes int64 [S], weights float64 [K], mask bool [N]; ``scales`` [N] is the
  divisor of each row for ``method="task_ema"``.
- ``bmas(rows, inverse_norms, completion_ids, completion_offsets, reference_ids, reference_offsets,
  reference_of, num_threads=1) -> (precision [N], recall [N])``: the first two are
  ``EmbeddingTable.tensors()``, which has checked the rows; ids int32 or int64, sequence i of a side is
  ``ids[offsets[i] : offsets[i + 1]]``.

Raises:
    ImplUnavailable: they are not built.
"""

from __future__ import annotations

import torch
from torch import Tensor

from mixed_r1_kernels._impl import ImplUnavailable

__all__ = ["has_cuda"]

_BUILD = "MIXED_R1_TORCH_OPS=1 python setup.py build_ext --inplace"

try:
    import mixed_r1_kernels._torch_ops as _torch_ops
except ImportError as error:
    raise ImplUnavailable(
        f"mixed_r1_kernels._torch_ops must be built ({error}); build it with: {_BUILD}"
    ) from error

has_cuda: bool = _torch_ops.has_cuda


# Shapes and devices without values. In Python, because torch refuses a fake kernel in C++ (Meta) arguments on
# two devices.
def _fake_box_iou(boxes1: Tensor, boxes2: Tensor, kind: str = "iou") -> Tensor:
    return boxes1.new_empty(boxes1.shape[0], boxes2.shape[0])


def _fake_paired_box_iou(boxes1: Tensor, boxes2: Tensor, kind: str = "iou") -> Tensor:
    return boxes1.new_empty(boxes1.shape[0])


def _fake_match_boxes(
    pred: Tensor, target: Tensor, pred_counts: Tensor, target_counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    P, S = pred.shape[0], pred_counts.shape[0]
    return (
        pred_counts.new_empty(P),
        pred.new_empty(P, dtype=torch.float64),
        pred.new_empty(S, dtype=torch.float64),
    )


def _fake_group_advantages(
    rewards: Tensor,
    group_sizes: Tensor,
    weights: Tensor,
    mask: Tensor | None = None,
    method: str = "group",
    eps: float = 1e-6,
    scales: Tensor | None = None,
) -> Tensor:
    return rewards.new_empty(rewards.shape[0])


def _fake_bmas(
    rows: Tensor,
    inverse_norms: Tensor,
    completion_ids: Tensor,
    completion_offsets: Tensor,
    reference_ids: Tensor,
    reference_offsets: Tensor,
    reference_of: Tensor,
    num_threads: int = 1,
) -> tuple[Tensor, Tensor]:
    N = reference_of.shape[0]
    return rows.new_empty(N, dtype=torch.float64), rows.new_empty(N, dtype=torch.float64)


torch.library.register_fake("mixed_r1::box_iou", _fake_box_iou)
torch.library.register_fake("mixed_r1::paired_box_iou", _fake_paired_box_iou)
torch.library.register_fake("mixed_r1::match_boxes", _fake_match_boxes)
torch.library.register_fake("mixed_r1::group_advantages", _fake_group_advantages)
torch.library.register_fake("mixed_r1::bmas", _fake_bmas)
