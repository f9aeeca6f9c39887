"""Images in every mode, orientation and container that Pillow writes, and what stock software shows."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from datasets import Image as DatasetImage
from PIL import ExifTags, Image
from transformers.image_transforms import convert_to_rgb

SIZES = ((40, 30), (31, 47), (64, 64), (23, 90))
# What Pillow writes of a mode; JPEG and AVIF lose a little, which all readers then see alike.
CONTAINERS = {
    "1": ("PNG", "BMP", "TIFF", "PPM"),
    "L": ("PNG", "JPEG", "GIF", "BMP", "TIFF", "PPM", "WEBP"),
    "LA": ("PNG", "TIFF", "GIF"),
    "P": ("PNG", "GIF", "BMP", "TIFF"),
    "PA": ("TIFF",),
    "RGB": ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "PPM", "GIF"),
    "RGBA": ("PNG", "WEBP", "TIFF", "GIF"),
    "CMYK": ("JPEG", "TIFF"),
}
TURNING = ("PNG", "JPEG", "WEBP", "TIFF")  # containers that hold EXIF


class Picture(NamedTuple):
    name: str
    payload: bytes


def drawn(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    """Smooth colours, a transparent corner with its own colours where the mode has opacity."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 6, 4), dtype=np.uint8), "RGBA")
    image = coarse.resize(size, Image.Resampling.BICUBIC)
    image.paste((200, 10, 60, 0), (0, 0, size[0] // 3, size[1] // 2))
    if mode == "PA":
        return image.convert("RGB").convert("P").convert("PA")
    return image.convert(mode)


def encoded(image: Image.Image, form: str, orientation: int = 1, **options: object) -> bytes:
    stream = io.BytesIO()
    if orientation != 1:
        exif = Image.Exif()
        exif[ExifTags.Base.Orientation] = orientation
        options["exif"] = exif
    image.save(stream, form, **options)
    return stream.getvalue()


def pictures() -> Iterator[Picture]:
    """More than 200 of them."""
    seed = 0
    for mode, forms in CONTAINERS.items():
        for form in forms:
            for orientation in range(1, 9) if form in TURNING else (1,):
                size = SIZES[seed % len(SIZES)]
                image = drawn(size, mode, seed)
                payload = encoded(image, form, orientation)
                yield Picture(f"{mode} {form} {size} turned {orientation}", payload)
                seed += 1
    for k, size in enumerate(SIZES):
        for mode, clear in (("L", 77), ("RGB", (200, 10, 60)), ("P", 3), ("P", bytes(range(0, 250, 25)))):
            payload = encoded(drawn(size, mode, k), "PNG", transparency=clear)
            yield Picture(f"{mode} PNG {size} with {clear!r} transparent", payload)
        frames = [drawn(size, "RGB", 50 + k), drawn(size, "RGB", 60 + k)]
        for form in ("GIF", "PNG", "WEBP", "TIFF"):
            payload = encoded(frames[0], form, save_all=True, append_images=frames[1:])
            yield Picture(f"two frames {form} {size}", payload)


def stock(payload: bytes) -> np.ndarray:
    """[H, W, 3] uint8: the image as ``datasets`` opens it, in RGB as image processors make it."""
    opened = DatasetImage().decode_example({"bytes": payload, "path": None})
    return np.asarray(convert_to_rgb(opened, return_numpy=True))
