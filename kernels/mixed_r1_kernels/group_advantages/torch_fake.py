"""``torch.ops.mixed_r1.group_advantages`` without values, for ``torch.compile``.

- ``group_advantages(rewards, group_sizes, weights, mask=None, method="group", eps=1e-6, scales=None)
  -> [N]``: rewards float64 [N, K], sizes int64 [S], weights float64 [K], mask bool [N]; ``scales`` [N] is the
  divisor of each row for ``method="task_ema"``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__: list[str] = []


def _group_advantages(
    rewards: Tensor,
    group_sizes: Tensor,
    weights: Tensor,
    mask: Tensor | None = None,
    method: str = "group",
    eps: float = 1e-6,
    scales: Tensor | None = None,
) -> Tensor:
    return rewards.new_empty(rewards.shape[0])


torch.library.register_fake("mixed_r1::group_advantages", _group_advantages)
