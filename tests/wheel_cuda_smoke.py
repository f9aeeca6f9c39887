"""Run where a wheel with CUDA was installed beside its torch: the torch ops are there, for both devices, and
run on CPU tensors. Needs no GPU; where there is one, the CUDA kernels run too."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

import numpy as np
import torch

import mixed_r1_kernels
from mixed_r1_kernels import EmbeddingTable, bmas, box_iou, ops

ROOT = Path(__file__).resolve().parents[1]

assert not Path(mixed_r1_kernels.__file__).is_relative_to(ROOT), mixed_r1_kernels.__file__
assert ops.has_cuda
torch_version = ".".join(torch.__version__.split(".")[:2])
assert version("mixed-r1").endswith(f"+cu{torch.version.cuda.replace('.', '')}.torch{torch_version}")
for op in ("box_iou", "paired_box_iou", "group_advantages", "bmas"):
    for key in ("CPU", "CUDA"):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"mixed_r1::{op}", key), (op, key)
boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2]])
table = EmbeddingTable(np.eye(3, dtype=np.float32))
devices = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
for device in devices:
    moved = boxes.to(device)
    assert torch.allclose(torch.ops.mixed_r1.box_iou(moved, moved), box_iou(boxes, boxes).to(device))
    rewards, one = torch.tensor([[1.0], [0.0]]).double().to(device), torch.ones(1).double().to(device)
    assert torch.ops.mixed_r1.group_advantages(rewards, torch.tensor([2]), one)[0] > 0.7
if "cuda" in devices:
    assert bmas([[0, 1]], [[1, 2]], table.to("cuda"), impl="cuda").score == 0.5
print(f"ok: mixed-r1 {version('mixed-r1')}, torch {torch.__version__}, {' and '.join(devices)}")
