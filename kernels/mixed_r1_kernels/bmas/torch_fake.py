"""``torch.ops.mixed_r1.bmas`` without values, for ``torch.compile``.

- ``bmas(rows, inverse_norms, completion_ids, completion_offsets, reference_ids, reference_offsets,
  reference_of, num_threads=1) -> (precision [N], recall [N])``: the first two are
  ``EmbeddingTable.tensors()``, which has checked the rows; ids int32 or int64, sequence i of a side is
  ``ids[offsets[i] : offsets[i + 1]]``.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__: list[str] = []


def _bmas(
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


torch.library.register_fake("mixed_r1::bmas", _bmas)
