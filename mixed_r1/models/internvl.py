"""InternVL (the Hugging Face layout of InternVL 2.5, 3 and 3.5): dynamic tiling, plain positions."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from mixed_r1.config import ConfigError
from mixed_r1.models.adapter import ModelAdapter, ProcessedImages

__all__ = ["InternVLAdapter"]


class InternVLAdapter(ModelAdapter):
    """``<img>``, image_seq_length tokens per tile, ``</img>``; of several tiles the last is a thumbnail."""

    tower = ("vision_tower", "multi_modal_projector")

    def _vision_tokens(self) -> Sequence[int | None]:
        tokens = self.tokenizer
        vocabulary = tokens.get_vocab()
        named = [tokens.start_image_token, tokens.end_image_token, tokens.video_token]
        return [self.image_token_id, *(vocabulary.get(token) for token in named)]

    def _process_images(self, images: list[Image.Image]) -> ProcessedImages:
        # The published preprocessor files say crop_to_patches=false; the model's own Processor turns it on.
        outputs = self.image_processor(images=images, crop_to_patches=True, return_tensors="pt")
        counts = outputs["num_patches"].tolist()
        pixel_values = outputs["pixel_values"]
        assert sum(counts) == pixel_values.shape[0], "the image processor must count every tile it returns"
        start, end = self.tokenizer.start_image_token_id, self.tokenizer.end_image_token_id
        per_tile = self.model.config.image_seq_length
        runs = [[start, *[self.image_token_id] * (per_tile * count), end] for count in counts]
        return {"pixel_values": pixel_values}, runs, [self._canvas(image.size) for image in images]

    def limit_pixels(self, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        """The number of tiles, and never more than the checkpoint has: a tile is all that the tower sees."""
        processor = self.image_processor
        tile = processor.size["height"] * processor.size["width"]
        most, least = processor.max_patches, processor.min_patches
        if max_pixels is not None:
            most = min(most, max_pixels // tile)
        if min_pixels is not None:
            least = min(-(-min_pixels // tile), processor.max_patches)
        if not 1 <= most or min(least, most) < 1 or (min_pixels or 0) > (max_pixels or min_pixels or 0):
            raise ConfigError(
                f"max_pixels must be at least min_pixels, and a tile of {tile} pixels, "
                f"got {max_pixels} and {min_pixels}"
            )
        processor.max_patches, processor.min_patches = most, min(least, most)

    def _canvas(self, size: tuple[int, int]) -> tuple[int, int]:
        """(width, height) of the tiled image."""
        processor = self.image_processor
        tile = (processor.size["height"], processor.size["width"])
        columns, rows = 1, 1
        if processor.max_patches > 1:
            columns, rows = get_optimal_tiled_canvas(
                (size[1], size[0]), tile, processor.min_patches, processor.max_patches
            )
        return (columns * tile[1], rows * tile[0])

    def _prompt_positions(self, input_ids: Tensor, pixel_inputs: dict[str, Tensor]) -> Tensor:
        return torch.arange(input_ids.numel())[None]

    def _vision_features(self, pixel_inputs: dict[str, Tensor]) -> Tensor:
        features = self.core.get_image_features(pixel_inputs["pixel_values"], return_dict=True)
        return features.pooler_output.flatten(0, 1)

    def vision_parameters(self) -> list[torch.nn.Parameter]:
        return list(self.core.vision_tower.parameters())

    def projector_parameters(self) -> list[torch.nn.Parameter]:
        return list(self.core.multi_modal_projector.parameters())
