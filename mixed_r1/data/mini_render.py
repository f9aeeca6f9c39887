"""Pictures of the mini set, drawn with Pillow at any multiple of three pixels (48 by default)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["COLORS", "bars_image", "digit_card", "draw_frame", "paste_card", "photo_crop"]

COLORS = {"red": (214, 39, 40), "green": (44, 160, 44), "blue": (31, 87, 200), "black": (20, 20, 20)}


def digit_card(ink: np.ndarray, side: int) -> Image.Image:
    """A white card of ``side`` pixels with the handwritten digit in dark ink; ``ink`` is [8, 8] uint8."""
    enlarged = Image.fromarray(255 - ink).resize((side, side), Image.Resampling.BICUBIC)
    return enlarged.convert("RGB")


def photo_crop(
    photo: Image.Image, side: int, rng: np.random.Generator
) -> tuple[Image.Image, tuple[int, int, int, int]]:
    """A random square of ``photo`` resized to ``side`` pixels, and its corners in ``photo``."""
    largest = min(photo.size)
    extent = int(largest * rng.uniform(0.35, 0.7)) if largest > 200 else int(largest * rng.uniform(0.6, 1.0))
    x = int(rng.integers(0, photo.width - extent + 1))
    y = int(rng.integers(0, photo.height - extent + 1))
    corners = (x, y, x + extent, y + extent)
    return photo.crop(corners).resize((side, side), Image.Resampling.BOX), corners


def paste_card(image: Image.Image, ink: np.ndarray, box: Sequence[int]) -> None:
    """Draw a digit card that fills ``box`` exactly."""
    image.paste(digit_card(ink, box[2] - box[0]), (box[0], box[1]))


def draw_frame(image: Image.Image) -> None:
    """A black frame, so that a patch at the border shows where in the image it is."""
    ImageDraw.Draw(image).rectangle(
        (0, 0, image.width - 1, image.height - 1), outline=(0, 0, 0), width=max(1, image.width // 24)
    )


def bars_image(values: Sequence[int], colors: Sequence[str], side: int) -> Image.Image:
    """Three bars on a 0..100 axis with lines at 0, 50 and 100; each fills the middle of its third."""
    image = Image.new("RGB", (side, side), (255, 255, 255))
    draw: Any = ImageDraw.Draw(image)
    unit = side / 48
    base, scale = 46 * unit, 0.44 * unit
    for level in (0, 50, 100):
        y = round(base - level * scale)
        draw.line([(0, y), (side, y)], fill=(200, 200, 200))
    for column, (value, color) in enumerate(zip(values, colors, strict=True)):
        left = column * side / len(values)
        corners = [
            round(left + 2 * unit),
            round(base - value * scale),
            round(left + 14 * unit) - 1,
            round(base),
        ]
        draw.rectangle(corners, fill=COLORS[color])
    return image
