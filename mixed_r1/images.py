"""Opening images: any source a Sample may hold, decoded once, bounded before a pixel is allocated."""

from __future__ import annotations

import base64
import io
import os
import warnings
from typing import Any

from PIL import Image

__all__ = ["MAX_PIXELS", "ImageError", "data_uri", "image_kind", "open_image", "png_bytes", "thumbnail_uri"]

MAX_PIXELS = 64 * 1024 * 1024
MAX_ASPECT_RATIO = 200
# Above SMALL_PIXELS a file must hold a byte for every MAX_EXPANSION pixels: charts do, photographs by far.
SMALL_PIXELS = 8 * 1024 * 1024
MAX_EXPANSION = 250
# Pillow's other decoders are rarely fuzzed, and the one for EPS runs Ghostscript on what it is given.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")


class ImageError(ValueError):
    """An image that cannot be used; the message says which rule it breaks."""


def open_image(source: Any, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode ``source`` (path, encoded bytes or PIL image) to an RGB PIL image.

    The size is read from the header and checked before decoding, so a decompression bomb costs no memory.
    Formats are those of ``FORMATS``. EXIF rotation is not applied: boxes refer to the stored pixels.

    Raises:
        ImageError: unreadable or truncated data, another format, more than ``max_pixels`` pixels, more than
            8 Mi pixels out of fewer than one byte per 250 of them, or a side more than 200 times the
            other (vision towers resize by aspect ratio and reject these).
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
            # Warnings about sizes and metadata. What matters of them is checked here, and is an error.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=FORMATS) as image:
                _check_size(image.size, max_pixels)
                _check_expansion(image.size, stream)
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


def _check_expansion(size: tuple[int, int], stream: Any) -> None:
    pixels = size[0] * size[1]
    if pixels <= SMALL_PIXELS:
        return
    num_bytes = stream.getbuffer().nbytes if isinstance(stream, io.BytesIO) else os.stat(stream).st_size
    if pixels > MAX_EXPANSION * num_bytes:
        raise ImageError(
            f"must have at most {MAX_EXPANSION} pixels a byte above {SMALL_PIXELS} pixels, "
            f"got {size[0]} x {size[1]} in {num_bytes} bytes"
        )


_MAGIC = {b"\x89PNG": "png", b"\xff\xd8\xff": "jpeg", b"GIF8": "gif", b"RIFF": "webp"}
EXACT_SIDE = 128  # pixels up to which a small picture on a page keeps every one of them


def image_kind(payload: bytes) -> str | None:
    """png, jpeg, gif or webp by the first bytes of an encoded image; None for others."""
    return next((kind for magic, kind in _MAGIC.items() if payload.startswith(magic)), None)


def data_uri(payload: bytes) -> str:
    """An encoded image as a data URI; what is none of ``image_kind`` is said to be PNG."""
    return f"data:image/{image_kind(payload) or 'png'};base64,{base64.b64encode(payload).decode()}"


def png_bytes(image: Image.Image) -> bytes:
    """``image`` as PNG."""
    stream = io.BytesIO()
    image.save(stream, "PNG")
    return stream.getvalue()


def thumbnail_uri(image: Image.Image, max_side: int) -> str:
    """``image`` for a page, at most ``max_side`` pixels long: small ones as PNG, others as JPEG."""
    shown = image.copy()
    shown.thumbnail((max_side, max_side))
    stream = io.BytesIO()
    if max(shown.size) <= EXACT_SIDE:
        shown.save(stream, "PNG", optimize=True)
    else:
        shown.save(stream, "JPEG", quality=85)
    return data_uri(stream.getvalue())
