"""multiple_choice: one of the row's options, by its letter."""

from __future__ import annotations

from typing import Any

from mixed_r1 import golds
from mixed_r1.options import LETTERS, option_lines
from mixed_r1.tasks.base import Task

__all__ = ["MultipleChoice"]


class MultipleChoice(Task):
    """The answer is the letter of one of ``options`` ("A" is the first), its text, or its index from 0;
    several letters where all of them must be chosen.
    """

    name = "multiple_choice"
    column = "matching"
    title = "Multiple choice"
    scorer = "text"
    reader = "multiple_choice"
    needs_options = True
    closed = True

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> str:
        letters = LETTERS[: len(options or ())]
        chosen = golds.as_choice(answer, options or ())
        if isinstance(chosen, str) and chosen and all(letter in letters for letter in chosen):
            return chosen
        raise ValueError(
            f"answer must be one of the letters {letters!r}, an option's text, or its index from 0, for task "
            f"multiple_choice, got {answer!r}"
        )

    def shown(self, answer: Any, options: tuple[str, ...] | None = None) -> str:
        lines = option_lines(options)
        return "; ".join(lines[LETTERS.index(letter)] for letter in answer) if lines else str(answer)
