"""``torch.ops.mixed_r1.match_boxes`` without values, for ``torch.compile``.

- ``match_boxes(pred, target, pred_counts, target_counts) -> (target_of [P] int64, iou [P], total [S])``: the
  row of ``target`` matched to each row of ``pred``, or -1, and its IoU, or 0, float64; counts int64 [S].
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__: list[str] = []


def _match_boxes(
    pred: Tensor, target: Tensor, pred_counts: Tensor, target_counts: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    P, S = pred.shape[0], pred_counts.shape[0]
    target_of = pred_counts.new_empty(P)
    iou = pred.new_empty(P, dtype=torch.float64)
    total = pred.new_empty(S, dtype=torch.float64)
    return target_of, iou, total


torch.library.register_fake("mixed_r1::match_boxes", _match_boxes)
