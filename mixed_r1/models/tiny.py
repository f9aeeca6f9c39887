"""Small real models from config, with a tokenizer trained on the spot: for the demo, tests and benchmarks.

Nothing is imitated: the model, image processor and tokenizer classes are those of the published checkpoints,
and a saved tiny model is loaded by ``load_adapter`` and ``from_pretrained`` like any other.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import torch
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModelForImageTextToText,
    InternVLConfig,
    Qwen2_5_VLConfig,
    Qwen2Config,
    Qwen2Tokenizer,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mixed_r1.models.adapter import VisionLanguageAdapter
from mixed_r1.models.internvl import InternVLAdapter
from mixed_r1.models.qwen2_5_vl import QwenVLAdapter

__all__ = ["tiny_adapter", "train_tokenizer"]

_QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")
_IMAGE_TEXT = {"qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>", "internvl": "<IMG_CONTEXT>"}

# Roles cost no tokens: a turn ends with <|im_end|>, and only the assistant's begins with <|im_start|>.
_CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{%- if message['role'] == 'assistant' %}{{- '<|im_start|>' }}{%- endif %}"
    "{%- if message['content'] is string %}{{- message['content'] }}"
    "{%- else %}{%- for part in message['content'] %}"
    "{%- if part['type'] == 'image' %}{{- 'IMAGE' }}{%- else %}{{- part['text'] }}{%- endif %}"
    "{%- endfor %}{%- endif %}"
    "{{- '<|im_end|>' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>' }}{%- endif %}"
)


def tiny_adapter(
    family: str,
    *,
    corpus: Iterable[str],
    seed: int = 0,
    vocab_size: int = 448,
    text_hidden: int = 96,
    text_layers: int = 2,
    text_heads: int = 4,
    vision_hidden: int = 64,
    vision_layers: int = 2,
    vision_heads: int = 4,
    patch_size: int = 8,
    image_size: int = 48,
    max_tiles: int = 1,
    dtype: torch.dtype = torch.float32,
    system_prompt: str | None = None,
) -> VisionLanguageAdapter:
    """A small random model of ``family`` ("qwen2_5_vl" or "internvl") with a tokenizer trained on ``corpus``.

    The defaults have about 0.4 M parameters and (image_size / patch_size / 2)^2 = 9 tokens for a square
    image. Qwen images keep their aspect ratio at about ``image_size``^2 pixels; InternVL images are cut into
    up to ``max_tiles`` tiles of ``image_size``^2 (and a thumbnail). The same arguments and ``seed`` give the
    same weights; the global generator is not touched.

    Raises:
        ValueError: an unknown family, sizes that do not divide, or a ``vocab_size`` below the 256 bytes and
            the special tokens.
    """
    if family not in _IMAGE_TEXT:
        raise ValueError(f"family must be one of {sorted(_IMAGE_TEXT)}, got {family!r}")
    if image_size % (2 * patch_size):
        raise ValueError(
            f"image_size must be a multiple of 2 * patch_size, got {image_size} and {patch_size}"
        )
    for name, hidden, heads, unit in (
        ("text", text_hidden, text_heads, 2),
        ("vision", vision_hidden, vision_heads, 4),
    ):
        if hidden % (heads * unit):
            raise ValueError(
                f"{name}_hidden must be a multiple of {unit} * {name}_heads, got {hidden} and {heads}"
            )
    tokenizer = train_tokenizer(family, corpus, vocab_size=vocab_size)
    text = _text_config(tokenizer, hidden=text_hidden, layers=text_layers, heads=text_heads)
    vision = {
        "hidden_size": vision_hidden,
        "num_heads": vision_heads,
        "layers": vision_layers,
        "patch_size": patch_size,
    }
    if family == "qwen2_5_vl":
        config = _qwen_config(tokenizer, text, vision)
        pixels = image_size * image_size
        image_processor: Any = Qwen2VLImageProcessorPil(
            size={"shortest_edge": pixels, "longest_edge": pixels}, patch_size=patch_size
        )
    else:
        config = _internvl_config(tokenizer, text, vision, image_size)
        image_processor = GotOcr2ImageProcessorPil(
            size={"height": image_size, "width": image_size}, min_patches=1, max_patches=max_tiles
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
        _initialize(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    adapter = QwenVLAdapter if family == "qwen2_5_vl" else InternVLAdapter
    return adapter(model.eval(), tokenizer, image_processor, family=family, system_prompt=system_prompt)


def train_tokenizer(family: str, corpus: Iterable[str], *, vocab_size: int) -> Qwen2Tokenizer:
    """Byte-level BPE, Qwen2's pre-tokenizer (digits one by one), at most ``vocab_size`` tokens in all.

    Any text encodes. The tags <think>, </think>, <answer>, </answer> are ordinary tokens: decoding keeps
    them.
    """
    vision_tokens = _QWEN_TOKENS if family == "qwen2_5_vl" else tuple(_INTERNVL_TOKENS.values())
    special = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", *vision_tokens)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    room = vocab_size - len(special) - len(_TAGS)
    if room < len(alphabet):
        raise ValueError(f"vocab_size must be at least {vocab_size - room + len(alphabet)}, got {vocab_size}")
    backend = Tokenizer(models.BPE())
    backend.normalizer = normalizers.NFC()
    backend.pre_tokenizer = Qwen2Tokenizer().backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=room, initial_alphabet=sorted(alphabet), show_progress=False)
    backend.train_from_iterator(_without_tags(corpus), trainer)
    merges = _merges(backend)
    tokenizer = Qwen2Tokenizer(
        vocab=backend.get_vocab(),
        merges=merges,
        eos_token="<|im_end|>",
        extra_special_tokens=_INTERNVL_TOKENS if family == "internvl" else None,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in _TAGS])
    tokenizer.chat_template = _CHAT_TEMPLATE.replace("IMAGE", _IMAGE_TEXT[family])
    return tokenizer


def _without_tags(corpus: Iterable[str]) -> Iterable[str]:
    """Merges are not spent on the tags, which are tokens already."""
    for text in corpus:
        for tag in _TAGS:
            text = text.replace(tag, "\n")
        yield text


def _merges(backend: Tokenizer) -> list[tuple[str, str]]:
    return [tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]]


def _text_config(tokenizer: Qwen2Tokenizer, *, hidden: int, layers: int, heads: int) -> dict[str, Any]:
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 8 * hidden // 3 // 16 * 16,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2 if heads % 2 == 0 else heads,
        "max_position_embeddings": 32768,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0},
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": True,
    }


def _qwen_config(tokenizer: Qwen2Tokenizer, text: dict[str, Any], vision: dict[str, Any]) -> Qwen2_5_VLConfig:
    half_head = text["hidden_size"] // text["num_attention_heads"] // 2
    # Time, height and width share the rotary frequencies 1 : 1.5 : 1.5, as in the published models.
    time = half_head // 4
    height = (half_head - time) // 2
    text["rope_parameters"]["mrope_section"] = [time, height, half_head - time - height]
    ids = {token: tokenizer.convert_tokens_to_ids(token) for token in _QWEN_TOKENS}
    return Qwen2_5_VLConfig(
        text_config=text,
        vision_config={
            "depth": vision["layers"],
            "hidden_size": vision["hidden_size"],
            "intermediate_size": 2 * vision["hidden_size"],
            "num_heads": vision["num_heads"],
            "patch_size": vision["patch_size"],
            "window_size": 8 * vision["patch_size"],
            "out_hidden_size": text["hidden_size"],
            "fullatt_block_indexes": [vision["layers"] - 1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )


def _internvl_config(
    tokenizer: Qwen2Tokenizer, text: dict[str, Any], vision: dict[str, Any], image_size: int
) -> InternVLConfig:
    return InternVLConfig(
        text_config=Qwen2Config(**text),
        vision_config={
            "hidden_size": vision["hidden_size"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["num_heads"],
            "intermediate_size": 2 * vision["hidden_size"],
            "image_size": [image_size, image_size],
            "patch_size": [vision["patch_size"], vision["patch_size"]],
            "layer_scale_init_value": 1.0,
        },
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=(image_size // vision["patch_size"] // 2) ** 2,
        tie_word_embeddings=True,
    )


@torch.no_grad()
def _initialize(model: nn.Module) -> None:
    """Normal(0, 1 / fan_in) weights, zero biases: the usual std of 0.02 is too small at this width."""
    for name, parameter in model.named_parameters():
        if parameter.ndim >= 2 and "position_embeddings" not in name and "cls_token" not in name:
            fan_in = parameter.shape[1] if "embed_tokens" in name else math.prod(parameter.shape[1:])
            parameter.normal_(0.0, fan_in**-0.5)
        elif name.endswith("bias"):
            parameter.zero_()
        elif parameter.ndim >= 2:
            parameter.normal_(0.0, 0.2)
