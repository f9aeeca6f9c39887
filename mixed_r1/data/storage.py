"""What goes to disk: images as bytes, samples as plain rows."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from typing import Any

from PIL import Image

from mixed_r1.images import ImageError, image_kind, png_bytes
from mixed_r1.schema import Sample

__all__ = ["hash64", "image_name", "image_payload", "to_row"]

MAX_IMAGE_BYTES = 256 * 1024 * 1024

# Field -> its default; no value of a required one equals Ellipsis.
_DEFAULTS = {
    name: ... if field.is_required() else field.get_default(call_default_factory=True)
    for name, field in Sample.model_fields.items()
    if name != "images"
}
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "gif": ".gif", "webp": ".webp"}


def image_payload(source: Any) -> bytes:
    """The encoded bytes of an image: files and bytes as they are, PIL images as PNG.

    Raises:
        ImageError: a path that cannot be read, or a value that is no image.
    """
    if isinstance(source, Image.Image):
        return png_bytes(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        try:
            # A device or pipe has no end, and a file of many gigabytes is no image.
            if not path.is_file() or path.stat().st_size > MAX_IMAGE_BYTES:
                raise ImageError(f"image {path} must be a file of at most {MAX_IMAGE_BYTES} bytes")
            return path.read_bytes()
        except OSError as error:
            raise ImageError(f"image {path} must be readable, got {error}") from None
    raise ImageError(f"image must be a path, bytes or a PIL image, got {type(source).__name__}")


def hash64(data: bytes) -> int:
    """64 bits of BLAKE2b: the same on every machine."""
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def image_name(payload: bytes) -> str:
    """A file name made of the content: equal images share one file."""
    suffix = _SUFFIXES.get(image_kind(payload) or "", ".img")
    return hashlib.sha256(payload).hexdigest()[:24] + suffix


def to_row(sample: Sample) -> dict[str, Any]:
    """The fields of ``sample`` that differ from their default, images left out, as JSON-ready values.

    Nested values are the sample's own.
    """
    values = sample.__dict__
    return {name: values[name] for name, default in _DEFAULTS.items() if values[name] != default}
