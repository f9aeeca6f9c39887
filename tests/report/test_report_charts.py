"""Geometry: ticks that cover, curves that stay inside, numbers that read."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mixed_r1.report.charts import (
    MAX_POINTS,
    Curve,
    Estimate,
    compact,
    line_chart,
    nice_ticks,
    position,
    smooth,
)

FINITE = st.floats(-1e6, 1e6, allow_nan=False).map(lambda v: round(v, 6))


@given(FINITE, st.floats(1e-6, 1e6), st.integers(2, 9))
def test_ticks_are_even_round_and_cover(low: float, width: float, count: int):
    high = low + width
    assume(width >= 1e-6 * abs(low))  # below that, floats are too coarse for even ticks
    ticks = nice_ticks(low, high, count)
    gaps = np.diff(ticks)
    slack = 1e-6 * width + 4 * np.spacing(max(abs(low), abs(high)))
    assert ticks[0] <= low + slack and ticks[-1] >= high - slack
    assert np.allclose(gaps, gaps[0], rtol=1e-3)
    assert 2 <= len(ticks) <= count + 2
    leading = gaps[0] / 10 ** math.floor(math.log10(gaps[0] * (1 + 1e-9)))
    assert min(abs(leading - nice) for nice in (1, 2, 2.5, 5, 10)) < 1e-3


@given(st.lists(FINITE, min_size=1, max_size=60), st.sampled_from([1, 3, 5, 9, 25]))
def test_smoothing_is_the_mean_of_the_neighbours(values: list[float], window: int):
    half = window // 2
    expected = [np.mean(values[max(0, i - half) : i + half + 1]) for i in range(len(values))]
    np.testing.assert_allclose(smooth(values, window), expected, rtol=1e-6, atol=1e-4)


@given(st.lists(FINITE, min_size=1, max_size=400))
def test_a_curve_stays_inside_its_chart(values: list[float]):
    steps = list(range(1, len(values) + 1))
    chart = line_chart(Curve(steps, values), size=(300, 132), label="x")
    assert len(chart.dots) == min(len(values), MAX_POINTS)
    for x, y in chart.dots:
        assert chart.left <= x <= chart.right and 0 <= y <= chart.bottom
    assert all(chart.left <= tick.at <= chart.right for tick in chart.x_ticks)
    assert chart.x_ticks and len(chart.y_ticks) >= 2


def test_higher_is_up_and_later_is_right():
    chart = line_chart(Curve([1, 2, 3], [0.1, 0.4, 0.9]), size=(300, 132), label="x", domain=(0.0, 1.0))
    xs, ys = zip(*chart.dots, strict=True)
    assert list(xs) == sorted(xs) and list(ys) == sorted(ys, reverse=True)
    assert [tick.label for tick in chart.y_ticks] == ["0", "0.5", "1"]


def test_an_error_bar_spans_one_standard_error_each_way():
    points = Curve([0, 10], [0.0, 1.0])
    chart = line_chart(
        points, size=(300, 132), label="x", domain=(0.0, 1.0), estimates=[Estimate(5, 0.5, 0.1)]
    )
    mark = chart.marks[0]
    unit = chart.y_ticks[0].at - chart.y_ticks[-1].at
    assert mark.low - mark.y == pytest.approx(0.1 * unit, abs=0.02)
    assert mark.y - mark.high == pytest.approx(0.1 * unit, abs=0.02)


def test_a_long_run_is_thinned_to_means():
    values = list(np.linspace(0, 1, 10_000))
    chart = line_chart(Curve(list(range(10_000)), values), size=(300, 132), label="x")
    points = json.loads(chart.hover)
    assert len(points) == MAX_POINTS
    assert float(points[-1][3]) == pytest.approx(np.mean(values[-42:]), abs=0.01)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0.000"),
        (0.5, "0.500"),
        (1, "1.00"),
        (12.34, "12.3"),
        (123.4, "123"),
        (1234, "1,234"),
        (56_789, "57k"),
        (12_345_678, "12M"),
        (0.00003, "3.0e-05"),
        (-0.25, "-0.250"),
        (math.nan, "n/a"),
        (math.inf, "n/a"),
    ],
)
def test_numbers_are_short(value: float, text: str):
    assert compact(value) == text


def test_a_value_outside_the_domain_is_held_at_its_edge():
    assert position(2.0, (0.0, 1.0), (10.0, 20.0)) == 20.0
    assert position(-1.0, (0.0, 1.0), (10.0, 20.0)) == 10.0
    assert position(5.0, (5.0, 5.0), (10.0, 20.0)) == 15.0
