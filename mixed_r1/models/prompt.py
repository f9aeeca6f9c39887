"""One row as a model reads it: token ids, their positions, and the inputs of the vision tower.

Shapes: P prompt tokens, A position axes (3 for M-RoPE: time, height, width; 1 elsewhere).
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mixed_r1.schema import Sample

__all__ = ["Prompt"]


@dataclass(frozen=True)
class Prompt:
    """One encoded prompt, on the CPU, image placeholders already expanded."""

    input_ids: Tensor  # [P] int64
    position_ids: Tensor  # [A, P] int64
    next_position: int  # the position of the first completion token, on every axis
    pixel_inputs: dict[str, Tensor]  # for the vision tower: all images of the prompt in order; {} for text
    image_sizes: tuple[tuple[int, int], ...] = ()  # (width, height) of the originals, pixels
    model_image_sizes: tuple[tuple[int, int], ...] = ()  # (width, height) as the model sees them, pixels
    num_image_tokens: int = 0  # placeholders in input_ids = rows of image_features() for this prompt
    # The row as its completions are scored: boxes in pixels of the image as it is shown, with the sizes that
    # take the model's boxes there.
    row: Sample | None = None

    def __len__(self) -> int:
        return int(self.input_ids.numel())
