"""A task of one's own with its reward, and a reward for any task: all that has to be written.

The task is counting: near misses earn something, which an exact match would not see. ``train_counting.py``
trains on it. In a settings file the two are

    reward:
      custom_tasks: [counting_task:Counting]
      functions: {short: counting_task:short}
      weights: {short: 0.1}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixed_r1.tasks import Task


class Counting(Task):
    """The answer is a whole number from 0 to 99."""

    name = "counting"

    def checked(self, answer: Any, options: Any) -> int:
        if isinstance(answer, bool) or not isinstance(answer, int) or not 0 <= answer < 100:
            raise ValueError(f"answer must be a whole number from 0 to 99 for task counting, got {answer!r}")
        return answer

    def score(self, answers: Sequence[str], samples: Sequence[Any]) -> list[float]:
        """1 / (1 + distance): 1, 1/2, 1/3 ...; 0 for what is no number."""
        return [
            1 / (1 + abs(int(answer) - sample.answer)) if answer.isdecimal() and len(answer) < 4 else 0.0
            for answer, sample in zip(answers, samples, strict=True)
        ]


def short(completions: Sequence[str], answers: Sequence[str], samples: Sequence[Any]) -> list[float]:
    """1 for a completion of at most 60 characters."""
    return [float(len(completion) <= 60) for completion in completions]
