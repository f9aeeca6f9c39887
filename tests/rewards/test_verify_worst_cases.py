"""No completion is slow to judge: time grows in proportion to length, and a megabyte takes milliseconds."""

from __future__ import annotations

import math
import time

import pytest

from benchmarks.worst_completions import FAMILIES, LONG_ANSWERS, Family
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
    assert slope(SIZES, times) <= 1.15


@pytest.mark.parametrize("family", LONG_ANSWERS, ids=[family.name for family in LONG_ANSWERS])
def test_long_answers_are_linear_where_they_are_allowed(family: Family) -> None:
    """Answers of yes_no, multiple_choice, chart and math end at 4 KiB; with a limit of a megabyte the readers
    themselves are seen to be linear.
    """
    sizes = SIZES[:3]
    assert slope(sizes, [seconds(family, size) for size in sizes]) <= 1.15


def slope(sizes: list[int], times: list[float]) -> float:
    """Of log time over log size; below 20 us a call is overhead."""
    first, last = max(times[0], 20e-6), max(times[-1], 20e-6)
    return math.log(last / first) / math.log(sizes[-1] / sizes[0])
