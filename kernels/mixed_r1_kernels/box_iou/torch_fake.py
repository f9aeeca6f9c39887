"""``torch.ops.mixed_r1.box_iou`` and ``paired_box_iou`` without values, for ``torch.compile``.

- ``box_iou(boxes1, boxes2, kind="iou") -> [N, M]`` and ``paired_box_iou(boxes1, boxes2, kind="iou") -> [N]``:
  boxes float32 or float64, any strides.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__: list[str] = []


def _box_iou(boxes1: Tensor, boxes2: Tensor, kind: str = "iou") -> Tensor:
    return boxes1.new_empty(boxes1.shape[0], boxes2.shape[0])


def _paired_box_iou(boxes1: Tensor, boxes2: Tensor, kind: str = "iou") -> Tensor:
    return boxes1.new_empty(boxes1.shape[0])


torch.library.register_fake("mixed_r1::box_iou", _box_iou)
torch.library.register_fake("mixed_r1::paired_box_iou", _paired_box_iou)
