"""Qwen2.5-VL, Qwen2-VL and Qwen3-VL: M-RoPE positions, one run of image tokens per smart-resized image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional
from transformers.image_utils import SizeDict
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from mixed_r1.config import ConfigError
from mixed_r1.frames import PredictedFrame
from mixed_r1.images import open_image, png_bytes
from mixed_r1.models.adapter import ModelAdapter, ProcessedImages

__all__ = ["QwenVLAdapter"]


class _PatchProjection(nn.Conv3d):
    """The patch embedding as the matrix product it is: kernel and stride are the whole patch.

    Equal to the convolution up to the order of its sums, and faster (docs/log.md). It takes the place of the
    stock module's class, not of the module: parameters, their names and hooks stay.
    """

    def forward(self, input: Tensor) -> Tensor:
        if input.shape[1:] != self.weight.shape[1:]:
            return super().forward(input)
        return functional.linear(input.flatten(1), self.weight.flatten(1), self.bias)


class QwenVLAdapter(ModelAdapter):
    """An image is grid height x grid width / merge_size^2 tokens between vision start and end."""

    tower = ("visual",)

    def __init__(self, model: Any, tokenizer: Any, image_processor: Any, **options: Any) -> None:
        super().__init__(model, tokenizer, image_processor, **options)
        self._limited = False
        projection = self.core.visual.patch_embed.proj
        if type(projection) is nn.Conv3d and projection.kernel_size == projection.stride:
            projection.__class__ = _PatchProjection

    @classmethod
    def frame_of(cls, family: str) -> PredictedFrame:
        return "resized" if family == "qwen2_5_vl" else "norm1000"

    def _vision_tokens(self) -> Sequence[int | None]:
        config = self.model.config
        ids = [
            config.image_token_id,
            config.video_token_id,
            config.vision_start_token_id,
            config.vision_end_token_id,
        ]
        return [*ids, self.tokenizer.get_vocab().get("<|vision_pad|>")]

    def _process_images(self, images: list[Image.Image]) -> ProcessedImages:
        outputs = self.image_processor(images=images, return_tensors="pt")
        patch, merge = self.image_processor.patch_size, self.image_processor.merge_size
        grids = outputs["image_grid_thw"].tolist()
        runs = [[self.image_token_id] * (t * h * w // merge**2) for t, h, w in grids]
        sizes = [(w * patch, h * patch) for _, h, w in grids]
        return {name: outputs[name] for name in ("pixel_values", "image_grid_thw")}, runs, sizes

    def limit_pixels(self, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        """The limits of smart resizing: an image keeps its shape, and its sides are multiples of a patch."""
        if min_pixels is None and max_pixels is None:
            return
        size = self.image_processor.size
        least = min_pixels or min(size["shortest_edge"], max_pixels or size["shortest_edge"])
        most = max_pixels or max(size["longest_edge"], least)
        unit = self.image_processor.patch_size * self.image_processor.merge_size
        if not unit * unit <= most or least > most:
            raise ConfigError(
                f"max_pixels must be at least min_pixels, and {unit * unit}, got {most} and {least}"
            )
        self.image_processor.size = SizeDict(shortest_edge=least, longest_edge=most)
        self._limited = True

    def sent_image(self, source: Any) -> bytes:
        """With limits, the image at the size that we see: a server's own resizing leaves it as it is."""
        if not self._limited:
            return super().sent_image(source)
        image, processor = open_image(source), self.image_processor
        rows, columns = smart_resize(
            image.height,
            image.width,
            factor=processor.patch_size * processor.merge_size,
            min_pixels=processor.size["shortest_edge"],
            max_pixels=processor.size["longest_edge"],
        )
        return png_bytes(image.resize((columns, rows), Image.Resampling(processor.resample)))

    def _prompt_positions(self, input_ids: Tensor, pixel_inputs: dict[str, Tensor]) -> Tensor:
        if not pixel_inputs:
            return torch.arange(input_ids.numel()).expand(3, -1)
        position_ids, _ = self.core.get_rope_index(
            input_ids[None],
            mm_token_type_ids=(input_ids == self.image_token_id)[None].int(),
            image_grid_thw=pixel_inputs["image_grid_thw"],
        )
        return position_ids[:, 0]

    def _vision_features(self, pixel_inputs: dict[str, Tensor]) -> Tensor:
        features = self.core.get_image_features(
            pixel_inputs["pixel_values"], pixel_inputs["image_grid_thw"], return_dict=True
        )
        embeddings = torch.cat(list(features.pooler_output))
        # Qwen3-VL also adds features of earlier vision layers to its first hidden states: kept side by side.
        # A level is one tensor for all images up to transformers 5.17, later a tensor for each image.
        levels = getattr(features, "deepstack_features", None) or ()
        deepstack = [level if isinstance(level, Tensor) else torch.cat(list(level)) for level in levels]
        return torch.cat([embeddings, *deepstack], dim=1)

    def _language_inputs(self, is_image: Tensor, image_features: Tensor) -> tuple[Tensor, dict[str, Any]]:
        embeddings, *deepstack = torch.split(
            image_features, self.core.language_model.config.hidden_size, dim=1
        )
        if not deepstack:
            return embeddings, {}
        return embeddings, {"visual_pos_masks": is_image, "deepstack_visual_embeds": deepstack}

    def vision_parameters(self) -> list[torch.nn.Parameter]:
        """The tower without its mergers, which are the projector."""
        projector = {id(parameter) for parameter in self.projector_parameters()}
        return [parameter for parameter in self.core.visual.parameters() if id(parameter) not in projector]

    def projector_parameters(self) -> list[torch.nn.Parameter]:
        visual = self.core.visual
        mergers = [visual.merger, *getattr(visual, "deepstack_merger_list", ())]
        return [parameter for merger in mergers for parameter in merger.parameters()]
