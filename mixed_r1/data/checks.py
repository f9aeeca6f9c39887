"""What can be wrong with a row beyond its schema: images that do not open, boxes that leave their image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from pydantic import ValidationError

from mixed_r1.frames import extent
from mixed_r1.images import MAX_PIXELS, ImageError, open_image
from mixed_r1.schema import Box, Sample

__all__ = ["Problem", "box_problems", "check_images", "parse_row"]


class Problem(NamedTuple):
    """One broken rule of one row."""

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


def parse_row(row: Any) -> tuple[Sample | None, list[Problem]]:
    """Validate one plain row. Returns (sample, []) or (None, every broken rule)."""
    if not isinstance(row, dict):
        return None, [Problem("row", f"must be an object of fields, got {type(row).__name__}")]
    try:
        return Sample(**row), []
    except ValidationError as error:
        return None, [_problem(item) for item in error.errors()]
    except TypeError as error:  # keys that are not strings
        return None, [Problem("row", f"must have text keys, got {error}")]


def _problem(item: Any) -> Problem:
    message = str(item["msg"]).removeprefix("Value error, ")
    field = ".".join(str(part) for part in item["loc"])
    if not field:  # rules over several fields start with the field they are about
        field = message.split(" ", 1)[0]
        return Problem(field, message.removeprefix(field).strip())
    if item["type"] == "value_error":
        return Problem(field, message)
    return Problem(field, f"{message}, got {_short(item['input'])}" if item["type"] != "missing" else message)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def check_images(sample: Sample, *, max_pixels: int = MAX_PIXELS) -> list[Problem]:
    """Open every image of ``sample`` and compare size and boxes with it; returns every broken rule.

    Boxes are checked against ``image_size``, or where that is absent against the only image of the row.
    """
    problems = []
    sizes = []
    for number, source in enumerate(sample.images):
        try:
            sizes.append(open_image(source, max_pixels=max_pixels).size)
        except ImageError as error:
            problems.append(Problem(f"images.{number}", str(error)))
    return problems or box_problems(sample, sizes)


def box_problems(sample: Sample, sizes: Sequence[tuple[int, int]]) -> list[Problem]:
    """Compare ``image_size`` and the boxes of ``sample`` with the (width, height) of its images."""
    problems = []
    if len(sizes) == 1 and sample.image_size is not None and tuple(sample.image_size) != sizes[0]:
        problems.append(Problem("image_size", f"must be the image's {sizes[0]}, got {sample.image_size}"))
    elif sample.boxes:
        size = sample.image_size or (sizes[0] if len(sizes) == 1 else None)
        problems.extend(_boxes_outside(sample, size))
    return problems


def _boxes_outside(sample: Sample, size: tuple[int, int] | None) -> list[Problem]:
    if sample.frame == "pixels" and size is None:
        return [Problem("image_size", f"must be given for boxes in pixels with {len(sample.images)} images")]
    width, height = extent(sample.frame, size)
    return [
        Problem("answer", f"must hold boxes inside {width:g} x {height:g} ({sample.frame}), got {list(box)}")
        for box in sample.boxes
        if not _inside(box, width, height)
    ]


def _inside(box: Box, width: float, height: float) -> bool:
    x1, y1, x2, y2 = box
    return x1 >= 0 and y1 >= 0 and x2 <= width and y2 <= height
