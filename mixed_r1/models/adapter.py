"""What the trainer needs of a model family, and what the families share: prompt assembly, the language model
on embeddings, saving. One file per family fills in the rest; nothing else in the package knows a model.

Shapes: B rows, T tokens, P prompt tokens, A position axes (3 for M-RoPE: time, height, width; 1 elsewhere),
R rows of hidden states, d hidden, V vocab.
"""

from __future__ import annotations

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from PIL import Image
from torch import Tensor

from mixed_r1.chat import chat_messages
from mixed_r1.config import ConfigError
from mixed_r1.frames import Box, PredictedFrame, Size, convert
from mixed_r1.images import web_bytes
from mixed_r1.models.attention import ATTENTION
from mixed_r1.models.prompt import Prompt
from mixed_r1.models.template import render
from mixed_r1.opened import CLIP_BOXES, box_image, open_row
from mixed_r1.schema import Sample, lone_surrogate
from mixed_r1_kernels.verify.settings import Think

__all__ = ["ModelAdapter", "rendered_thought"]

# Image tokens that the tower makes together where no gradient is taken.
TOWER_TOKENS = 16384
# Vision tower inputs; per image, the token ids that stand for it and its size as the model sees it.
ProcessedImages = tuple[dict[str, Tensor], list[list[int]], list[tuple[int, int]]]


