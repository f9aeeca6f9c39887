"""chart: what a figure says, a number within a tolerance, a text, or a list of them."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import pairwise
from typing import Any

from mixed_r1 import golds
from mixed_r1.tasks.base import Task
from mixed_r1.tasks.mathematics import checked_scalar
from mixed_r1_kernels.verify import VerifySettings

__all__ = ["Chart", "asks_for_quantity"]


class Chart(Task):
    """The answer is a text, a number, or a list of them (also a printed one)."""

    name = "chart"
    title = "Chart"
    scorer = "text"
    reader = "chart"

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> str | tuple[str, ...]:
        answer = golds.printed_list(answer)
        if not isinstance(answer, (list, tuple)):
            return checked_scalar(self.name, answer)
        if not answer:
            raise ValueError("answer must not be an empty list for task chart")
        return tuple(checked_scalar(self.name, item) for item in answer)

    def hint(self, question: str) -> str:
        return "quantity" if asks_for_quantity(question) else ""

    def settings(self, config: Any, hint: str) -> VerifySettings:
        """A number that may be a year is one unless the question asks for a quantity."""
        found: VerifySettings = config.verify_settings()
        if config.chart_years == "auto" and hint == "quantity":
            return replace(found, chart_years="tolerant")
        return found

    def written(self, answer: Any) -> str:
        return "[" + ", ".join(answer) + "]" if isinstance(answer, tuple) else str(answer)

    def shown(self, answer: Any, options: tuple[str, ...] | None = None) -> str:
        return ", ".join(answer) if isinstance(answer, tuple) else str(answer)


def asks_for_quantity(question: str) -> bool:
    """Whether ``question`` asks how many or how much, and names no year or date."""
    words = re.findall("[a-z]+", question.lower())
    pairs = set(pairwise(words))
    quantity = (
        ("how", "many") in pairs or ("how", "much") in pairs or {"total", "sum", "average"} & set(words)
    )
    return bool(quantity) and not {"year", "years", "when", "date"} & set(words)
