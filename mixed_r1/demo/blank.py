"""Are image questions answered from the image? The same questions again, with blank images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image

from mixed_r1.images import open_image
from mixed_r1.models import ModelAdapter
from mixed_r1.rewards import MixedReward
from mixed_r1.rollout import SamplingParams
from mixed_r1.schema import Sample
from mixed_r1.train.evaluation import evaluate
from mixed_r1.train_config import TrainConfig

__all__ = ["BlankControl", "blank_control", "blanked"]


@dataclass(frozen=True)
class BlankControl:
    """Mean greedy reward of ``rows`` image questions, and the paired difference that the image makes."""

    rows: int
    image: float
    blank: float
    difference: float
    stderr: float

    def record(self) -> Mapping[str, Any]:
        return asdict(self)

    def line(self) -> str:
        return (
            f"{self.image:.3f} with the image, {self.blank:.3f} with a blank one "
            f"({self.difference:+.3f} +- {self.stderr:.3f}, {self.rows} questions)"
        )


def blanked(sample: Sample) -> Sample:
    """The row with each image replaced by one of the same size, all of it the color of its first pixel."""
    images = []
    for source in sample.images:
        image = open_image(source)
        images.append(Image.new("RGB", image.size, image.convert("RGB").getpixel((0, 0))))
    return sample.model_copy(update={"images": tuple(images)})


def blank_control(adapter: ModelAdapter, samples: Sequence[Sample], config: TrainConfig) -> BlankControl:
    """Greedy answers to ``samples`` with their images and with blank ones, scored as in ``config``.

    Raises:
        ValueError: a sample without an image.
    """
    if missing := [sample.id for sample in samples if not sample.images]:
        raise ValueError(f"samples must have an image each, got {missing[0]} without one")
    reward = MixedReward(config=config.reward.model_copy(update={"box_frame": adapter.box_frame}))
    params = SamplingParams.of(config, greedy=True)
    means = []
    for rows in (samples, [blanked(sample) for sample in samples]):
        result = evaluate(adapter, rows, reward, params=params, seed=config.seed)
        means.append(np.array([float(row["reward"] or 0.0) for row in result.rows]))
    differences = means[0] - means[1]
    count = len(differences)
    stderr = float(differences.std(ddof=1) / np.sqrt(count)) if count > 1 else 0.0
    return BlankControl(
        count, float(means[0].mean()), float(means[1].mean()), float(differences.mean()), stderr
    )
