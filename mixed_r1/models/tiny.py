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
from transformers import AutoConfig, AutoModelForImageTextToText, Qwen2Tokenizer
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.load import FAMILIES

__all__ = ["tiny_adapter", "train_tokenizer"]

_QWEN_TOKENS = ("<|vision_start|>", "<|vision_end|>", "<|vision_pad|>", "<|image_pad|>", "<|video_pad|>")
_INTERNVL_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")

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
    text_model: str = "qwen2",
    tied: bool = True,
    dtype: torch.dtype = torch.float32,
    system_prompt: str | None = None,
) -> ModelAdapter:
    """A small random model of ``family`` (a key of ``FAMILIES``) with a tokenizer trained on ``corpus``.

    The defaults have about 0.4 M parameters and (image_size / patch_size / 2)^2 = 9 tokens for a square
    image. Qwen images keep their aspect ratio at about ``image_size``^2 pixels; InternVL images are cut into
    up to ``max_tiles`` tiles of ``image_size``^2 (and a thumbnail). ``text_model`` is InternVL's language
    model: ``qwen2`` as in InternVL 2.5 and 3, ``qwen3`` as in 3.5. ``tied`` makes the LM head the input
    embeddings. The same arguments and ``seed`` give the same weights; the global generator is not touched.

    Raises:
        ValueError: an unknown family, sizes that do not divide, or a ``vocab_size`` below the 256 bytes and
            the special tokens.
    """
    if family not in FAMILIES:
        raise ValueError(f"family must be one of {sorted(FAMILIES)}, got {family!r}")
    _check_multiple("image_size", image_size, 2 * patch_size, "2 * patch_size")
    _check_multiple("text_hidden", text_hidden, 2 * text_heads, "2 * text_heads")
    _check_multiple("vision_hidden", vision_hidden, 4 * vision_heads, "4 * vision_heads")
    tokenizer = train_tokenizer(family, corpus, vocab_size=vocab_size)
    text = _text_config(tokenizer, hidden=text_hidden, layers=text_layers, heads=text_heads, tied=tied)
    vision = {"hidden": vision_hidden, "layers": vision_layers, "heads": vision_heads}
    if family == "internvl":
        text["model_type"] = text_model
    build = _internvl_config if family == "internvl" else _qwen_config
    config = build(family, tokenizer, text, vision, patch_size=patch_size, image_size=image_size)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=dtype, attn_implementation="sdpa")
        initialize(model)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    extra = {"processor_class": "InternVLProcessor", "image_seq_length": (image_size // patch_size // 2) ** 2}
    return FAMILIES[family](
        model.eval(),
        tokenizer,
        _image_processor(family, patch_size, image_size, max_tiles),
        family=family,
        system_prompt=system_prompt,
        extra_files={"processor_config.json": extra} if family == "internvl" else None,
    )


def _check_multiple(name: str, value: int, unit: int, rule: str) -> None:
    if value % unit:
        raise ValueError(f"{name} must be a multiple of {rule} = {unit}, got {value}")


def train_tokenizer(family: str, corpus: Iterable[str], *, vocab_size: int) -> Qwen2Tokenizer:
    """Byte-level BPE, Qwen2's pre-tokenizer (digits one by one), at most ``vocab_size`` tokens in all.

    Any text encodes. <think>, </think>, <answer>, </answer> are ordinary tokens, which decoding keeps.
    """
    internvl = family == "internvl"
    vision_tokens = tuple(_INTERNVL_TOKENS.values()) if internvl else _QWEN_TOKENS
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
    tokenizer = Qwen2Tokenizer(
        vocab=backend.get_vocab(),
        merges=[tuple(pair) for pair in json.loads(backend.to_str())["model"]["merges"]],
        eos_token="<|im_end|>",
        extra_special_tokens=_INTERNVL_TOKENS if internvl else None,
    )
    tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    tokenizer.add_tokens([AddedToken(token, special=False, normalized=False) for token in _TAGS])
    image = "<IMG_CONTEXT>" if internvl else "<|vision_start|><|image_pad|><|vision_end|>"
    tokenizer.chat_template = _CHAT_TEMPLATE.replace("IMAGE", image)
    return tokenizer


def _without_tags(corpus: Iterable[str]) -> Iterable[str]:
    """Merges are not spent on the tags, which are tokens already."""
    for text in corpus:
        for tag in _TAGS:
            text = text.replace(tag, "\n")
        yield text


def _text_config(
    tokenizer: Qwen2Tokenizer, *, hidden: int, layers: int, heads: int, tied: bool
) -> dict[str, Any]:
    half_head = hidden // heads // 2
    # Time, height and width share the rotary frequencies about 1 : 1.5 : 1.5, as in the published models.
    time = half_head // 4
    height = (half_head - time) // 2
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": hidden,
        "intermediate_size": 8 * hidden // 3 // 16 * 16,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads // 2 if heads % 2 == 0 else heads,
        "head_dim": hidden // heads,
        "max_position_embeddings": 32768,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": 10000.0,
            "mrope_section": [time, height, half_head - time - height],
        },
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "tie_word_embeddings": tied,
    }


