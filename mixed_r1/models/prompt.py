"""What the trainer needs of a model family. One file per family implements it; nothing else knows a model.

Shapes: B rows, T tokens, P prompt tokens, A position axes (3 for M-RoPE: time, height, width; 1 elsewhere),
d hidden, V vocab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from mixed_r1.frames import Box, PredictedFrame
from mixed_r1.schema import Sample


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

    def __len__(self) -> int:
        return int(self.input_ids.numel())


class ModelAdapter(Protocol):
    """A vision-language model with its tokenizer and image processor."""

    family: str
    box_frame: PredictedFrame  # the frame of boxes this family speaks
    model: Any  # transformers PreTrainedModel, ...ForConditionalGeneration
    tokenizer: Any
    image_processor: Any
    system_prompt: str | None
    # Never sampled, and out of the training softmax: image, video, vision start and end.
    banned_tokens: tuple[int, ...]
    stop_tokens: tuple[int, ...]  # end a completion; the stop token is its last token

    def encode(self, sample: Sample, *, max_tokens: int | None = None) -> Prompt:
        """Chat template, tokenizer, image processor. ImageError or ValueError: a row it cannot encode, or not
        in ``max_tokens``."""
        ...

    def positions(self, prompt: Prompt, completion_lengths: Sequence[int]) -> Tensor:
        """Position ids [A, P + sum(lengths)] of ``[prompt | c1 | ... | cG]``.

        Each completion restarts at ``next_position``.
        """
        ...

    def image_features(self, prompts: Sequence[Prompt]) -> Tensor | None:
        """Vision tower and projector on all images of ``prompts``: [image tokens, d]; None without images."""
        ...

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor,
        attention_mask: Any,
        image_features: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Last hidden states [B, T, d] of ``input_ids`` [B, T] with ``position_ids`` [A, B, T].

        ``attention_mask`` is a 4-D mask (bool, True = attend), a FlexAttention block mask, or None (causal).
        ``image_features`` replace the image placeholders of the rows, in order. ``cache`` (a transformers
        Cache) is extended.
        """
        ...

    @property
    def output_weight(self) -> Tensor:
        """The LM head [V, d]."""
        ...

    def logits(self, hidden_Rd: Tensor) -> Tensor:
        """Logits [R, V] of hidden states [R, d]: float32, not rounded to the model's dtype."""
        ...

    def vision_parameters(self) -> list[torch.nn.Parameter]: ...

    def projector_parameters(self) -> list[torch.nn.Parameter]: ...

    def to_model_box(self, box: Box, image_size: tuple[int, int], model_image_size: tuple[int, int]) -> Box:
        """Original pixels -> the coordinates this family speaks."""
        ...

    def from_model_box(self, box: Box, image_size: tuple[int, int], model_image_size: tuple[int, int]) -> Box:
        """The inverse of ``to_model_box``."""
        ...

    def save(self, path: str) -> None:
        """Write the Hugging Face directory that ``load_adapter`` and ``from_pretrained`` read."""
        ...
