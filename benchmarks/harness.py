"""Measuring: correctness first, then time in turns, so that a slow moment of the machine falls on every
contender alike."""

from __future__ import annotations

import ctypes
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.bars import Bar, Measurement, Verdict, bar_lines

__all__ = [
    "Case",
    "Contender",
    "Growth",
    "Measurement",
    "hardware",
    "keep_pages",
    "measure",
    "print_scaling",
    "print_table",
    "versions",
    "write_records",
]

ROOT = Path(__file__).resolve().parents[1]
_PACKAGES = (
    "numpy",
    "torch",
    "triton",
    "numkong",
    "torchmetrics",
    "bert-score",
    "trl",
    "liger-kernel",
    "pycocotools",
    "powerboxes",
    "scipy",
    "transformers",
)


@dataclass(frozen=True)
class Contender:
    """One way to compute a case's result. ``tolerance`` bounds its error where it is ours; a peer's error is
    only shown. ``error`` replaces the case's where this one is given another input."""

    name: str
    run: Callable[[], Any]
    is_peer: bool = False
    tolerance: float | None = None
    error: Callable[[Any], float] | None = None


@dataclass(frozen=True)
class Case:
    """One input. ``work`` is counted by ``formula`` in units of 1e9 (``unit`` is GFLOP/s or GB/s)."""

    name: str
    contenders: Sequence[Contender]
    error: Callable[[Any], float]  # of a contender's result, against the oracle
    work: float
    unit: str
    formula: str
    parameters: dict[str, Any] = field(default_factory=dict)
    synchronize: Callable[[], None] | None = None  # for devices that run behind the caller
    bars: Sequence[Bar] = ()


def measure(case: Case, *, clock: str, seconds: float, max_rounds: int = 200) -> list[Measurement]:
    """Check every contender, then time them in turns for about ``seconds`` each.

    Raises:
        AssertionError: one of ours is beyond its tolerance: a fast wrong result is not measured.
    """
    errors = []
    for contender in case.contenders:
        error = (contender.error or case.error)(contender.run())
        if contender.tolerance is not None and not error <= contender.tolerance:
            raise AssertionError(
                f"{case.name}: {contender.name} must err by <= {contender.tolerance}, got {error}"
            )
        errors.append(error)
    peaks = [_peak_bytes(contender.run) for contender in case.contenders]
    wall: list[list[float]] = [[] for _ in case.contenders]
    cpu: list[list[float]] = [[] for _ in case.contenders]
    for _ in range(max_rounds):
        waiting = [i for i, times in enumerate(wall) if sum(times) < seconds or len(times) < 3]
        if not waiting:
            break
        for i in waiting:
            started, started_cpu = time.perf_counter(), time.process_time()
            case.contenders[i].run()
            if case.synchronize is not None:
                case.synchronize()
            wall[i].append(time.perf_counter() - started)
            cpu[i].append(time.process_time() - started_cpu)
    times = cpu if clock == "cpu" else wall
    return [
        Measurement(
            name=contender.name,
            is_peer=contender.is_peer,
            error=errors[i],
            median=statistics.median(times[i]),
            p20=_quantile(times[i], 0.2),
            p80=_quantile(times[i], 0.8),
            clock=clock,
            wall_median=statistics.median(wall[i]),
            rounds=len(wall[i]),
            peak_bytes=peaks[i],
        )
        for i, contender in enumerate(case.contenders)
    ]


def keep_pages() -> None:
    """Let glibc keep what is freed, for every contender alike, as it does in a process that has run for long.

    Left to itself it gives large blocks back in one process and not in another, and the kernel's zeroing of
    the next ones is then most of a short call's time: 9 or 27 ms for torch's IoU of 1000 x 1000 boxes.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # not glibc
        return
    trim_threshold, mmap_threshold = -1, -3
    mallopt(mmap_threshold, 32 << 20)  # the most it takes
    mallopt(trim_threshold, 1 << 30)


def _quantile(values: list[float], fraction: float) -> float:
    return sorted(values)[round(fraction * (len(values) - 1))]


def _peak_bytes(run: Callable[[], Any]) -> int | None:
    """Growth of the process's peak resident memory during one call; None where the kernel does not tell.

    What earlier calls freed is given back first, or a call that gets it again would seem to need nothing.
    """
    gc.collect()
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except (AttributeError, OSError):  # not glibc: a lower bound
        pass
    try:
        Path("/proc/self/clear_refs").write_text("5")  # sets the peak to the present size
        before = _status_bytes("VmRSS")
        run()
        return max(0, _status_bytes("VmHWM") - before)
    except OSError:
        return None


def _status_bytes(key: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) * 1024
    raise OSError(f"/proc/self/status has no {key}")


def hardware() -> dict[str, Any]:
    """Processor, cores and instruction set, without the machine's name."""
    from mixed_r1_kernels import _native

    model = platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(
            (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), model
        )
    found: dict[str, Any] = {"cpu": model, "cores": len(os.sched_getaffinity(0)), "isa": _native.isa()}
    try:
        import torch

        if torch.cuda.is_available():
            found["gpu"] = torch.cuda.get_device_name()
    except ImportError:
        pass
    return found


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def commit() -> str:
    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True)
        except FileNotFoundError:  # a copy of the files, on a machine without git
            return ""
        return done.stdout.strip() if done.returncode == 0 else ""

    changed = git("status", "--porcelain", "--", "csrc", "kernels", "setup.py", "benchmarks/*.py")
    return (git("rev-parse", "--short", "HEAD") or "unknown") + ("+changes" if changed else "")


