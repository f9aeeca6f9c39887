"""What can be wrong with a row beyond its schema, and where ``data check`` lists it: images that do not open,
boxes that leave their image, conversations that cannot be asked.

It runs the code that training runs on a row, so it names every row that training leaves out and no other.
"""

from __future__ import annotations

from mixed_r1.chat import chat_messages
from mixed_r1.images import MAX_PIXELS
from mixed_r1.opened import CLIP_BOXES, Problem, RowError, open_row
from mixed_r1.schema import Sample

__all__ = ["check_sample"]


def check_sample(
    sample: Sample, *, max_pixels: int = MAX_PIXELS, clip_boxes: float = CLIP_BOXES
) -> list[Problem]:
    """Every rule that ``sample`` breaks once its images are open and its messages are rendered."""
    problems = []
    try:
        open_row(sample, max_pixels=max_pixels, clip_boxes=clip_boxes)
    except RowError as error:
        problems += error.problems
    try:
        chat_messages(sample)
    except ValueError as error:
        field, _, rule = str(error).partition(" ")
        problems.append(Problem(field, rule))
    return problems
