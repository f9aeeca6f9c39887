"""Times of calls on a GPU: what the device needs, beside what the caller waits, beside the least it could be.

``device_seconds`` replays a CUDA graph of the call between events, with a cold L2 cache. A call that asks the
host for something cannot be a graph: there the profiler's times of its kernels and copies are added up. The
floor of a case is its bytes over the bandwidth or its operations over the rate, whichever takes longer, both
measured in the same process (``measure_ceilings``).

On a CPU (the dry run) there is no device time; everything else is the same.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

import torch

__all__ = ["Ceilings", "GpuCase", "GpuContender", "measure_case", "measure_ceilings", "table_line"]

_L2_BYTES = 256 << 20  # several times the largest L2 cache


class Ceilings(NamedTuple):
    bytes_per_second: float  # of a copy, read and written counted
    flops_per_second: float  # of a bfloat16 product (float32 on a CPU)


@dataclass(frozen=True)
class GpuContender:
    """One way to compute a case's result. ``tolerance`` bounds its error where it is ours."""

    name: str
    run: Callable[[], Any]
    is_peer: bool = False
    tolerance: float | None = None
    asks_host: bool = False  # copies from or to the host, or reads a value back


@dataclass(frozen=True)
class GpuCase:
    """One input. ``least_bytes`` and ``least_flops`` (``formula``) are what no way can do without."""

    name: str
    contenders: Sequence[GpuContender]
    error: Callable[[Any], float]
    least_bytes: float
    least_flops: float
    formula: str
    parameters: dict[str, Any] = field(default_factory=dict)


@dataclass
class Timing:
    case: str
    name: str
    is_peer: bool
    failure: str | None = None  # why there is no time
    error: float | None = None
    call_ms: float | None = None  # median of the caller's clock, the device waited for
    device_ms: float | None = None
    device_clock: str | None = None  # "graph" or "profiler"
    kernels_ms: dict[str, float] | None = None  # the longest, where the profiler was asked
    floor_ms: float | None = None
    share_of_floor: float | None = None  # floor over device time, or over the call's where there is none
    peak_bytes: int | None = None


def measure_ceilings(device: str) -> Ceilings:
    on_gpu = device == "cuda"
    source = torch.empty(1 << (31 if on_gpu else 24), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    size, dtype = (8192, torch.bfloat16) if on_gpu else (512, torch.float32)
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    copy = _plain_seconds(lambda: target.copy_(source), device)
    product = _plain_seconds(lambda: a @ b, device)
    return Ceilings(2.0 * source.numel() / copy, 2.0 * size**3 / product)


def _plain_seconds(run: Callable[[], Any], device: str) -> float:
    """The median of ten calls, by events where there is a GPU, after three."""
    for _ in range(3):
        run()
    if device != "cuda":
        return statistics.median(_call_seconds(run, device, 0.0, 10))
    times = []
    for _ in range(10):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end) / 1e3)
    return statistics.median(times)


def measure_case(
    case: GpuCase, *, device: str, ceilings: Ceilings, seconds: float = 0.3
) -> Iterator[dict[str, Any]]:
    """One record for each contender, as soon as it is measured. What fails, or errs, has no time."""
    floor = max(case.least_bytes / ceilings.bytes_per_second, case.least_flops / ceilings.flops_per_second)
    for contender in case.contenders:
        timing = Timing(case.name, contender.name, contender.is_peer, floor_ms=floor * 1e3)
        try:
            _measure(case, contender, timing, device, seconds)
        except Exception as error:  # of any kind: it must not cost the others their times
            timing.failure = f"{type(error).__name__}: {str(error)[:500]}"
        measured = timing.device_ms or timing.call_ms
        if measured:
            timing.share_of_floor = floor * 1e3 / measured
        yield asdict(timing) | {"formula": case.formula, "parameters": case.parameters}


def _measure(case: GpuCase, contender: GpuContender, timing: Timing, device: str, seconds: float) -> None:
    timing.error = case.error(contender.run())
    if contender.tolerance is not None and not timing.error <= contender.tolerance:
        timing.failure = f"it must err by <= {contender.tolerance:.3g}, got {timing.error:.3g}"
        return
    if device == "cuda":
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        contender.run()
        torch.cuda.synchronize()
        timing.peak_bytes = torch.cuda.max_memory_allocated() - before
    timing.call_ms = statistics.median(_call_seconds(contender.run, device, seconds, 3)) * 1e3
    if device == "cuda":
        _measure_device(contender, timing, seconds)


def _measure_device(contender: GpuContender, timing: Timing, seconds: float) -> None:
    timing.device_clock = "profiler"
    if not contender.asks_host:
        try:
            timing.device_ms, timing.device_clock = _graph_ms(contender.run, seconds), "graph"
            return
        except RuntimeError as error:  # a peer that asks the host after all
            timing.device_clock = f"profiler (no graph: {str(error)[:100]})"
    timing.device_ms, timing.kernels_ms = _profiler_ms(contender.run)


def _call_seconds(run: Callable[[], Any], device: str, seconds: float, least: int) -> list[float]:
    times: list[float] = []
    while len(times) < least or (sum(times) < seconds and len(times) < 1000):
        started = time.perf_counter()
        run()
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    return times


def _graph_ms(run: Callable[[], Any], seconds: float) -> float:
    """The median of replays, each after a write that leaves nothing of the inputs in the L2 cache."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            run()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = run()  # kept: its memory is the graph's
    cold = torch.empty(_L2_BYTES, dtype=torch.uint8, device="cuda")
    times: list[float] = []
    while len(times) < 5 or (sum(times) < seconds * 1e3 and len(times) < 100):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        cold.zero_()
        start.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        times.append(start.elapsed_time(end))
    del result
    return statistics.median(times)


def _profiler_ms(run: Callable[[], Any]) -> tuple[float, dict[str, float]]:
    """What the device spent on a call, and on the longest of its kernels and copies; means of ten calls."""
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    repeats = 10
    with profile(activities=[ProfilerActivity.CUDA]) as profiled:
        for _ in range(repeats):
            run()
        torch.cuda.synchronize()
    spent: dict[str, float] = {}
    for event in profiled.events():
        if event.device_type == DeviceType.CUDA:
            spent[event.name] = spent.get(event.name, 0.0) + event.time_range.elapsed_us() / 1e3 / repeats
    if not spent:
        raise RuntimeError("the profiler saw no kernel")
    longest = sorted(spent.items(), key=lambda item: -item[1])[:8]
    return sum(spent.values()), {name[:80]: round(value, 5) for name, value in longest}


def table_line(record: dict[str, Any]) -> str:
    if record["failure"] is not None:
        return f"  {record['name']:40} {record['failure']}"

    def number(value: float | None, scale: float = 1.0) -> str:
        return "-".rjust(10) if value is None else f"{value * scale:10.4g}"

    fields = [number(record[key]) for key in ("device_ms", "call_ms", "floor_ms")]
    share, peak = number(record["share_of_floor"], 100.0), number(record["peak_bytes"], 2.0**-20)
    return f"  {record['name']:40}{''.join(fields)}{share}%{peak}{record['error']:10.1e}"
