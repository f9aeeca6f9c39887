"""Memory checks in Triton's interpreter: what a kernel reads or writes lies in a tensor that it was given.

A pytest plugin (-p interpreter_red_zones) for device_*.py. Each tensor of a launch is a zone, even where it
is a view of a larger one; an address outside all zones, or not aligned to its element, is an error. So is an
atomic: no result may depend on an order. torch.empty gives NaN, so that a value never written shows.

Products of blocks are taken in float64 and rounded once. On a GPU a row's product does not depend on the
other rows of its block; that of a BLAS in float32 does on some CPUs, in its last bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from unittest import mock

import numpy as np
import torch
from triton.runtime import interpreter

__all__ = ["OutOfZoneError"]


class OutOfZoneError(RuntimeError):
    """A kernel touched memory that is not in its tensors."""


class Zones:
    """Ranges of addresses [begin, end), disjoint and ascending."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        ranges = sorted(map(address_range, tensors))
        merged: list[list[int]] = []
        for begin, end in ranges:
            if merged and begin < merged[-1][1]:
                merged[-1][1] = max(merged[-1][1], end)
            else:
                merged.append([begin, end])
        self.begins, self.ends = np.array(merged, np.uint64).reshape(-1, 2).T

    def require(self, addresses: np.ndarray, item_bytes: int, verb: str) -> None:
        zone = np.searchsorted(self.begins, addresses, side="right") - 1
        inside = zone >= 0
        inside[inside] = addresses[inside] + np.uint64(item_bytes) <= self.ends[zone[inside]]
        if not inside.all():
            bad = int(addresses[~inside][0])
            known = [(hex(int(b)), hex(int(e))) for b, e in zip(self.begins, self.ends, strict=True)]
            raise OutOfZoneError(f"a kernel {verb} {item_bytes} bytes at {bad:#x}, outside of {known}")
        if (addresses % np.uint64(item_bytes)).any():
            raise OutOfZoneError(
                f"a kernel {verb} {item_bytes} bytes at an address that is not aligned to them"
            )


def address_range(tensor: torch.Tensor) -> tuple[int, int]:
    begin = tensor.data_ptr()
    if not tensor.numel():
        return begin, begin
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return begin, begin + (last + 1) * tensor.element_size()


def product(a: np.ndarray, b: np.ndarray, dtype: Any) -> np.ndarray:
    return (a.astype(np.float64) @ b.astype(np.float64)).astype(dtype)


def install() -> None:
    executor, builder = interpreter.GridExecutor, interpreter.InterpreterBuilder
    multiply = builder.create_dot

    def create_dot(self: Any, *operands: Any) -> Any:
        with mock.patch.object(np, "matmul", product):
            return multiply(self, *operands)

    builder.create_dot = create_dot
    zones = Zones([])
    init, restore = executor._init_args_hst, executor._restore_args_dev

    def init_arguments(self: Any, arguments: Any, keywords: Any) -> Any:
        nonlocal zones
        positional, named = init(self, arguments, keywords)
        zones = Zones(x for x in (*positional, *named.values()) if isinstance(x, torch.Tensor))
        return positional, named

    def restore_arguments(self: Any, arguments: Any, host: Any, keywords: Any, host_keywords: Any) -> None:
        """CPU tensors are their own copies; to copy them would touch all of a virtual one."""
        if any(isinstance(x, torch.Tensor) and x.device.type != "cpu" for x in arguments):
            restore(self, arguments, host, keywords, host_keywords)

    def checked(access: Callable[..., Any], verb: str, mask_at: int) -> Callable[..., Any]:
        def run(self: Any, pointers: Any, *rest: Any) -> Any:
            item_bytes = pointers.get_element_ty().primitive_bitwidth // 8
            addresses = np.asarray(pointers.data, np.uint64)
            active = np.broadcast_to(np.asarray(rest[mask_at].data, bool), addresses.shape)
            zones.require(addresses[active], max(item_bytes, 1), verb)
            return access(self, pointers, *rest)

        return run

    def no_atomics(self: Any, *_: Any) -> Any:
        raise OutOfZoneError("a kernel uses an atomic")

    executor._init_args_hst = init_arguments
    executor._restore_args_dev = restore_arguments
    builder.create_masked_load = checked(builder.create_masked_load, "reads", 0)
    builder.create_masked_store = checked(builder.create_masked_store, "writes", 1)
    builder.create_atomic_cas = builder.create_atomic_rmw = no_atomics


install()
torch.use_deterministic_algorithms(True)
torch.utils.deterministic.fill_uninitialized_memory = True
