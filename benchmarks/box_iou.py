"""IoU of every pair of 1000 x 1000 boxes and of one pair, beside torch's formula, pycocotools and powerboxes.

A timing is of many calls in a row: one call alone mostly measures whether the allocator still holds the pages
of the last result. Ours has one thread; with two, torch and powerboxes use both.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.bars import Bar, Named, times_faster
from benchmarks.harness import Case, Contender
from mixed_r1_kernels import box_iou

THREADS = (1, 2)
STANDARD = [(1, 1), (1000, 1000)]
SCALING = [(1, 1), (4, 4), (16, 16), (100, 100), (1000, 1000), (3000, 3000)]
PAIRS = 100_000  # compared with pycocotools
PAIRS_PER_TIMING = 50_000_000


def cases(options: argparse.Namespace) -> Iterator[Case]:
    for rows, columns in SCALING if options.scaling else STANDARD:
        for dtype in (np.float32, np.float64):
            yield _case(rows, columns, dtype, "iou", options)
    if options.scaling:
        for kind in ("giou", "diou", "ciou"):
            yield _case(1000, 1000, np.float32, kind, options)


def random_boxes(count: int, dtype: Any, seed: int) -> np.ndarray:
    """Boxes on an image of 1000 x 1000 pixels, of all sizes."""
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2)) * 500
    return np.concatenate([corners, corners + rng.random((count, 2)) * 500], axis=1).astype(dtype)


def _case(rows: int, columns: int, dtype: Any, kind: str, options: argparse.Namespace) -> Case:
    a, b = random_boxes(rows, dtype, 0), random_boxes(columns, dtype, 1)
    expected = box_iou(a, b, kind=kind, impl="reference")
    calls = max(3, min(5000, PAIRS_PER_TIMING // (rows * columns)))

    def error(result: Any) -> float:
        return float(np.abs(np.asarray(result, dtype=np.float64) - expected).max())

    def repeated(call: Callable[[], Any], finish: Callable[[Any], Any] = np.asarray) -> Callable[[], Any]:
        def run() -> Any:
            for _ in range(calls - 1):
                call()
            return finish(call())

        return run

    # What a caller writes: impl is left at "auto" where that is what it chooses.
    contenders = [
        Contender(
            f"mixed_r1 {impl}",
            repeated(
                functools.partial(box_iou, a, b, kind=kind, **({} if impl == "native" else {"impl": impl}))
            ),
            tolerance=1e-6 if dtype == np.float32 else 1e-12,
        )
        for impl in options.impl
    ]
    if options.peers and kind == "iou":
        contenders += [
            Contender(name, repeated(*parts), is_peer=True) for name, *parts in peers(a, b, options.threads)
        ]
    judged = options.peers and options.threads == 1 and "native" in options.impl and kind == "iou"
    name = np.dtype(dtype).name
    return Case(
        name=f"{rows} x {columns} boxes, {name}, {kind}, {calls} calls",
        contenders=contenders,
        error=error,
        work=calls * float(a.nbytes + b.nbytes + rows * columns * a.itemsize),
        unit="GB/s",
        formula="boxes read + scores written",
        parameters={"rows": rows, "columns": columns, "dtype": name, "kind": kind, "calls": calls},
        bars=_bars(rows, columns, name, calls) if judged and not options.scaling else (),
    )


def _bars(rows: int, columns: int, dtype: str, calls: int) -> list[Bar]:
    """float64 has none of its own for speed: it is here for coordinates that float32 does not hold."""
    own = "mixed_r1 native"
    if (rows, columns) == (1, 1):

        def microseconds(named: Named) -> float | None:
            return named[own].median / calls * 1e6 if own in named else None

        return [Bar("microseconds a call", microseconds, at_most=1.5)]
    exact = Bar(
        f"difference from pycocotools, {PAIRS} pairs", lambda _: _from_pycocotools(dtype), at_most=1e-6
    )
    if dtype == "float64":
        return [exact]
    return [times_faster(own, "torch formula", 50), times_faster(own, "powerboxes", 10), exact]


def _from_pycocotools(dtype: str) -> float | None:
    """The largest difference over random pairs."""
    try:
        from pycocotools import mask
    except ImportError:
        return None
    a, b = random_boxes(400, np.dtype(dtype), 2), random_boxes(PAIRS // 400, np.dtype(dtype), 3)
    sized = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1).astype(np.float64) for x in (a, b)]
    return float(np.abs(box_iou(a, b) - mask.iou(*sized, [0] * len(b))).max())


def peers(a: np.ndarray, b: np.ndarray, threads: int) -> Iterator[tuple[Any, ...]]:
    """Name, call, and (where it is not an IoU) what makes one of its last result."""
    try:
        import torch

        torch.set_num_threads(threads)
        yield "torch formula", functools.partial(torch_iou, torch.from_numpy(a), torch.from_numpy(b))
    except ImportError:
        pass
    try:
        from pycocotools import mask

        sized = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1).astype(np.float64) for x in (a, b)]
        yield "pycocotools", functools.partial(mask.iou, *sized, [0] * len(b))
    except ImportError:
        pass
    try:
        import powerboxes

        distances = powerboxes.iou_distance if threads == 1 else powerboxes.parallel_iou_distance
        yield "powerboxes", functools.partial(distances, a, b), lambda distance: 1 - distance
    except ImportError:
        pass


def torch_iou(a: Any, b: Any) -> Any:
    """As torchvision writes it: corners of the intersection by broadcast max and min."""
    import torch

    area_a, area_b = ((x[:, 2] - x[:, 0]) * (x[:, 3] - x[:, 1]) for x in (a, b))
    low = torch.max(a[:, None, :2], b[:, :2])
    high = torch.min(a[:, None, 2:], b[:, 2:])
    size = (high - low).clamp(min=0)
    intersection = size[:, :, 0] * size[:, :, 1]
    return intersection / (area_a[:, None] + area_b - intersection)
