"""Geometry of the charts, in the pixels of their view box.

Colours live in the style sheet, so that one drawing serves light and dark pages. Charts are small and drawn
at the size they are shown in, because text in a drawing that is scaled down cannot be read on a phone. A wide
page shows more of them side by side.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

__all__ = [
    "Curve",
    "Estimate",
    "LineChart",
    "Tick",
    "compact",
    "line_chart",
    "nice_ticks",
    "position",
    "smooth",
]

MAX_POINTS = 240  # of a curve; longer runs are averaged over equal stretches of steps


class Curve(NamedTuple):
    """Values over steps; steps ascend, values are finite."""

    steps: Sequence[float]
    values: Sequence[float]


class Estimate(NamedTuple):
    """A mean with its standard error, measured at ``step``."""

    step: float
    mean: float
    stderr: float


class Tick(NamedTuple):
    at: float
    label: str


class Mark(NamedTuple):
    """An estimate as drawn: centre and the ends of its error bar."""

    x: float
    y: float
    low: float
    high: float


@dataclass(frozen=True)
class LineChart:
    """What charts.html.j2 draws: dots are the steps themselves, the path is their smoothed course."""

    width: int
    height: int
    left: float
    right: float
    bottom: float
    path: str
    dots: list[tuple[float, float]]
    marks: list[Mark]
    y_ticks: list[Tick]
    x_ticks: list[Tick]
    hover: str  # JSON [[x, y, step, value], ...] for the page's script
    label: str  # for screen readers


def compact(value: float) -> str:
    """A number in at most six characters or so: 0.53, 12.4, 1,234, 56k, 3.1e-05."""
    size = abs(value)
    if not math.isfinite(value):
        return "n/a"
    if size >= 10_000_000:
        return f"{value / 1e6:.0f}M"
    if size >= 10_000:
        return f"{value / 1e3:.0f}k"
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    if size >= 0.001 or size == 0:
        return f"{value:.3f}" if size < 1 else f"{value:.2f}"
    return f"{value:.1e}"


def nice_ticks(low: float, high: float, count: int) -> list[float]:
    """About ``count`` round values (1, 2, 2.5 or 5 times a power of ten) that cover [low, high]."""
    if not high > low:
        return [low]
    raw = (high - low) / max(count - 1, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * (1 - 1e-9))
    first = math.floor(low / step + 1e-9)
    last = math.ceil(high / step - 1e-9)
    return [round(index * step, 12) for index in range(first, last + 1)]


def position(value: float, domain: tuple[float, float], span: tuple[float, float]) -> float:
    """Where ``value`` of ``domain`` lies in ``span``, held inside it; its middle for an empty domain."""
    low, high = domain
    share = 0.5 if not high > low else min(1.0, max(0.0, (value - low) / (high - low)))
    return round(span[0] + share * (span[1] - span[0]), 2)


def smooth(values: Sequence[float], window: int) -> list[float]:
    """Mean over the ``window`` values around each, those that exist at the ends."""
    total = [0.0]
    for value in values:
        total.append(total[-1] + value)
    half = window // 2
    means = []
    for index in range(len(values)):
        first, end = max(0, index - half), min(len(values), index + half + 1)
        means.append((total[end] - total[first]) / (end - first))
    return means


def smoothing_window(num_steps: int) -> int:
    """An odd window of about a twelfth of the run, at least 3 and at most 25 steps."""
    return min(25, max(3, num_steps // 12)) | 1


def line_chart(
    curve: Curve,
    *,
    size: tuple[int, int],
    label: str,
    domain: tuple[float, float] | None = None,
    estimates: Sequence[Estimate] = (),
    ticks: int = 3,
    smoothed: bool = True,
) -> LineChart:
    """A curve over steps. ``domain`` fixes the y axis, which else covers the data with round ticks.
    ``smoothed=False``: the path joins the values themselves.
    """
    width, height = size
    left, right, top, bottom = 34.0, width - 8.0, 10.0, height - 22.0
    steps, values = list(curve.steps), list(curve.values)
    window = smoothing_window(len(values))
    # Twice, because smoothing once leaves corners.
    course_values = smooth(smooth(values, window), window) if smoothed else values
    extremes = [*values, *(e.mean - e.stderr for e in estimates), *(e.mean + e.stderr for e in estimates)]
    y_values = nice_ticks(*(domain or _padded(extremes)), ticks)
    y_domain = (y_values[0], y_values[-1])
    all_steps = [*steps, *(e.step for e in estimates)]
    x_domain = (min(all_steps), max(all_steps))
    x_ticks = _step_ticks(x_domain, 4 if width < 500 else 8)

    def x_of(step: float) -> float:
        return position(step, x_domain, (left, right - 4))

    def y_of(value: float) -> float:
        return position(value, y_domain, (bottom, top))

    shown = _thinned(Curve(steps, values), MAX_POINTS)
    course = _thinned(Curve(steps, course_values), MAX_POINTS)
    points = [(x_of(step), y_of(value)) for step, value in zip(*course, strict=True)]
    hover = [
        [x_of(step), y_of(mean), f"step {step:,.0f}", compact(value)]
        for step, value, mean in zip(shown.steps, shown.values, course.values, strict=True)
    ]
    return LineChart(
        width=width,
        height=height,
        left=left,
        right=right,
        bottom=bottom,
        path="M" + "L".join(f"{x:g} {y:g}" for x, y in points) if len(points) > 1 else "",
        dots=[(x_of(step), y_of(value)) for step, value in zip(*shown, strict=True)],
        marks=[
            Mark(x_of(e.step), y_of(e.mean), y_of(e.mean - e.stderr), y_of(e.mean + e.stderr))
            for e in estimates
        ],
        y_ticks=[Tick(y_of(value), _tick_label(value)) for value in y_values],
        x_ticks=[Tick(x_of(step), f"{step:,.0f}") for step in x_ticks],
        hover=json.dumps(hover),
        label=label,
    )


def _padded(values: Sequence[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    if low == high:
        margin = abs(low) * 0.1 or 0.5
        return low - margin, high + margin
    return low, high


def _step_ticks(domain: tuple[float, float], count: int) -> list[float]:
    """Whole round steps inside the domain."""
    low, high = domain
    inside = [step for step in nice_ticks(low, high, count) if low <= step <= high and step == int(step)]
    return inside or [low]


def _thinned(curve: Curve, most: int) -> Curve:
    """Means over equal stretches where there are more than ``most`` points."""
    count = len(curve.steps)
    if count <= most:
        return curve
    cuts = [count * index // most for index in range(most + 1)]
    stretches = list(zip(cuts, cuts[1:], strict=False))
    return Curve(
        [round(sum(curve.steps[a:b]) / (b - a)) for a, b in stretches],
        [sum(curve.values[a:b]) / (b - a) for a, b in stretches],
    )


def _tick_label(value: float) -> str:
    if abs(value) >= 10_000:
        return compact(value)
    return f"{value:,.6g}" if value == 0 or abs(value) >= 0.001 else f"{value:.0e}"
