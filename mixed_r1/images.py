"""Opening images: any source a Sample may hold, decoded once, bounded before a pixel is allocated.

This is the one place that turns a source into pixels: training, evaluation, data sets, pages and requests to
servers all come through here, so they show the same picture. What is done, in this order:

1. Orientation: a photo whose EXIF data say that it lies on its side is turned, as viewers,
   ``datasets`` and ``transformers.image_utils.load_image`` do. Width, height and boxes are those of the
   turned image.
2. Depth: 16 bits a pixel become 8 by keeping the higher byte, as Pillow does for 16-bit colour. Pixels of 32
   bits and floats have no agreed white, so they are refused.
3. Transparency: the image is laid on white, as transformers' image processors do.
"""

from __future__ import annotations

import base64
import io
import os
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable
from urllib.parse import unquote, urlparse

import numpy as np
from PIL import ExifTags, Image

__all__ = [
    "MAX_PIXELS",
    "UPRIGHT",
    "ImageError",
    "StoredImage",
    "data_uri",
    "embedded",
    "image_bytes",
    "image_kind",
    "located",
    "open_image",
    "png_bytes",
    "source_name",
    "stored_orientation",
    "thumbnail",
    "thumbnail_uri",
    "web_bytes",
]

MAX_PIXELS = 64 * 1024 * 1024
MAX_ASPECT_RATIO = 200
MAX_FILE_BYTES = 256 * 1024 * 1024
# Above SMALL_PIXELS a file must hold a byte for every MAX_EXPANSION pixels: charts do, photographs by far.
SMALL_PIXELS = 8 * 1024 * 1024
MAX_EXPANSION = 250
# Pillow's other decoders are rarely fuzzed, and the one for EPS runs Ghostscript on what it is given.
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF")
LONGEST_NAME = 120  # characters of a path that a message shows
LONGEST_PATH = 4096  # characters of a path at all
UPRIGHT = 1  # EXIF orientation of an image whose stored pixels are as it is shown
# EXIF orientation -> what turns the stored pixels upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

_BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
_SCHEME = re.compile(r"(?:data|https?|file):", re.IGNORECASE)
_DATA_URI = re.compile(r"data:[\w/+.-]*(?:;[\w=.-]+)*,", re.IGNORECASE)


class ImageError(ValueError):
    """An image that cannot be used; the message says which rule it breaks."""


@runtime_checkable
class StoredImage(Protocol):
    """An image inside a file of rows, read when it is needed; ``str`` of it says where it lies."""

    def read_bytes(self) -> bytes: ...


