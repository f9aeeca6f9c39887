"""open_ended: free text, compared with a reference."""

from __future__ import annotations

from mixed_r1.tasks.base import Task

__all__ = ["OpenEnded"]


class OpenEnded(Task):
    """The answer is the reference text."""

    name = "open_ended"
    title = "Open-ended"
    scorer = "embedding"
