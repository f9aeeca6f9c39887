"""A pytest plugin: launches of Triton kernels are compiled for sm_90 and not run, on a machine without a GPU.

    python -m pytest -p compile_launches device_bmas.py    (LAUNCHES=FILE, TRITON_INTERPRET not set)

A driver that has no device stands in for Triton's. What the tests then find in their results means nothing,
so no outcome of a test counts; FILE gets, as JSON, every launch that was compiled, with what ptxas says of
it, and every one that could not be.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from triton.backends.compiler import GPUTarget
from triton.runtime import JITFunction, driver
from triton_compile import modules, resources

CAPABILITY = 90
MAX_SHARED = 227 * 1024
compiled: dict[str, dict[str, Any]] = {}
failures: list[str] = []


def no_device() -> SimpleNamespace:
    """What Triton asks of a driver; a launch does nothing."""
    utils = SimpleNamespace(
        get_device_properties=lambda device: {"max_shared_mem": MAX_SHARED, "multiprocessor_count": 132},
        load_binary=lambda name, binary, shared, device: (None, 0, 0, 0, 1024),
    )
    return SimpleNamespace(
        utils=utils,
        launcher_cls=lambda source, metadata: lambda *arguments, **keywords: None,
        get_current_target=lambda: GPUTarget("cuda", CAPABILITY, 32),
        get_current_device=lambda: 0,
        get_current_stream=lambda device: 0,
    )


def pytest_configure() -> None:
    assert os.environ.get("TRITON_INTERPRET", "0") != "1"
    modules()  # kernels are compiled ones only if they are made before the variable is set
    os.environ["TRITON_INTERPRET"] = "1"  # the tests take CPU tensors
    driver.set_active(no_device())
    run = JITFunction.run

    def compile_only(self: Any, *arguments: Any, **keywords: Any) -> Any:
        if "UPCAST" in keywords:
            keywords["UPCAST"] = False  # only the interpreter needs it
        try:
            kernel = run(self, *arguments, **keywords)
        except Exception as error:
            failures.append(f"{self.__name__}: {type(error).__name__}: {str(error)[:500]}")
            raise
        if kernel.hash not in compiled:
            ptx = kernel.asm["ptx"]
            found = {"kernel": self.__name__, "shared": kernel.metadata.shared, **resources(ptx)}
            compiled[kernel.hash] = found | {"dots": "wgmma.mma_async" in ptx}
        return kernel

    JITFunction.run = compile_only


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    try:
        yield
    except Exception:
        pass


def pytest_sessionfinish() -> None:
    report = {"compiled": list(compiled.values()), "failures": failures}
    Path(os.environ["LAUNCHES"]).write_text(json.dumps(report), encoding="utf-8")
