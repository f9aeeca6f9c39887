"""The limits that the project set itself, worked out from a case's measurements, printed below its table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Bar", "Measurement", "Named", "Verdict", "bar_lines", "errs_by", "times_faster", "verdicts"]


@dataclass(frozen=True)
class Measurement:
    """Seconds of ``clock``: "cpu" (processor time of the process: what one thread needs, whoever shares the
    machine) or "wall"."""

    name: str
    is_peer: bool
    error: float
    median: float
    p20: float
    p80: float
    clock: str
    wall_median: float
    rounds: int
    peak_bytes: int | None


Named = Mapping[str, Measurement]


@dataclass(frozen=True)
class Bar:
    """``value`` of the measurements by name must be >= ``at_least`` or <= ``at_most``, whichever is given.

    It may be None, where a contender that it needs was not measured.
    """

    name: str
    value: Callable[[Named], float | None]
    at_least: float | None = None
    at_most: float | None = None

    def __post_init__(self) -> None:
        if (self.at_least is None) == (self.at_most is None):
            raise ValueError(f"{self.name}: a bar must have at_least or at_most, got both or neither")

    def limit(self) -> str:
        return f">= {self.at_least:g}" if self.at_most is None else f"<= {self.at_most:g}"

    def holds(self, value: float) -> bool:
        return value >= self.at_least if self.at_least is not None else value <= self.at_most  # type: ignore[operator]


@dataclass(frozen=True)
class Verdict:
    bar: Bar
    value: float | None

    @property
    def passed(self) -> bool | None:
        return None if self.value is None else self.bar.holds(self.value)

    def record(self) -> dict[str, Any]:
        return {"bar": self.bar.name, "limit": self.bar.limit(), "value": self.value, "passed": self.passed}


def verdicts(bars: Sequence[Bar], measurements: Sequence[Measurement]) -> list[Verdict]:
    named = {one.name: one for one in measurements}
    return [Verdict(bar, bar.value(named)) for bar in bars]


def bar_lines(found: Sequence[Verdict]) -> Iterator[str]:
    for one in found:
        value = "not measured" if one.value is None else f"{one.value:.4g}"
        word = {True: "pass", False: "MISSED", None: ""}[one.passed]
        yield f"  bar  {one.bar.name:62}{one.bar.limit():>10}{value:>14}  {word}".rstrip()


def times_faster(own: str, peer: str, at_least: float) -> Bar:
    """The median of ``peer`` over that of ``own``."""

    def value(named: Named) -> float | None:
        return named[peer].median / named[own].median if own in named and peer in named else None

    return Bar(f"times faster than {peer}", value, at_least=at_least)


def errs_by(own: str, at_most: float) -> Bar:
    return Bar(f"error of {own}", lambda named: named[own].error if own in named else None, at_most=at_most)
