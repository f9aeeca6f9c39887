"""math: one exact value, in any way of writing it."""

from __future__ import annotations

import math
from typing import Any

from mixed_r1 import golds
from mixed_r1.tasks.base import Task

__all__ = ["Math", "checked_scalar"]


class Math(Task):
    """The answer is a text or a number."""

    name = "math"
    title = "Math"
    scorer = "text"
    reader = "math"

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> str:
        return checked_scalar(self.name, answer)


def checked_scalar(task: str, answer: Any) -> str:
    """A text or a finite number, as text. Raises ValueError for anything else."""
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or not str(answer).strip():
        raise ValueError(f"answer must be a text or a number for task {task}, got {answer!r}")
    if isinstance(answer, float) and not math.isfinite(answer):
        raise ValueError(f"answer must be finite for task {task}, got {answer!r}")
    return golds.as_scalar_text(answer)
