"""Run where a wheel was installed: the compiled module works, from the wheel and with NumPy alone."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np

import mixed_r1_kernels
from mixed_r1_kernels import EmbeddingTable, _native, bmas, box_iou, group_advantages

ROOT = Path(__file__).resolve().parents[1]

assert importlib.util.find_spec("torch") is None, "this environment has torch: it shows nothing"
assert not Path(mixed_r1_kernels.__file__).is_relative_to(ROOT), mixed_r1_kernels.__file__
table = EmbeddingTable(np.eye(3, dtype=np.float32))
assert bmas([[0, 1]], [[1, 2]], table, impl="native").score == 0.5
boxes = np.array([[0, 0, 2, 2], [1, 0, 3, 2]], np.float32)
assert abs(box_iou(boxes, boxes, impl="native")[0, 1] - 1 / 3) < 1e-6
assert group_advantages(np.full(12, 0.7, np.float32), 12, impl="native").tolist() == [0.0] * 12
print(f"ok: Python {sys.version.split()[0]}, NumPy {np.__version__}, {_native.isa()}")
