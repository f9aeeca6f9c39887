"""Taking ndarrays and torch tensors alike, and giving back what was given, without importing torch."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["boxes", "contiguous", "from_sequence", "is_tensor", "like", "require_dense", "to_numpy"]


def is_tensor(value: Any) -> bool:
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.Tensor)


def to_numpy(name: str, value: Any) -> np.ndarray:
    """``value`` as an ndarray: the same memory for an ndarray or a CPU tensor; bfloat16 is widened to
    float32.

    Raises:
        TypeError: neither an ndarray nor a torch tensor; a masked array; a tensor as ``require_dense`` says.
        ValueError: a tensor on a device without memory.
    """
    if isinstance(value, np.ndarray):
        if isinstance(value, np.ma.MaskedArray):  # its mask would be ignored without a word
            raise TypeError(f"{name} must be an ndarray without a mask, got {type(value).__name__}")
        # A subclass such as np.matrix has arithmetic of its own; a memmap has not.
        return value if type(value) in (np.ndarray, np.memmap) else value.view(np.ndarray)
    if not is_tensor(value):
        raise TypeError(f"{name} must be an ndarray or a torch tensor, got {type(value).__name__}")
    require_dense(name, value)
    tensor = value.detach().cpu()
    if str(tensor.dtype) == "torch.bfloat16":
        tensor = tensor.float()
    try:
        return np.asarray(tensor.resolve_conj().resolve_neg().numpy())
    except (RuntimeError, TypeError) as error:  # a fake tensor, one that vmap wraps, a type NumPy lacks
        raise TypeError(f"{name} must hold values that NumPy has, got {value.dtype} ({error})") from error


def from_sequence(name: str, value: Any) -> np.ndarray:
    """``to_numpy`` for arrays and tensors; any other sequence as the ndarray NumPy makes of it."""
    return to_numpy(name, value) if isinstance(value, np.ndarray) or is_tensor(value) else np.asarray(value)


def boxes(name: str, value: Any) -> np.ndarray:
    """``to_numpy`` of real numbers [N, 4].

    Raises:
        TypeError: as ``to_numpy`` says, or not of real numbers.
        ValueError: another shape.
    """
    array = to_numpy(name, value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"{name} must hold real numbers, got {array.dtype}")
    if array.ndim != 2 or array.shape[1] != 4:
        raise ValueError(f"{name} must have shape [N, 4], got {list(array.shape)}")
    return array


def require_dense(name: str, tensor: Any) -> None:
    """Refuse a tensor whose values do not lie in strided memory on a CPU or a GPU.

    Raises:
        TypeError: sparse, nested, quantized or in another library's layout.
        ValueError: on another device, such as meta.
    """
    torch = sys.modules["torch"]
    if tensor.is_nested or tensor.layout is not torch.strided or tensor.is_quantized:
        layout = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else tensor.layout
        raise TypeError(f"{name} must be a dense tensor, got {layout}")
    if tensor.device.type not in ("cpu", "cuda"):
        raise ValueError(f"{name} must be on cpu or cuda, got {tensor.device}")


def like(array: np.ndarray, template: Any) -> Any:
    """``array`` as it is, or as a tensor on the device of ``template`` where that is a tensor."""
    if not is_tensor(template):
        return array
    return sys.modules["torch"].from_numpy(array).to(template.device)


def contiguous(array: np.ndarray, dtype: Any) -> np.ndarray:
    """``array`` as compiled code takes it: C order, aligned, native byte order; a copy only where needed."""
    return np.require(array, dtype=dtype, requirements=("C", "A"))
