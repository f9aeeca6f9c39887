"""Choosing the implementation of an op: "auto" chooses, an explicit name never falls back."""

from __future__ import annotations

import importlib
import importlib.util
import operator
import os
import sys
import warnings
from collections.abc import Collection
from functools import cache
from types import ModuleType
from typing import Any

__all__ = ["IMPLS", "ImplUnavailable", "device_of", "missing", "native", "resolve", "thread_count"]

IMPLS = ("reference", "native", "chunked", "triton", "cuda")
_AUTO_ORDER = {
    "cpu": ("native", "chunked", "reference"),
    "cuda": ("triton", "cuda", "chunked", "reference"),
}
_BUILD_NATIVE = "python setup.py build_ext --inplace"
_BUILD_CUDA = "MIXED_R1_TORCH_OPS=1 MIXED_R1_CUDA=1 python setup.py build_ext --inplace"
_MAX_THREADS = 1024  # kMaxThreads of csrc/core/thread_pool.h
_INSTALL_TRITON = "pip install 'mixed-r1[triton]'"


class ImplUnavailable(RuntimeError):  # noqa: N818 (the public name)
    """The implementation asked for cannot run here; the message says what is missing and how to get it."""


def resolve(impl: str, *, op: str, implemented: Collection[str], device: str = "cpu") -> str:
    """The implementation to run: one of ``implemented``.

    ``impl="auto"`` takes ``MIXED_R1_IMPL`` where that is set and ``op`` implements it, else the first of
    native, chunked, reference (CPU) or triton, cuda, chunked, reference (CUDA) that ``op`` implements and
    that can run here. Any other name is checked and returned as it is.

    Raises:
        ValueError: ``impl`` (or ``MIXED_R1_IMPL``) is not a known name.
        ImplUnavailable: a named implementation does not exist for ``op``, is not built, or cannot use
            ``device``.
    """
    source = "impl"
    if impl == "auto":
        chosen = os.environ.get("MIXED_R1_IMPL", "") or "auto"
        if chosen == "auto" or (chosen in IMPLS and chosen not in implemented):
            return _automatic(implemented, device)
        impl, source = chosen, "MIXED_R1_IMPL"
    if impl not in IMPLS:
        raise ValueError(f"{source} must be one of {('auto', *IMPLS)}, got {impl!r}")
    if impl not in implemented:
        raise ImplUnavailable(f"{source} must be one of {tuple(implemented)} for {op}, got {impl!r}")
    reason = missing(impl, device)
    if reason is not None:
        raise ImplUnavailable(f"{source}={impl!r} cannot run {op}: {reason}")
    return impl


def _automatic(implemented: Collection[str], device: str) -> str:
    for name in _AUTO_ORDER[device]:
        if name in implemented and missing(name, device) is None:
            if name == "reference" and "native" in implemented and device == "cpu":
                _warn_slow()
            return name
    return "reference"


@cache
def _warn_slow() -> None:
    reason = missing("native")
    warnings.warn(f"using the slow float64 reference: {reason}", RuntimeWarning, stacklevel=4)


def missing(impl: str, device: str = "cpu") -> str | None:
    """What ``impl`` lacks to run on ``device``, with the command that provides it; None where it can run."""
    if impl == "native":
        if device != "cpu":
            return f"it takes CPU arrays, got device {device!r}"
        if _find("mixed_r1_kernels._native") is None:
            return f"mixed_r1_kernels._native is not built; build it with: {_BUILD_NATIVE}"
    elif impl == "chunked":
        if _find("torch") is None:
            return "torch not installed; install with: pip install torch"
    elif impl == "triton":
        lacking = [name for name in ("torch", "triton") if _find(name) is None]
        if lacking:
            return f"{' and '.join(lacking)} not installed; install with: {_INSTALL_TRITON}"
        if device != "cuda" and os.environ.get("TRITON_INTERPRET", "0") != "1":
            return "it takes CUDA tensors (or TRITON_INTERPRET=1, to run its kernels on the CPU in tests)"
    elif impl == "cuda":
        try:
            built = _module("mixed_r1_kernels.ops").has_cuda
        except ImplUnavailable as error:  # not built, or built for another torch
            return f"{error} (with CUDA: {_BUILD_CUDA})"
        if not built:
            return f"mixed_r1_kernels._torch_ops is not built with CUDA; build it with: {_BUILD_CUDA}"
        if device != "cuda":
            return f"it takes CUDA tensors, got device {device!r}"
    return None


def native() -> Any:
    """The compiled NumPy module.

    Raises:
        ImplUnavailable: it is not built, or was built for something else (the import error is the cause).
    """
    return _module("mixed_r1_kernels._native")


@cache
def _module(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ImplUnavailable(
            f"{name} cannot be imported ({error}); build it with: {_BUILD_NATIVE}"
        ) from error


@cache
def _find(name: str) -> object | None:
    return importlib.util.find_spec(name)


def thread_count(num_threads: int | None) -> int:
    """``num_threads``, or for None OMP_NUM_THREADS where it is set, else the cores this process may run on;
    1024 at most.

    Raises:
        ValueError: not a positive integer.
    """
    if num_threads is None:
        setting = os.environ.get("OMP_NUM_THREADS", "")
        num_threads = int(setting) if setting.isdigit() and int(setting) > 0 else len(os.sched_getaffinity(0))
    whole = hasattr(num_threads, "__index__") and not isinstance(num_threads, bool)
    if not whole or operator.index(num_threads) < 1:
        raise ValueError(f"num_threads must be a positive integer, got {num_threads!r}")
    return min(operator.index(num_threads), _MAX_THREADS)


def device_of(*arrays: Any) -> str:
    """ "cuda" if the torch tensors among ``arrays`` are on a GPU, else "cpu". Never imports torch.

    Raises:
        ValueError: tensors on different devices, or on a device that is neither.
    """
    torch = sys.modules.get("torch")
    devices = {a.device.type for a in arrays if torch is not None and isinstance(a, torch.Tensor)} or {"cpu"}
    if len(devices) > 1 or not devices <= {"cpu", "cuda"}:
        raise ValueError(f"arrays must be on one device, cpu or cuda, got {sorted(devices)}")
    return devices.pop()