def _qwen_config(
    family: str,
    tokenizer: Qwen2Tokenizer,
    text: dict[str, Any],
    vision: dict[str, int],
    *,
    patch_size: int,
    image_size: int,
) -> Any:
    depth, width, hidden = vision["layers"], vision["hidden"], text["hidden_size"]
    sizes: dict[str, Any] = {"depth": depth, "num_heads": vision["heads"], "patch_size": patch_size}
    if family == "qwen2_vl":
        sizes |= {"embed_dim": width, "hidden_size": hidden, "mlp_ratio": 2}
    else:
        sizes |= {"hidden_size": width, "out_hidden_size": hidden, "intermediate_size": 2 * width}
    if family == "qwen2_5_vl":
        sizes |= {"window_size": 8 * patch_size, "fullatt_block_indexes": [depth - 1]}
    if family == "qwen3_vl":
        positions = (image_size // patch_size) ** 2
        sizes |= {"num_position_embeddings": positions, "deepstack_visual_indexes": [0]}
    names = ("image_token_id", "video_token_id", "vision_start_token_id", "vision_end_token_id")
    tokens = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>")
    ids = dict(zip(names, tokenizer.convert_tokens_to_ids(list(tokens)), strict=True))
    return AutoConfig.for_model(
        family, text_config=text, vision_config=sizes, tie_word_embeddings=text["tie_word_embeddings"], **ids
    )


def _internvl_config(
    family: str,
    tokenizer: Qwen2Tokenizer,
    text: dict[str, Any],
    vision: dict[str, int],
    *,
    patch_size: int,
    image_size: int,
) -> Any:
    del text["rope_parameters"]["mrope_section"]
    return AutoConfig.for_model(
        family,
        text_config=text,
        vision_config={
            "hidden_size": vision["hidden"],
            "num_hidden_layers": vision["layers"],
            "num_attention_heads": vision["heads"],
            "intermediate_size": 2 * vision["hidden"],
            "image_size": [image_size, image_size],
            "patch_size": [patch_size, patch_size],
            "layer_scale_init_value": 1.0,
        },
        image_token_id=tokenizer.context_image_token_id,
        image_seq_length=(image_size // patch_size // 2) ** 2,
        tie_word_embeddings=text["tie_word_embeddings"],
    )


def _image_processor(family: str, patch_size: int, image_size: int, max_tiles: int) -> Any:
    if family == "internvl":
        size = {"height": image_size, "width": image_size}
        return GotOcr2ImageProcessorPil(size=size, min_patches=1, max_patches=max_tiles)
    pixels = image_size * image_size
    size = {"shortest_edge": pixels, "longest_edge": pixels}
    return Qwen2VLImageProcessorPil(size=size, patch_size=patch_size)


@torch.no_grad()
def initialize(model: nn.Module) -> None:
    """Normal(0, 1 / fan_in) weights, zero biases: the usual std of 0.02 is too small at this width."""
    for name, parameter in model.named_parameters():
        if name.endswith(("position_embeddings", "cls_token")):
            parameter.normal_(0.0, 0.2)
        elif parameter.ndim >= 2:
            parameter.normal_(0.0, math.prod(parameter.shape[1:]) ** -0.5)
        elif name.endswith("bias"):
            parameter.zero_()
