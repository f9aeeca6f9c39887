"""What goes to disk: images as bytes, samples as plain rows."""

from __future__ import annotations

import hashlib
from typing import Any

from mixed_r1.images import (
    UPRIGHT,
    ImageError,
    image_bytes,
    image_kind,
    open_image,
    png_bytes,
    stored_orientation,
)
from mixed_r1.schema import Sample

__all__ = ["hash64", "image_name", "image_payload", "to_row"]

# Field -> its default; no value of a required one equals Ellipsis.
_DEFAULTS = {
    name: ... if field.is_required() else field.get_default(call_default_factory=True)
    for name, field in Sample.model_fields.items()
    if name != "images"
}
_SUFFIXES = {"png": ".png", "jpeg": ".jpg", "gif": ".gif", "webp": ".webp"}


def image_payload(source: Any) -> bytes:
    """The encoded bytes of an image to be written: as they are stored, PIL images as PNG.

    A photo that lies on its side (EXIF) becomes an upright PNG: not every reader turns it, and boxes are
    those of the upright image.

    Raises:
        ImageError: a path that cannot be read, or a value that is no image.
    """
    payload = image_bytes(source)
    if stored_orientation(payload) == UPRIGHT:
        return payload
    try:
        return png_bytes(open_image(payload))
    except ImageError:  # whoever opens it says what is wrong with it
        return payload


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
