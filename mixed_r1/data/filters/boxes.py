"""Rules for gold boxes."""

from __future__ import annotations

from mixed_r1.data.filters.base import Filter, Row

__all__ = ["Boxes"]


class Boxes(Filter):
    """How many boxes, how much of the image each covers, and the shorter side in pixels."""

    max_boxes: int = 10
    """Most boxes of a row."""
    max_share: float = 0.5
    """Largest share of the image that a box covers."""
    min_share: float = 0.0
    """Smallest share of the image that a box covers."""
    min_side: float = 1.0
    """Least pixels of the shorter side of a box."""

    def reason(self, row: Row) -> str | None:
        sample = row.sample
        if not sample.boxes:
            return None
        if len(sample.boxes) > self.max_boxes:
            return f"{len(sample.boxes)} boxes, must be at most {self.max_boxes}"
        if len(set(sample.boxes)) < len(sample.boxes):
            return "boxes must differ"
        width, height = sample.image_size or row.sizes[0]
        for x1, y1, x2, y2 in sample.boxes:
            share = (x2 - x1) * (y2 - y1) / (width * height)
            if not self.min_share <= share <= self.max_share:
                return (
                    f"box covers {share:.3f} of the image, must be {self.min_share:g} to {self.max_share:g}"
                )
            if min(x2 - x1, y2 - y1) < self.min_side:
                return f"box of {x2 - x1:g} x {y2 - y1:g}, sides must be at least {self.min_side:g}"
        return None
