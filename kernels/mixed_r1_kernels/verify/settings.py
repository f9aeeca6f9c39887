"""What a completion is checked against: the settings of a row, and the error of a gold nothing can match."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

__all__ = ["CHOICES", "TASKS", "BadGold", "GoldSpec", "VerifySettings"]

TASKS = ("yes_no", "multiple_choice", "chart", "math", "grounding", "open_ended")

FormatMode = Literal["think_answer", "answer", "boxed", "think_boxed", "none"]
ChartScore = Literal["relaxed", "graded"]
ChartText = Literal["exact", "anls"]
Think = Literal["written", "prefilled"]
Box = Literal["only", "last"]
ListOrder = Literal["auto", "ordered", "any"]
ChartYears = Literal["exact", "tolerant"]
Places = Literal["boxes", "point"]


class BadGold(ValueError):  # noqa: N818 (a verdict on data, not a failure of the program)
    """A reference answer that no completion can be scored against."""


CHOICES: dict[str, Any] = {
    "format": FormatMode, "chart_score": ChartScore, "chart_text": ChartText, "think": Think, "box": Box,
    "list_order": ListOrder, "chart_years": ChartYears,
    "places": Places,
}  # fmt: skip


@dataclass(frozen=True)
class VerifySettings:
    """How the answer is found and judged; part of a compiled gold.

    ``format``: ``think_answer`` (``<think>..</think><answer>..</answer>`` and nothing else), ``answer`` (one
    ``<answer>`` block, text around it is free), ``boxed`` (a ``\\boxed{..}``), ``think_boxed`` (a thought,
    then text with a box), ``none`` (all of the completion). The thought is never part of the answer.
    ``think``: whether the completion opens it or the prompt did (``prefilled``). ``box``: of several boxes
    the ``last`` counts, or none unless all say the same (``only``). ``max_answer_bytes`` bounds the answers
    of yes_no, multiple_choice, chart and math; longer ones are TOO_LONG. ``chart_text="anls"`` compares texts
    by edit distance where both have at most 256 characters (case folded, NFKD), else for equality only.
    ``chart_years``: whether a gold 1000 to 2999 without a unit is a year (``exact``) or a quantity.
    ``list_order``: ``auto`` compares lists of charts in order and those of math as sets. ``places``:
    grounding answers name ``boxes``, or one ``point``, as (x, y, x, y); a single box is its centre then.
    """

    format: FormatMode = "think_answer"
    think_tag: str = "think"
    answer_tag: str = "answer"
    chart_score: ChartScore = "relaxed"
    chart_text: ChartText = "exact"
    chart_tolerance: float = 0.05
    max_bytes: int = 1 << 20
    max_answer_bytes: int = 4096
    max_items: int = 64
    max_boxes: int = 256
    max_depth: int = 64
    think: Think = "written"
    box: Box = "only"
    list_order: ListOrder = "auto"
    chart_years: ChartYears = "exact"
    places: Places = "boxes"

    def __post_init__(self) -> None:
        for name, kind in CHOICES.items():
            if getattr(self, name) not in get_args(kind):
                raise ValueError(f"{name} must be one of {get_args(kind)}, got {getattr(self, name)!r}")
        for name in ("think_tag", "answer_tag"):
            tag = getattr(self, name)
            if not (tag.isascii() and tag.replace("_", "").replace("-", "").isalnum()):
                raise ValueError(f"{name} must be ASCII letters, digits, '-' or '_', got {tag!r}")
        if self.think_tag == self.answer_tag:
            raise ValueError(f"answer_tag must differ from think_tag, got {self.answer_tag!r} for both")
        if not 0.0 <= self.chart_tolerance < 1.0:
            raise ValueError(f"chart_tolerance must be in [0, 1), got {self.chart_tolerance!r}")
        for name in ("max_bytes", "max_answer_bytes", "max_items", "max_boxes", "max_depth"):
            if not 1 <= getattr(self, name) <= 1 << 30:
                raise ValueError(f"{name} must be in 1..2^30, got {getattr(self, name)!r}")


class GoldSpec(NamedTuple):
    """A gold as given, before any implementation reads it. ``answer``: see ``compile_gold``."""

    task: str
    answer: Any
    options: tuple[str, ...]
    settings: VerifySettings