class ModelAdapter(ABC):
    """A ``...ForConditionalGeneration`` of transformers, its tokenizer and its image processor.

    A family adds how its images become tokens, its positions, and the coordinates its boxes are written in.
    ``hidden_states`` runs the language model on embeddings, so that image features computed once serve the
    prefill, every completion of a group, and (with a frozen tower) the training step.
    """

    family: str
    # The modules between pixels and features, below ``core``: where ``lora_vision_targets`` are looked for.
    tower: ClassVar[tuple[str, ...]] = ()
    box_frame: PredictedFrame  # the frame (see mixed_r1.frames) of the boxes that this family writes
    # Never sampled, and out of the training softmax: image, video, vision start and end.
    banned_tokens: tuple[int, ...]
    stop_tokens: tuple[int, ...]  # end a completion; the stop token is its last token

    def __init__(
        self,
        model: Any,
        tokenizer: Any,
        image_processor: Any,
        *,
        family: str,
        system_prompt: str | None = None,
        extra_files: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        self.model = model
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.family = family
        self.box_frame = self.frame_of(family)
        self.system_prompt = system_prompt
        self.extra_files = dict(extra_files or {})  # JSON files of the checkpoint that only others read
        # Kept apart from self.model, which training may wrap (LoRA); wrapping replaces submodules in place.
        self.core = model.model
        self.image_token_id: int = model.config.image_token_id
        self.core.language_model.set_attn_implementation(ATTENTION)
        self.banned_tokens = tuple(sorted({token for token in self._vision_tokens() if token is not None}))
        self.stop_tokens = tuple(sorted(_stop_tokens(model, tokenizer)))
        if not self.stop_tokens:
            raise ConfigError(
                "model must have an end-of-sequence token, got none: set eos_token_id in its "
                "generation_config.json, or eos_token in its tokenizer_config.json"
            )

    @classmethod
    def frame_of(cls, family: str) -> PredictedFrame:
        """The frame (see mixed_r1.frames) in which a model of ``family`` writes boxes."""
        return "norm1000"

    @abstractmethod
    def _vision_tokens(self) -> Sequence[int | None]:
        """Every token id that only the prompt may hold."""

    @abstractmethod
    def _process_images(self, images: list[Image.Image]) -> ProcessedImages:
        """One image-processor call for all images of a prompt."""

    def limit_pixels(self, min_pixels: int | None = None, max_pixels: int | None = None) -> None:
        """Show images with at least and at most so many pixels, as far as the family knows sizes.

        Saved with the model, so that it is served as it was trained. Raises ConfigError for limits that leave
        no size; where a family does not say otherwise, its images have one size, and any limit is refused.
        """
        if min_pixels is not None or max_pixels is not None:
            raise ConfigError(
                f"min_pixels and max_pixels must be left out for {self.family}, whose images have one size, "
                f"got {min_pixels} and {max_pixels}"
            )

    def sent_image(self, source: Any) -> bytes:
        """An image for a server whose own limits are not ours: what it makes of it is what we see."""
        return web_bytes(source)

    @abstractmethod
    def _prompt_positions(self, input_ids: Tensor, pixel_inputs: dict[str, Tensor]) -> Tensor:
        """Position ids [A, P] of a prompt with ``input_ids`` [P]."""

    @abstractmethod
    def _vision_features(self, pixel_inputs: dict[str, Tensor]) -> Tensor:
        """Vision tower and projector: [image tokens, d]."""

    @abstractmethod
    def vision_parameters(self) -> list[torch.nn.Parameter]: ...

    @abstractmethod
    def projector_parameters(self) -> list[torch.nn.Parameter]: ...

    @property
    def device(self) -> torch.device:
        return self.core.get_input_embeddings().weight.device

    @property
    def output_weight(self) -> Tensor:
        """The LM head [V, d]."""
        return self.model.get_output_embeddings().weight

    def logits(self, hidden_Rd: Tensor) -> Tensor:
        """hidden @ output_weight.T [R, V]: the float32 sums of the product, as in the policy's log-probs.

        Rounded to the dtype of a half-precision model they would give log-probs that are off by hundredths.
        """
        weight_Vd = self.output_weight
        if weight_Vd.dtype not in (torch.bfloat16, torch.float16):
            return (hidden_Rd @ weight_Vd.T).float()
        if weight_Vd.is_cuda:
            return torch.mm(hidden_Rd, weight_Vd.T, out_dtype=torch.float32)
        # The CPU rounds a product to its operands' dtype: they are widened, a block of the vocabulary at a
        # time.
        wide_Rd, blocks_vd = hidden_Rd.float(), torch.split(weight_Vd, 8192)
        return torch.cat([wide_Rd @ block_vd.T.float() for block_vd in blocks_vd], dim=1)

    def encode(
        self, sample: Sample, *, max_tokens: int | None = None, clip_boxes: float = CLIP_BOXES
    ) -> Prompt:
        """Chat template, tokenizer and image processor; image placeholders expanded to one token per feature.

        Boxes that leave their image by up to ``clip_boxes`` pixels are cut to it in the prompt's ``row``.

        Raises:
            RowError: an image that cannot be opened, boxes that cannot be placed (see ``open_row``).
            ValueError: messages that cannot be rendered, text that holds an image placeholder or a lone
                surrogate, or more tokens than ``max_tokens``.
        """
        row, images = open_row(sample, clip_boxes=clip_boxes)
        pixel_inputs, runs, model_sizes = self._process_images(images) if images else ({}, [], [])
        text = render(self.tokenizer, chat_messages(sample, self.system_prompt))
        if (lone := lone_surrogate(text)) is not None:
            raise ValueError(f"messages must be text that UTF-8 can hold, got a lone surrogate {lone!a}")
        token_ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        input_ids = torch.tensor(self._expanded(token_ids, runs), dtype=torch.int64)
        num_image_tokens = sum(run.count(self.image_token_id) for run in runs)
        if max_tokens is not None and len(input_ids) > max_tokens:
            images_too = (
                f", {num_image_tokens} of them of images (see max_pixels)" if num_image_tokens else ""
            )
            raise ValueError(
                f"prompt must have at most {max_tokens} tokens, got {len(input_ids)}{images_too}"
            )
        position_ids = self._prompt_positions(input_ids, pixel_inputs)
        return Prompt(
            input_ids=input_ids,
            position_ids=position_ids,
            next_position=int(position_ids.max()) + 1,
            pixel_inputs=pixel_inputs,
            image_sizes=tuple(image.size for image in images),
            model_image_sizes=tuple(model_sizes),
            num_image_tokens=num_image_tokens,
            row=_as_seen(row, [image.size for image in images], model_sizes),
        )

    def _expanded(self, token_ids: list[int], runs: list[list[int]]) -> list[int]:
        """Replace the i-th placeholder by ``runs[i]``, as expanding the text would: added tokens split it."""
        if token_ids.count(self.image_token_id) != len(runs):
            placeholder = self.tokenizer.convert_ids_to_tokens(self.image_token_id)
            found = token_ids.count(self.image_token_id)
            raise ValueError(
                f"sample must have one image placeholder per image, got {found} for {len(runs)} images; "
                f"its text must not hold {placeholder}, and the chat template must render images"
            )
        remaining = iter(runs)
        expanded: list[int] = []
        for token in token_ids:
            expanded.extend(next(remaining) if token == self.image_token_id else [token])
        return expanded

    def positions(self, prompt: Prompt, completion_lengths: Sequence[int]) -> Tensor:
        """Position ids [A, P + sum(lengths)] of ``[prompt | c1 | ... | cG]``, int64.

        Every completion counts up from ``prompt.next_position`` on each axis.
        """
        axes = prompt.position_ids.shape[0]
        restarts = [torch.arange(length) + prompt.next_position for length in completion_lengths]
        return torch.cat([prompt.position_ids, *(restart.expand(axes, -1) for restart in restarts)], dim=1)

    def image_features(self, prompts: Sequence[Prompt]) -> Tensor | None:
        """Vision tower and projector on the images of ``prompts``, in order: [image tokens, d]; None without.

        Gradients flow into whatever part of the tower and projector requires them.
        """
        inputs = [prompt.pixel_inputs for prompt in prompts if prompt.pixel_inputs]
        if not inputs:
            return None
        joined = {name: torch.cat([one[name] for one in inputs]).to(self.device) for name in inputs[0]}
        return self._vision_features(joined)

    @torch.no_grad()
    def feature_list(
        self, prompts: Sequence[Prompt], *, max_tokens: int = TOWER_TOKENS
    ) -> list[Tensor | None]:
        """[B] the features of each of B prompts, without gradient; None for a prompt without images.

        The tower runs on as many prompts together as have at most ``max_tokens`` image tokens (one at least):
        its memory does not grow with B.
        """
        found: list[Tensor | None] = [None] * len(prompts)
        waiting: list[int] = []
        for i, prompt in enumerate(prompts):
            if not prompt.num_image_tokens:
                continue
            together = sum(prompts[k].num_image_tokens for k in waiting)
            if waiting and together + prompt.num_image_tokens > max_tokens:
                self._fill_features(found, prompts, waiting)
                waiting = []
            waiting.append(i)
        self._fill_features(found, prompts, waiting)
        return found

    def _fill_features(
        self, found: list[Tensor | None], prompts: Sequence[Prompt], chosen: list[int]
    ) -> None:
        features = self.image_features([prompts[i] for i in chosen])
        if features is not None:
            shares = torch.split(features, [prompts[i].num_image_tokens for i in chosen])
            for i, share in zip(chosen, shares, strict=True):
                found[i] = share

    def hidden_states(
        self,
        input_ids: Tensor,
        *,
        position_ids: Tensor,
        attention_mask: Any,
        image_features: Tensor | None = None,
        cache: Any = None,
    ) -> Tensor:
        """Last hidden states [B, T, d], after the final norm, of ``input_ids`` [B, T].

        ``position_ids`` is [A, B, T]. ``attention_mask``: bool [B, 1, T, L] (True = attend; L counts the
        cached tokens too), a FlexAttention ``BlockMask``, or None for causal rows without padding.
        ``image_features`` [image tokens, d] replace the placeholders, row by row. ``cache`` (a transformers
        ``DynamicCache``) is read and extended.

        Raises:
            ValueError: ``image_features`` has not exactly one row per image placeholder.
        """
        embeddings = self.core.get_input_embeddings()(input_ids)
        extra: dict[str, Any] = {}
        # A single decoded token is never an image (banned_tokens), so decoding is spared the check.
        if image_features is not None or input_ids.shape[1] > 1:
            is_image = input_ids == self.image_token_id
            _check_count(is_image, image_features)
        if image_features is not None:
            features, extra = self._language_inputs(is_image, image_features)
            embeddings = embeddings.masked_scatter(is_image.unsqueeze(-1), features.to(embeddings.dtype))
        output = self.core.language_model(
            inputs_embeds=embeddings,
            position_ids=position_ids if position_ids.shape[0] > 1 else position_ids[0],
            attention_mask=attention_mask,
            past_key_values=cache,
            use_cache=cache is not None,
            **extra,
        )
        return output.last_hidden_state

    def _language_inputs(self, is_image: Tensor, image_features: Tensor) -> tuple[Tensor, dict[str, Any]]:
        """What replaces the placeholders [image tokens, d], and further inputs of the language model."""
        return image_features, {}

    def thought(self, tag: str) -> Think:
        """``prefilled`` where prompts end inside ``<tag>``, as some chat templates have it."""
        return rendered_thought(self.tokenizer, tag)

    def to_model_box(self, box: Box, image_size: tuple[int, int], model_image_size: tuple[int, int]) -> Box:
        """Original pixels -> the coordinates this family speaks (``box_frame``), unrounded."""
        return convert(box, "pixels", self.box_frame, image_size, model_image_size)

    def from_model_box(self, box: Box, image_size: tuple[int, int], model_image_size: tuple[int, int]) -> Box:
        """The inverse of ``to_model_box``."""
        return convert(box, self.box_frame, "pixels", image_size, model_image_size)

    def save(
        self,
        path: str | os.PathLike[str],
        *,
        state_dict: dict[str, Tensor] | None = None,
        max_shard_size: str = "5GB",
    ) -> None:
        """Write model, tokenizer, image processor and ``extra_files`` as a Hugging Face directory.

        ``state_dict`` replaces the model's own where an engine has gathered a sharded one.
        """
        self.model.save_pretrained(path, state_dict=state_dict, max_shard_size=max_shard_size)
        self.tokenizer.save_pretrained(path)
        self.image_processor.save_pretrained(path)
        for name, content in self.extra_files.items():
            Path(path, name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def rendered_thought(tokenizer: Any, tag: str) -> Think:
    """What the chat template of ``tokenizer`` does before a completion: ``prefilled`` where it opens
    ``<tag>``.
    """
    messages = [{"role": "user", "content": [{"type": "text", "text": "?"}]}]
    text = render(tokenizer, messages)
    return "prefilled" if text.rstrip().endswith(f"<{tag}>") else "written"


def _as_seen(row: Sample, sizes: Sequence[Size], model_sizes: Sequence[Size]) -> Sample:
    """``row`` with the size at which the model sees the image that its boxes are in."""
    number = box_image(row, sizes) if row.boxes else None
    return row if number is None else row.model_copy(update={"resized_size": model_sizes[number]})


def _check_count(is_image: Tensor, image_features: Tensor | None) -> None:
    expected, found = int(is_image.sum()), 0 if image_features is None else image_features.shape[0]
    if expected != found:
        raise ValueError(
            f"image_features must have one row per image token, got {found} for {expected} tokens"
        )


def _stop_tokens(model: Any, tokenizer: Any) -> set[int]:
    configured = model.generation_config.eos_token_id if model.generation_config is not None else None
    ids = configured if isinstance(configured, (list, tuple)) else [configured]
    return {int(token) for token in (*ids, tokenizer.eos_token_id) if token is not None}
