"""No completion is slow to judge: time grows in proportion to length, and a megabyte takes milliseconds."""

from __future__ import annotations

import math
import time

import pytest

from benchmarks.worst_completions import FAMILIES, Family
from mixed_r1_kernels.verify import verify

SIZES = [1 << 10, 1 << 14, 1 << 17, 1 << 20]


def seconds(family: Family, size: int) -> float:
    """The best of some calls on a fresh string (Python keeps the UTF-8 of one it has encoded)."""
    best = math.inf
    for _ in range(max(3, (1 << 17) // size)):
        text = family.make(size)
        start = time.process_time_ns()
        verify([text], [family.gold], impl="native")
        best = min(best, (time.process_time_ns() - start) / 1e9)
    return best


@pytest.mark.parametrize("family", FAMILIES, ids=[family.name for family in FAMILIES])
def test_a_megabyte_takes_milliseconds(family: Family) -> None:
    times = [seconds(family, size) for size in SIZES]
    assert len(family.make(1 << 20).encode()) <= 1 << 20
    assert times[-1] <= 0.020
    floor = 20e-6  # below this a call is overhead
    slope = math.log(max(times[-1], floor) / max(times[0], floor)) / math.log(SIZES[-1] / SIZES[0])
    assert slope <= 1.15
