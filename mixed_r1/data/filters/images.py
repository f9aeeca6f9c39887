"""Rules for images."""

from __future__ import annotations

from mixed_r1.data.filters.base import Filter, Row

__all__ = ["ImageCount", "ImageSize"]


class ImageCount(Filter):
    """How many images a row has."""

    min_images: int = 0
    """Least images."""
    max_images: int = 8
    """Most images."""

    def reason(self, row: Row) -> str | None:
        if self.min_images <= len(row.sizes) <= self.max_images:
            return None
        return f"{len(row.sizes)} images, must be {self.min_images} to {self.max_images}"


class ImageSize(Filter):
    """Pixels of the shorter and longer side, and their ratio, of every image."""

    min_side: int = 28
    """Least pixels of the shorter side."""
    max_side: int = 8192
    """Most pixels of the longer side."""
    max_aspect: float = 10.0
    """Largest ratio of the sides."""

    def reason(self, row: Row) -> str | None:
        for width, height in row.sizes:
            if min(width, height) < self.min_side or max(width, height) > self.max_side:
                return f"{width} x {height}, sides must be {self.min_side} to {self.max_side}"
            if max(width, height) > self.max_aspect * min(width, height):
                return f"{width} x {height}, aspect ratio must be at most {self.max_aspect:g}"
        return None
