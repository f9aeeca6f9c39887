"""``mixed-r1 doctor``: what is here, what is missing, and the command that brings it."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

import mixed_r1_kernels._impl as implementations

__all__ = ["Finding", "findings", "show_doctor"]

_PACKAGES = ("numpy", "torch", "transformers", "triton", "deepspeed", "peft", "vllm", "trl")
_TOOLS = ("nvcc", "g++")


class Finding(NamedTuple):
    """One line: ``good`` is None where the thing is optional and absent."""

    section: str
    name: str
    good: bool | None
    detail: str


def findings() -> Iterator[Finding]:
    """Everything the command prints."""
    yield Finding("machine", "python", True, f"{platform.python_version()} on {platform.platform()}")
    yield Finding("machine", "cpu", True, f"{_cpu_name()}, {len(os.sched_getaffinity(0))} usable threads")
    yield _gpu()
    yield from _kernels()
    for name in ("mixed-r1", *_PACKAGES):
        found = _version(name)
        yield Finding("packages", name, True if found else None, found or "not installed")
    for name in _TOOLS:
        detail = _tool_version(name)
        yield Finding("tools", name, True if detail else None, detail or "not found")


def show_doctor(console: Console) -> None:
    table = Table(box=None, show_header=False, pad_edge=False)
    section = None
    for finding in findings():
        if finding.section != section:
            if section is not None:
                table.add_row()
            section = finding.section
            table.add_row(f"[bold]{section}[/bold]")
        mark = {True: "[green]yes[/green]", False: "[red]no[/red]", None: "[dim]-[/dim]"}[finding.good]
        table.add_row(f"  {finding.name}", mark, _escaped(finding.detail))
    console.print(table)


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _kernels() -> Iterator[Finding]:
    for impl in implementations.IMPLS:
        needs_gpu = impl in ("triton", "cuda")
        reason = implementations.missing(impl, "cuda" if needs_gpu else "cpu")
        if reason is None and needs_gpu and not _gpu().good:
            reason = "installed, but there is no GPU to run it"
        good = True if reason is None else (False if impl == "native" else None)
        detail = reason or (_native_detail() if impl == "native" else "")
        yield Finding("kernels", impl, good, detail)
    for setting in ("MIXED_R1_IMPL", "MIXED_R1_ISA"):
        if os.environ.get(setting):
            yield Finding("kernels", setting, True, os.environ[setting])


def _native_detail() -> str:
    native = implementations.native()
    return f"instruction set {native.isa()}" if hasattr(native, "isa") else "built"


def _gpu() -> Finding:
    if _version("torch") is None:
        return Finding("machine", "gpu", None, "torch not installed")
    import torch

    if not torch.cuda.is_available():
        return Finding("machine", "gpu", None, "none that torch can use")
    devices = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    names = ", ".join(f"{d.name} ({d.total_memory / 2**30:.0f} GiB, sm_{d.major}{d.minor})" for d in devices)
    return Finding("machine", "gpu", True, names)


def _cpu_name() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _tool_version(name: str) -> str | None:
    path = shutil.which(name)
    if path is None:
        return None
    try:
        output = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=10, check=False
        ).stdout
    except (OSError, subprocess.SubprocessError) as error:
        return f"{path} ({error})"
    release = next((line for line in output.splitlines() if "release" in line), output.partition("\n")[0])
    return f"{release.strip()} ({path})"
