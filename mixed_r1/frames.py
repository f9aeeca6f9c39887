"""Boxes between frames: the one place that knows what a frame's coordinates count.

A box is (x1, y1, x2, y2), its corners. A frame says how the image is measured, by its extent, the width and
height of the whole image in the frame's coordinates:

==========  =======================================  ======================================
frame       extent                                   who speaks it
==========  =======================================  ======================================
pixels      (width, height) of the original image    rows, and everything inside the program
norm1000    (1000, 1000)                             InternVL, Qwen2-VL, Qwen3-VL
norm1       (1, 1)                                   data sets
resized     (width, height) as the model sees it     Qwen2.5-VL
==========  =======================================  ======================================

From one frame to another x is multiplied by target extent / source extent, and y likewise.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias, get_args

__all__ = [
    "FRAMES",
    "PREDICTED_FRAMES",
    "Box",
    "Frame",
    "PredictedFrame",
    "Size",
    "convert",
    "extent",
    "factors",
    "upright",
]

Box: TypeAlias = tuple[float, float, float, float]
Size: TypeAlias = tuple[int, int]  # (width, height) in pixels
Frame: TypeAlias = Literal["pixels", "norm1000", "norm1"]
PredictedFrame: TypeAlias = Literal["pixels", "norm1000", "norm1", "resized"]
FRAMES: tuple[Frame, ...] = get_args(Frame)
PREDICTED_FRAMES: tuple[PredictedFrame, ...] = get_args(PredictedFrame)


def extent(
    frame: str, image_size: Size | None = None, resized_size: Size | None = None
) -> tuple[float, float]:
    """(width, height) of the image in coordinates of ``frame``.

    Raises:
        ValueError: the size that ``frame`` is measured in is None, or there is no such frame.
    """
    known = {"norm1000": (1000, 1000), "norm1": (1, 1), "pixels": image_size, "resized": resized_size}
    if frame not in known:
        raise ValueError(f"frame must be one of {PREDICTED_FRAMES}, got {frame!r}")
    size = known[frame]
    if size is None:
        name = "image_size" if frame == "pixels" else "resized_size"
        raise ValueError(f"{name} must be given to convert boxes from or to frame {frame!r}, got None")
    return (float(size[0]), float(size[1]))


def factors(
    source: str, target: str, image_size: Size | None = None, resized_size: Size | None = None
) -> tuple[float, float]:
    """What takes x and y from frame ``source`` to frame ``target``; (1, 1) where they are one frame.

    Raises ValueError as ``extent`` does.
    """
    if source == target:
        return (1.0, 1.0)
    (width, height), (to_width, to_height) = (
        extent(frame, image_size, resized_size) for frame in (source, target)
    )
    return (to_width / width, to_height / height)


def convert(
    box: Sequence[float],
    source: str,
    target: str,
    image_size: Size | None = None,
    resized_size: Size | None = None,
) -> Box:
    """``box`` of frame ``source`` in coordinates of ``target``, unrounded. Raises ValueError as ``extent``
    does.
    """
    x, y = factors(source, target, image_size, resized_size)
    return (box[0] * x, box[1] * y, box[2] * x, box[3] * y)


def upright(box: Sequence[float], orientation: int, width: float, height: float) -> Box:
    """``box`` of the stored pixels of a photo in the frame of the photo as it is shown.

    ``orientation`` is EXIF's, 1 to 8; ``width`` and ``height`` are the extent of the stored pixels, in the
    coordinates of ``box``. From 5 on, the shown image has them exchanged.
    """
    (x1, x2), (y1, y2) = sorted((box[0], box[2])), sorted((box[1], box[3]))
    if orientation in (2, 3, 7, 8):  # mirrored from left to right
        x1, x2 = width - x2, width - x1
    if orientation in (3, 4, 6, 7):  # mirrored from top to bottom
        y1, y2 = height - y2, height - y1
    return (y1, x1, y2, x2) if orientation >= 5 else (x1, y1, x2, y2)
