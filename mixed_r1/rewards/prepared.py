"""A row as the scorer needs it: the compiled gold, the weights, the boxes in one frame. Made once per
distinct row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.config import COLUMN_OF, RewardConfig
from mixed_r1.schema import Sample
from mixed_r1_kernels.verify import CompiledGold, compile_gold

__all__ = ["PreparedRow", "content_key", "prepare"]

NO_BOXES: NDArray[np.float64] = np.zeros((0, 4))


@dataclass(frozen=True, eq=False)
class PreparedRow:
    """``column``: where the task's reward goes. ``error``: why the row cannot be scored; it is masked then.

    ``boxes`` [G, 4] are the gold boxes and ``scale`` (4,) takes predicted boxes to their frame: pixels of
    the original image, or the common normalised frame of both where no image size is known.
    """

    config: RewardConfig
    column: int
    weights: NDArray[np.float64]  # [K]
    gold: CompiledGold
    error: str | None = None
    boxes: NDArray[np.float64] = field(default_factory=lambda: NO_BOXES)
    scale: NDArray[np.float64] = field(default_factory=lambda: np.ones(4))


def content_key(sample: Sample) -> tuple[Any, ...]:
    """What the scoring of ``sample`` depends on, hashable."""
    overrides = repr(sorted(sample.reward.items())) if sample.reward else None
    sizes = (sample.frame, sample.image_size, sample.resized_size)
    return (sample.task, sample.answer, sample.options, sizes, overrides)


def prepare(sample: Sample, base: RewardConfig, names: tuple[str, ...]) -> PreparedRow:
    """Compile one row. A row that cannot be scored is returned with its ``error``, never raised."""
    column, config, error = names.index(COLUMN_OF[sample.task]), base, None
    try:
        config = base.for_task(sample.task, sample.reward)
        by_name = config.column_weights(names)
    except ValueError as problem:
        error = f"reward must hold settings that fit: {problem}"
        by_name = base.column_weights(names)
    weights = np.array([by_name[name] for name in names])
    settings = config.verify_settings()
    gold = compile_gold(sample.task, sample.answer, options=sample.options or (), settings=settings)
    error = error or gold.error
    boxes, scale = NO_BOXES, np.ones(4)
    if sample.task == "grounding" and error is None:
        try:
            boxes, scale = _in_one_frame(sample, config.box_frame)
        except ValueError as problem:
            error = str(problem)
    return PreparedRow(config, column, weights, gold, error, boxes, scale)


def _in_one_frame(sample: Sample, predicted: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
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
