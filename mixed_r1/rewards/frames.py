"""Boxes of gold and prediction in one frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixed_r1.schema import Sample

__all__ = ["in_one_frame"]


def in_one_frame(sample: Sample, predicted: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Gold boxes [G, 4] and the factors (4,) of predicted ones, both to pixels.

    Where the image size is unknown but both are in the same frame they stay there: IoU is the same in both.
    """
    gold = np.array(sample.answer, np.float64).reshape(-1, 4)
    if sample.image_size is None and sample.frame == predicted:
        return gold, np.ones(4)
    return gold * _to_pixels(sample.frame, sample), _to_pixels(predicted, sample)


def _to_pixels(frame: str, sample: Sample) -> NDArray[np.float64]:
    if frame == "pixels":
        return np.ones(4)
    if sample.image_size is None:
        raise ValueError(f"image_size must be given to convert boxes from frame {frame!r}, got None")
    size = np.array(sample.image_size * 2, np.float64)
    if frame == "norm1":
        return size
    if frame == "norm1000":
        return size / 1000.0
    if sample.resized_size is None:
        raise ValueError("resized_size must be given to convert boxes from frame 'resized', got None")
    return size / np.array(sample.resized_size * 2, np.float64)
