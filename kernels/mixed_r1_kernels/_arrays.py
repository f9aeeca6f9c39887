"""Taking ndarrays and torch tensors alike, and giving back what was given, without importing torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["contiguous", "is_tensor", "like", "to_numpy"]


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(name: str, value: Any) -> np.ndarray:
    """``value`` as an ndarray: the same memory for an ndarray or a CPU tensor; bfloat16 is widened to
    float32.

    Raises:
        TypeError: neither an ndarray nor a torch tensor.
    """
    if isinstance(value, np.ndarray):
        return value
    if not is_tensor(value):
        raise TypeError(f"{name} must be an ndarray or a torch tensor, got {type(value).__name__}")
    tensor = value.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    return np.asarray(tensor.numpy())


def like(array: np.ndarray, template: Any) -> Any:
    """``array`` as it is, or as a tensor on the device of ``template`` where that is a tensor."""
    if not is_tensor(template):
        return array
    return sys.modules["torch"].from_numpy(array).to(template.device)


def contiguous(array: np.ndarray, dtype: Any) -> np.ndarray:
    """``array`` as compiled code takes it: C order, aligned, native byte order; a copy only where needed."""
    return np.require(array, dtype=dtype, requirements=("C", "A"))
