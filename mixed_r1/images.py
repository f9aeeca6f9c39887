"""Opening images: any source a Sample may hold, decoded once, bounded before a pixel is allocated."""

from __future__ import annotations

import io
import os
import warnings
from typing import Any

from PIL import Image

__all__ = ["MAX_PIXELS", "ImageError", "open_image"]

MAX_PIXELS = 64 * 1024 * 1024
MAX_ASPECT_RATIO = 200


class ImageError(ValueError):
    """An image that cannot be used; the message says which rule it breaks."""


def open_image(source: Any, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode ``source`` (path, encoded bytes or PIL image) to an RGB PIL image.

    The size is read from the header and checked before decoding, so a decompression bomb costs no memory.
    EXIF rotation is not applied: boxes refer to the stored pixels.

    Raises:
        ImageError: unreadable or truncated data, more than ``max_pixels`` pixels, or a side more than
            200 times the other (vision towers resize by aspect ratio and reject these).
    """
    if isinstance(source, Image.Image):
        return source if source.mode == "RGB" else source.convert("RGB")
    if isinstance(source, (str, os.PathLike)):
        stream: Any = source
        name = os.fspath(source)
    elif isinstance(source, (bytes, bytearray, memoryview)):
        stream, name = io.BytesIO(source), f"{len(source)} bytes"
    else:
        raise ImageError(f"image must be a path, bytes or a PIL image, got {type(source).__name__}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(stream) as image:
                _check_size(image.size, max_pixels)
                return image.convert("RGB")
    except ImageError as error:
        raise ImageError(f"image {name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        raise ImageError(f"image {name} must be decodable, got {type(error).__name__}: {error}") from None


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width < 1 or height < 1 or width * height > max_pixels:
        raise ImageError(f"must have 1 to {max_pixels} pixels, got {width} x {height}")
    if max(size) > MAX_ASPECT_RATIO * min(size):
        raise ImageError(f"must have an aspect ratio of at most {MAX_ASPECT_RATIO}, got {width} x {height}")