def open_image(source: Any, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Decode ``source`` to an upright RGB PIL image.

    ``source`` is a path (also ``file://``), encoded bytes, base64 text, a data URI, a mapping with ``bytes``
    or ``path`` (as ``datasets`` has them), a PIL image, or a StoredImage. The size is read from the header
    and checked before decoding, so a decompression bomb costs no memory. Formats are those of ``FORMATS``;
    of several frames the first is taken.

    Raises:
        ImageError: unreadable or truncated data, another format, an address on the web, 32 bits or floats a
            pixel, more than ``max_pixels`` pixels, more than 8 Mi pixels out of fewer than one byte per 250
            of them, or a side more than 200 times the other (vision towers resize by aspect ratio and reject
            these).
    """
    if isinstance(source, Image.Image):
        return _shown(source)
    name = source_name(source)
    plain = _plain_source(source)
    stream: Any = plain if isinstance(plain, Path) else io.BytesIO(plain)
    try:
        with warnings.catch_warnings():
            # Warnings about sizes and metadata. What matters of them is checked here, and is an error.
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=FORMATS) as image:
                _check_size(image.size, max_pixels)
                _check_expansion(image.size, stream)
                shown = _shown(image)
                # Neither the open file nor metadata, which would be written again and may say "turn me".
                shown = shown.copy() if shown is image else shown
                shown.info = {}
                return shown
    except ImageError as error:
        raise ImageError(f"image {name}: {error}") from None
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, struct.error and more
        # An OSError repeats the path it was given, which may be base64 text that was taken for one.
        reason = getattr(error, "strerror", None) or str(error).replace(repr(stream), "it")
        raise ImageError(f"image {name} must be decodable, got {type(error).__name__}: {reason}") from None


def image_bytes(source: Any) -> bytes:
    """The encoded bytes of ``source`` as they are stored; those of a PIL image are a PNG of it.

    Raises:
        ImageError: a file that cannot be read, or no image source at all.
    """
    if isinstance(source, Image.Image):
        return png_bytes(_shown(source))
    plain = _plain_source(source)
    if isinstance(plain, bytes):
        return plain
    try:
        # A device or pipe has no end, and a file of many gigabytes is no image.
        if not plain.is_file() or plain.stat().st_size > MAX_FILE_BYTES:
            name = source_name(plain)
            raise ImageError(f"image {name} must be a file of at most {MAX_FILE_BYTES} bytes")
        return plain.read_bytes()
    except OSError as error:
        raise ImageError(f"image {source_name(plain)} must be readable, got {error.strerror}") from None


def source_name(source: Any) -> str:
    """What a message calls ``source``: its path, or its kind and length. Never its bytes or base64 text."""
    if isinstance(source, Mapping):
        return source_name(source["bytes"] if source.get("bytes") is not None else source.get("path"))
    if isinstance(source, (bytes, bytearray, memoryview)):
        return f"of {len(source)} bytes"
    if isinstance(source, str):
        encoded = _DATA_URI.match(source) or (len(source) > LONGEST_NAME and _BASE64.fullmatch(source))
        if encoded or len(source) > LONGEST_PATH or _looks_encoded(source):
            return f"of {len(source)} characters"
    if isinstance(source, (str, os.PathLike, StoredImage)):
        name = os.fspath(source) if isinstance(source, os.PathLike) else str(source)
        return name if len(name) <= LONGEST_NAME else f"...{name[-LONGEST_NAME:]}"
    return f"of type {type(source).__name__}"


def embedded(source: Any) -> Any:
    """Of a mapping of ``bytes`` and ``path``, as ``datasets`` has them, the one that is given."""
    if isinstance(source, Mapping) and set(source) <= {"bytes", "path"}:
        return source["bytes"] if source.get("bytes") is not None else source.get("path")
    return source


def located(source: Any, folder: Path) -> Any:
    """``source`` with a relative path taken from ``folder``."""
    source = embedded(source)
    if not isinstance(source, str) or _SCHEME.match(source) or _looks_encoded(source):
        return source
    return source if os.path.isabs(source) else os.path.join(folder, source)


def _plain_source(source: Any) -> bytes | Path:
    """``source`` as encoded bytes or the path of a file. Raises ImageError where it is neither."""
    source = embedded(source)
    if isinstance(source, (bytes, bytearray, memoryview)):
        return bytes(source)
    if isinstance(source, os.PathLike):
        return Path(os.fspath(source))
    if isinstance(source, str):
        return _plain_text(source)
    if isinstance(source, StoredImage):
        return source.read_bytes()
    kind = "nothing" if source is None else type(source).__name__
    raise ImageError(f"image must be a path, bytes, base64 text or a PIL image, got {kind}")


def _plain_text(text: str) -> bytes | Path:
    scheme = text[:8].lower()
    if scheme.startswith(("http:", "https:")):
        raise ImageError(f"image must be a local file or its bytes, got the address {text[:LONGEST_NAME]}")
    if scheme.startswith("file:"):
        return Path(unquote(urlparse(text).path))
    match = _DATA_URI.match(text)
    if match is not None:
        head, body = match[0].lower(), text[match.end() :]
        return _decoded(body) if "base64" in head else unquote(body).encode("latin-1", "replace")
    if "\0" in text:
        raise ImageError("image must be a path without NUL characters, got one that has some")
    if _looks_encoded(text) and not _is_file(text):
        return _decoded(text)
    return Path(text)


def _looks_encoded(text: str) -> bool:
    """Whether a text that names no file is to be read as base64: an image kind shows in its first bytes."""
    start = "".join(text[:64].split())[:32]
    if len(start) < 32 or not _BASE64.fullmatch(text[:4096].strip()):
        return False
    try:
        first = base64.b64decode(start)
    except ValueError:
        return False
    return image_kind(first) is not None or first[:2] in (b"BM", b"II", b"MM") or first[4:8] == b"ftyp"


def _is_file(text: str) -> bool:
    try:
        return Path(text).is_file()
    except (OSError, ValueError):
        return False


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError as error:
        raise ImageError(f"image must be base64, got {len(text)} characters with {error}") from None


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


def _shown(image: Image.Image) -> Image.Image:
    """The image as it is meant to be seen: upright, 8-bit RGB, opaque; itself where it is so already."""
    image.load()  # of a TIFF, Pillow turns the pixels here and forgets the orientation
    turn = _TURNS.get(_orientation(image))
    shown = _as_rgb(image)
    if turn is None:
        return shown
    turned = shown.transpose(turn)
    turned.info = {}
    return turned


def _orientation(image: Image.Image) -> int:
    """1 to 8, as EXIF counts; 1 where it is not said, or said in data that cannot be read."""
    try:
        found = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT)
    except Exception:  # of metadata alone: the pixels may be whole
        return UPRIGHT
    return found if found in range(1, 9) else UPRIGHT


def stored_orientation(source: Any) -> int:
    """How the stored pixels of an image lie (EXIF's 1 to 8, 1: upright), also where Pillow turns them itself
    when it decodes; 1 for what cannot be read.
    """
    if isinstance(source, Image.Image):
        return _orientation(source)
    try:
        plain = _plain_source(source)
        stream: Any = plain if isinstance(plain, Path) else io.BytesIO(plain)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            with Image.open(stream, formats=FORMATS) as image:
                return _orientation(image)
    except Exception:  # whoever opens the image says what is wrong with it
        return UPRIGHT


def _as_rgb(image: Image.Image) -> Image.Image:
    """8-bit RGB, laid on white where it is transparent."""
    if image.mode == "RGB" and image.info.get("transparency") is None:
        return image
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        return _from_16_bits(image)
    if image.mode in ("I", "F"):
        kind = "32-bit integers" if image.mode == "I" else "floats"
        raise ImageError(f"must have 8 or 16 bits a channel, got {kind} (mode {image.mode})")
    if image.mode in ("La", "RGBa"):  # colours already multiplied by their opacity
        image = image.convert("LA" if image.mode == "La" else "RGBA")
    if "A" not in image.getbands() and image.info.get("transparency") is None:
        return image.convert("RGB")
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, image).convert("RGB")


def _from_16_bits(image: Image.Image) -> Image.Image:
    pixels = np.asarray(image).astype(np.int64)
    gray = np.clip(pixels >> 8, 0, 255).astype(np.uint8)
    clear = image.info.get("transparency")
    if isinstance(clear, int):  # this one value is transparent
        gray[pixels == clear] = 255
    return Image.fromarray(gray).convert("RGB")


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


def web_bytes(source: Any) -> bytes:
    """``source`` for other programs, such as servers: bytes in which everyone sees what ``open_image`` shows.

    Upright, opaque PNG and JPEG files of 8-bit colour or grey go as they are. Everything else is a PNG of its
    pixels: a server may not turn it, may lay it on black, or may not know its format.

    Raises ImageError as ``open_image`` does.
    """
    if isinstance(source, Image.Image):
        return png_bytes(open_image(source))
    payload = image_bytes(source)
    opened = open_image(payload)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with Image.open(io.BytesIO(payload), formats=FORMATS) as image:
            plain = image.format in ("PNG", "JPEG") and image.mode in ("RGB", "L")
            plain = plain and image.info.get("transparency") is None and _orientation(image) == UPRIGHT
            plain = plain and getattr(image, "n_frames", 1) == 1
    return payload if plain else png_bytes(opened)


def thumbnail(image: Image.Image, max_side: int) -> bytes:
    """``image`` encoded for a page, at most ``max_side`` pixels long: small ones as PNG, others as JPEG."""
    shown = image.copy()
    shown.thumbnail((max_side, max_side))
    stream = io.BytesIO()
    if max(shown.size) <= EXACT_SIDE:
        shown.save(stream, "PNG", optimize=True)
    else:
        shown.save(stream, "JPEG", quality=85)
    return stream.getvalue()


def thumbnail_uri(image: Image.Image, max_side: int) -> str:
    """``thumbnail`` as a data URI."""
    return data_uri(thumbnail(image, max_side))
