"""No completion is slow to judge: time grows in proportion to length, and a megabyte takes milliseconds."""

from __future__ import annotations

import pytest

from benchmarks.worst_completions import FAMILIES, LONG_ANSWERS, SIZES, Family, seconds, slope


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
