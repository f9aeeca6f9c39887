"""Importing this registers ``torch.ops.mixed_r1.*``: the ops as torch ops, for ``torch.compile`` and for
callers that stay in torch.

They take tensors laid out as the compiled code takes them, check them, and have no gradient. On the CPU all
of them run; on a GPU (where the module was built with CUDA) all but match_boxes. What a plan is made from
(``group_sizes``; ids, offsets and ``reference_of`` of bmas; counts) is on the CPU, wherever the rest is. The
arguments of each op are described in its own ``torch_fake.py``:

- ``box_iou`` and ``paired_box_iou``: ``mixed_r1_kernels.box_iou.torch_fake``
- ``match_boxes``: ``mixed_r1_kernels.match_boxes.torch_fake``
- ``group_advantages``: ``mixed_r1_kernels.group_advantages.torch_fake``
- ``bmas``: ``mixed_r1_kernels.bmas.torch_fake``

Raises:
    ImplUnavailable: they are not built, or this torch is older than 2.10.
"""

from __future__ import annotations

from importlib import import_module

import torch  # first: the module's own library is found among those that torch has loaded

from mixed_r1_kernels._impl import ImplUnavailable

__all__ = ["has_cuda"]

_BUILD = "MIXED_R1_TORCH_OPS=1 python setup.py build_ext --inplace"

if tuple(int(part) for part in torch.__version__.split(".")[:2]) < (2, 10):
    raise ImplUnavailable(f"torch must be 2.10 or newer for torch.ops.mixed_r1, got {torch.__version__}")
try:
    import mixed_r1_kernels._torch_ops as _torch_ops
except ImportError as error:
    raise ImplUnavailable(
        f"mixed_r1_kernels._torch_ops must be built ({error}); build it with: {_BUILD}"
    ) from error

has_cuda: bool = _torch_ops.has_cuda

# Shapes and devices without values (fake kernels). They are in Python, because torch refuses arguments on two
# devices to a fake kernel in C++ (the key Meta). An op must be registered before its fake is: so not earlier.
_autograd = torch.library.Library("mixed_r1", "IMPL", "Autograd")  # type: ignore[no-untyped-call]
for _op in ("bmas", "box_iou", "group_advantages", "match_boxes"):
    import_module(f"mixed_r1_kernels.{_op}.torch_fake")
# No gradient, and no result claims one: autograd is passed by.
for _name in ("bmas", "box_iou", "group_advantages", "match_boxes", "paired_box_iou"):
    _autograd.impl(_name, torch.library.fallthrough_kernel)  # type: ignore[no-untyped-call]
