"""A row with its images open: which image its boxes are in, and whether they lie inside it.

A file says only where images are. What a row means may depend on the pixels: boxes belong to one of several
images, count its pixels before or after a photo is turned upright, and must lie inside it. ``open_row``
settles that once, for training, evaluation, data sets and scoring alike, so that ``mixed-r1 data check``
refuses the rows that they refuse, and no others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from PIL import Image

from mixed_r1.frames import Box, Size, extent, upright
from mixed_r1.images import MAX_PIXELS, UPRIGHT, ImageError, open_image, stored_orientation
from mixed_r1.schema import Sample

__all__ = ["CLIP_BOXES", "OpenedRow", "Problem", "RowError", "box_image", "open_row"]

CLIP_BOXES = 1.0  # pixels by which a box may leave its image and is cut to it


class Problem(NamedTuple):
    """One broken rule of one row."""

    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.field}: {self.rule}"


class RowError(ValueError):
    """A row that cannot be used; ``problems`` holds every broken rule."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = list(problems)


class OpenedRow(NamedTuple):
    """``sample`` with its boxes as they are scored: those of the image as it is shown, whose ``image_size``,
    and of several images ``image_of``, are filled in. Its ``images`` are upright and RGB, in their order.
    """

    sample: Sample
    images: list[Image.Image]


def open_row(sample: Sample, *, max_pixels: int = MAX_PIXELS, clip_boxes: float = CLIP_BOXES) -> OpenedRow:
    """Open the images of ``sample`` and place its boxes.

    Boxes that leave their image by at most ``clip_boxes`` pixels are cut to it. Of a row without images
    nothing is opened; its boxes are in an image of ``image_size``.

    Raises:
        RowError: images that do not open, boxes of which it is not said which image they are in, an
            ``image_size`` that is not the image's, boxes outside.
    """
    images: list[Image.Image] = []
    problems: list[Problem] = []
    for number, source in enumerate(sample.images):
        try:
            images.append(open_image(source, max_pixels=max_pixels))
        except ImageError as error:
            problems.append(Problem(f"images.{number}", str(error)))
    if problems:
        raise RowError(problems)
    return OpenedRow(_placed(sample, [image.size for image in images], clip_boxes), images)


def _placed(sample: Sample, sizes: Sequence[Size], clip_boxes: float) -> Sample:
    """``sample`` with its boxes as they are scored."""
    if not sample.boxes:
        _check_size(sample, sizes)
        return sample
    number = box_image(sample, sizes)
    update: dict[str, Any] = {"boxes_in": "shown"}
    boxes, size = sample.boxes, sample.image_size
    if number is not None:
        orientation = stored_orientation(sample.images[number])
        size = _checked_size(sample, sizes[number], orientation)
        update |= {"image_size": size} if len(sizes) == 1 else {"image_of": number, "image_size": size}
        if sample.boxes_in == "stored" and orientation != UPRIGHT:
            stored = size[::-1] if orientation >= 5 else size
            width, height = extent(sample.frame, stored)
            boxes = tuple(upright(box, orientation, width, height) for box in boxes)
    elif size is None and sample.frame == "pixels":
        raise RowError([Problem("image_size", "must be given for boxes in pixels without an image")])
    _check_frame(sample, size)
    return sample.model_copy(update=update | {"answer": _inside(sample, boxes, size, clip_boxes)})


def box_image(sample: Sample, sizes: Sequence[Size]) -> int | None:
    """The index of the image that the boxes of ``sample`` are in; None for a row without images.

    It is ``image_of``, or the only image, or, of several, one of the size that the row gives where no image
    of another size has it. ``sizes`` are (width, height) of the images as they are shown.

    Raises:
        RowError: several images and none said, or one said that there is not.
    """
    if sample.image_of is not None:
        if not 0 <= sample.image_of < len(sizes):
            rule = f"must be the index of one of the {len(sizes)} images, from 0, got {sample.image_of}"
            raise RowError([Problem("image_of", rule)])
        return sample.image_of
    if len(sizes) <= 1:
        return 0 if sizes else None
    if sample.image_size is not None and list(sizes).count(sample.image_size) == 1:
        return list(sizes).index(sample.image_size)
    rule = f"must say which of the {len(sizes)} images the boxes are in, from 0, got None"
    raise RowError([Problem("image_of", rule)])


def _check_size(sample: Sample, sizes: Sequence[Size]) -> None:
    """``image_size`` of a row without boxes: nothing depends on it, but a wrong one tells of a mix-up."""
    if len(sizes) == 1 and sample.image_size is not None:
        _checked_size(sample, sizes[0], stored_orientation(sample.images[0]))


def _checked_size(sample: Sample, size: Size, orientation: int) -> Size:
    """The size of an image as it is shown, unless the row says another."""
    given = sample.image_size
    if given is None or given == size:
        return size
    hint = ""
    if orientation >= 5 and given == size[::-1]:
        if sample.boxes_in == "stored":
            return size
        hint = ", the size before the photo is turned upright: boxes of that size need boxes_in: stored"
    raise RowError([Problem("image_size", f"must be the image's {size}, got {given}{hint}")])


def _check_frame(sample: Sample, size: Size | None) -> None:
    """Boxes of less than a pixel are fractions of the image whose frame was forgotten."""
    said = "frame" in sample.model_fields_set
    if sample.frame == "pixels" and not said and size is not None and min(size) > 1:
        if all(max(box) <= 1 for box in sample.boxes):
            rule = "must hold boxes in pixels where frame is left out, got "
            rule += f"{list(sample.boxes[0])}, which looks like fractions (frame: norm1)"
            raise RowError([Problem("answer", rule)])


def _inside(sample: Sample, boxes: Sequence[Box], size: Size | None, clip_boxes: float) -> tuple[Box, ...]:
    """``boxes`` cut to the image; RowError for those that leave it by more than ``clip_boxes`` pixels."""
    width, height = extent(sample.frame, size)
    across, down = clip_boxes, clip_boxes
    if sample.frame != "pixels":
        across, down = (0.0, 0.0) if size is None else (across * width / size[0], down * height / size[1])
    kept, problems = [], []
    for x1, y1, x2, y2 in boxes:
        cut = (max(0.0, x1), max(0.0, y1), min(width, x2), min(height, y2))
        near = x1 >= -across and y1 >= -down and x2 <= width + across and y2 <= height + down
        if near and cut[0] < cut[2] and cut[1] < cut[3]:
            kept.append(cut)
            continue
        place = f"{width:g} x {height:g} ({sample.frame})"
        problems.append(Problem("answer", f"must hold boxes inside {place}, got {[x1, y1, x2, y2]}"))
    if problems:
        raise RowError(problems)
    return tuple(kept)