def _records(
    op: str, case: Case, measurements: Sequence[Measurement], found: Sequence[Verdict], threads: int
) -> Iterator[dict[str, Any]]:
    shared = {
        "op": op,
        "case": case.name,
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "threads": threads,
        "parameters": case.parameters,
        "formula": case.formula,
        "hardware": hardware(),
        "versions": versions(),
    }
    for one in measurements:
        ratios = {
            peer.name: round(peer.median / one.median, 4)
            for peer in measurements
            if peer.is_peer and peer.name != one.name
        }
        yield shared | {
            "name": one.name,
            "is_peer": one.is_peer,
            "error": one.error,
            "median_ms": one.median * 1e3,
            "p20_ms": one.p20 * 1e3,
            "p80_ms": one.p80 * 1e3,
            "clock": one.clock,
            "wall_median_ms": one.wall_median * 1e3,
            "rounds": one.rounds,
            case.unit: case.work / one.median / 1e9,
            "peak_bytes": one.peak_bytes,
            "times_faster_than": ratios,
        }
    yield from (shared | one.record() for one in found)


def write_records(
    path: Path,
    op: str,
    case: Case,
    measurements: Sequence[Measurement],
    threads: int,
    found: Sequence[Verdict] = (),
) -> None:
    """Append one JSON line per contender, then one per bar."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        for record in _records(op, case, measurements, found, threads):
            file.write(json.dumps(record) + "\n")


def print_table(case: Case, measurements: Sequence[Measurement], found: Sequence[Verdict] = ()) -> None:
    """One line per contender, the last column its median over that of the first of ours; then the bars."""
    own = next((one for one in measurements if not one.is_peer), measurements[0])
    print(f"\n{case.name}  ({case.formula})")
    times = "".join(f"{title:>13}" for title in ("median", "p20", "p80", "wall"))
    print(f"  {'':36}{'error':>9}{times}{case.unit:>10}{'peak':>9}{'x':>8}")
    for one in measurements:
        times = "".join(
            f"{value * 1e3:>10.3f} ms" for value in (one.median, one.p20, one.p80, one.wall_median)
        )
        peak = "-" if one.peak_bytes is None else f"{one.peak_bytes / 2**20:.0f} MB"
        rate = case.work / one.median / 1e9
        print(f"  {one.name:36}{one.error:>9.1e}{times}{rate:>10.4g}{peak:>9}{one.median / own.median:>8.2f}")
    for line in bar_lines(found):
        print(line)


class Growth(NamedTuple):
    """What a line of the scaling table needs of a case, which holds its inputs and is let go."""

    name: str
    unit: str
    work: float
    measurements: Sequence[Measurement]


def print_scaling(rows: Sequence[Growth]) -> None:
    """How the first of ours grows over the cases, and how many times slower each peer is, as Markdown."""
    peers = list(dict.fromkeys(one.name for row in rows for one in row.measurements if one.is_peer))
    print("\n| case | " + " | ".join(["ms", rows[0].unit, "peak MiB", *peers]) + " |")
    print("|---" * (4 + len(peers)) + "|")
    for name, _, work, measurements in rows:
        own = next(one for one in measurements if not one.is_peer)
        slower = {one.name: f"{one.median / own.median:.3g}" for one in measurements}
        cells = [name, f"{own.median * 1e3:.4g}", f"{work / own.median / 1e9:.3g}"]
        cells.append("-" if own.peak_bytes is None else f"{own.peak_bytes / 2**20:.0f}")
        print("| " + " | ".join([*cells, *(slower.get(peer, "-") for peer in peers)]) + " |")
