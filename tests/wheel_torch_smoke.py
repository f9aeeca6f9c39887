"""Run where the wheel was installed beside a torch: the torch ops are there, for both devices, run on CPU
tensors, compile, and pass autograd by. Needs no GPU; where there is one, the CUDA kernels run too."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

import mixed_r1_kernels
from mixed_r1_kernels import EmbeddingTable, bmas, box_iou, ops

ROOT = Path(__file__).resolve().parents[1]

assert not Path(mixed_r1_kernels.__file__).is_relative_to(ROOT), mixed_r1_kernels.__file__
found = torch.ops.mixed_r1
on_a_gpu = ("box_iou", "paired_box_iou", "group_advantages", "bmas")
for op in (*on_a_gpu, "match_boxes"):
    for key in ("CPU", *(["CUDA"] if ops.has_cuda and op in on_a_gpu else [])):
        assert torch._C._dispatch_has_kernel_for_dispatch_key(f"mixed_r1::{op}", key), (op, key)
boxes = torch.tensor([[0.0, 0, 2, 2], [1, 0, 3, 2]])
table = EmbeddingTable(np.eye(3, dtype=np.float32))
devices = ["cpu", *(["cuda"] if ops.has_cuda and torch.cuda.is_available() else [])]
for device in devices:
    moved = boxes.to(device)
    assert torch.allclose(found.box_iou(moved, moved), box_iou(boxes, boxes).to(device))
    assert not found.box_iou(moved.clone().requires_grad_(), moved).requires_grad
    rewards, one = torch.tensor([[1.0], [0.0]]).double().to(device), torch.ones(1).double().to(device)
    assert found.group_advantages(rewards, torch.tensor([2]), one)[0] > 0.7
    ids, offsets, pairs = torch.tensor([0, 1]), torch.tensor([0, 2]), torch.tensor([0])
    rows = [tensor.to(device) for tensor in table.tensors()]
    precision, recall = found.bmas(*rows, ids, offsets, ids + 1, offsets, pairs)
    assert precision.tolist() == recall.tolist() == [0.5]
target, iou, total = found.match_boxes(boxes, boxes.flip(0), torch.tensor([2]), torch.tensor([2]))
assert target.tolist() == [1, 0] and iou.tolist() == [1, 1] and total.tolist() == [2]
try:
    found.box_iou(boxes, boxes, "siou")
except RuntimeError as error:
    assert str(error) == "kind must be a known name, got 'siou'", error
else:
    raise AssertionError("an unknown kind must be refused")
if "compile" in sys.argv:
    score = torch.compile(lambda a: found.box_iou(a, a).sum(), fullgraph=True)
    assert torch.allclose(score(boxes), box_iou(boxes, boxes).sum())
if "cuda" in devices:
    assert bmas([[0, 1]], [[1, 2]], table.to("cuda"), impl="cuda").score == 0.5
cuda = "with CUDA" if ops.has_cuda else "without CUDA"
print(f"ok: Python {sys.version.split()[0]}, torch {torch.__version__}, {cuda}, on {' and '.join(devices)}")
