"""Importing this registers ``torch.ops.mixed_r1.*``: box_iou, paired_box_iou, group_advantages.

They take and give tensors of one dtype (float32 or float64 boxes, float64 rewards), check them, and work
under ``torch.compile(fullgraph=True)``. None has a gradient. ``group_sizes`` is an int64 tensor on the CPU,
on whatever device the rewards are.

Raises:
    ImplUnavailable: they are not built.
"""

from __future__ import annotations

import torch  # noqa: F401 (first: the compiled module needs its libraries loaded)

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
