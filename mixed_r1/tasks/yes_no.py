"""yes_no: a question that is answered by yes or no."""

from __future__ import annotations

from typing import Any

from mixed_r1 import golds
from mixed_r1.tasks.base import Task

__all__ = ["YesNo"]


class YesNo(Task):
    """The answer is "yes" or "no"; True and False are read as such."""

    name = "yes_no"
    column = "matching"
    title = "Yes / no"
    scorer = "text"
    reader = "yes_no"
    closed = True

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> str:
        verdict = golds.as_verdict(answer)
        if verdict in ("yes", "no"):
            return str(verdict)
        raise ValueError(f"answer must be 'yes' or 'no' for task yes_no, got {answer!r}")
