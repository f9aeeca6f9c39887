"""grounding: where things are, as boxes."""

from __future__ import annotations

import math
from typing import Any

from mixed_r1 import golds
from mixed_r1.frames import Box
from mixed_r1.tasks.base import Task

__all__ = ["Grounding"]


class Grounding(Task):
    """The answer is a list of boxes ``[x1, y1, x2, y2]``, corners with x1 < x2 and y1 < y2; one may be given
    flat.
    """

    name = "grounding"
    column = "iou"
    title = "Grounding"
    scorer = "boxes"
    reader = "grounding"

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> tuple[Box, ...]:
        boxes = answer = golds.as_boxes(answer)
        if (
            isinstance(answer, (list, tuple))
            and len(answer) == 4
            and not isinstance(answer[0], (list, tuple))
        ):
            boxes = (answer,)
        if not isinstance(boxes, (list, tuple)) or not boxes:
            raise ValueError(
                f"answer must be a non-empty list of boxes [x1, y1, x2, y2] for task {self.name}, "
                f"got {answer!r}"
            )
        return tuple(map(_checked_box, boxes))

    def written(self, answer: Any) -> str:
        """One box flat, several in a list; whole numbers without a point."""
        listed = ["[" + ", ".join(f"{value:g}" for value in box) + "]" for box in answer]
        return listed[0] if len(listed) == 1 else "[" + ", ".join(listed) + "]"


def _checked_box(box: Any) -> Box:
    if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_finite, box)):
        raise ValueError(f"answer must hold boxes of four finite numbers [x1, y1, x2, y2], got {box!r}")
    x1, y1, x2, y2 = (float(value) for value in box)
    if not (x1 < x2 and y1 < y2):
        raise ValueError(f"answer must hold boxes with x1 < x2 and y1 < y2, got {box!r}")
    return (x1, y1, x2, y2)


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float64
        return False
