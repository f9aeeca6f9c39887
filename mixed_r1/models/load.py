"""Loading a checkpoint: the family by ``model_type``, native classes, remote code refused."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, AutoTokenizer

# From its own module: up to 5.17 the one of `transformers` raises where torchvision is not installed.
from transformers.models.auto.image_processing_auto import AutoImageProcessor
from transformers.utils import cached_file

from mixed_r1.config import ConfigError
from mixed_r1.frames import PredictedFrame
from mixed_r1.models.adapter import ModelAdapter, rendered_thought
from mixed_r1.models.internvl import InternVLAdapter
from mixed_r1.models.qwen2_5_vl import QwenVLAdapter
from mixed_r1_kernels.verify.settings import Think

__all__ = ["FAMILIES", "RemoteCodeError", "box_frame_of", "check_model", "load_adapter", "thought_of"]

FAMILIES: dict[str, type[ModelAdapter]] = {
    "qwen2_5_vl": QwenVLAdapter,
    "qwen2_vl": QwenVLAdapter,
    "qwen3_vl": QwenVLAdapter,
    "internvl": InternVLAdapter,
}

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_TEMPLATE_FILES = ("chat_template.jinja", "chat_template.json", "tokenizer_config.json")
_CODE_FILES = ("config.json", "tokenizer_config.json", "preprocessor_config.json", "processor_config.json")


class RemoteCodeError(ValueError):
    """A checkpoint that brings its own Python code, which was not allowed to run."""


def load_adapter(
    path: str | os.PathLike[str],
    *,
    dtype: str | torch.dtype,
    device: str | torch.device = "cpu",
    revision: str | None = None,
    trust_remote_code: bool = False,
    system_prompt: str | None = None,
    image_options: Mapping[str, Any] | None = None,
    min_pixels: int | None = None,
    max_pixels: int | None = None,
    weights: bool = True,
) -> ModelAdapter:
    """Load a Hugging Face checkpoint (a directory, or a repository name) of a supported family.

    ``image_options`` override fields of the image processor: ``{"max_patches": 6}`` bounds the tiles of an
    InternVL image, ``{"size": {"shortest_edge": 3136, "longest_edge": 1003520}}`` the pixels of a Qwen one.
    ``min_pixels`` and ``max_pixels`` do either, see ``ModelAdapter.limit_pixels``.
    Images are resized by Pillow even where torchvision is installed, so that a run does not depend on it.
    Attention is SDPA. Without ``weights`` none is read: the model, on the meta device, can encode rows and be
    counted, and nothing else.

    Raises:
        ValueError: no ``config.json``, an unsupported ``model_type`` or ``dtype``.
        RemoteCodeError: the checkpoint names Python code of its own (``auto_map``), and ``trust_remote_code``
            is not set or ``revision`` is not a full commit hash.
    """
    name = os.fspath(path)
    model_type = _read_json(name, "config.json", revision).get("model_type")
    if model_type not in FAMILIES:
        raise ValueError(f"path must hold a model_type of {sorted(FAMILIES)}, got {model_type!r} in {name}")
    source: dict[str, Any] = {
        "revision": revision or "main",
        "trust_remote_code": _remote_code_allowed(name, revision, trust_remote_code),
    }
    model = _model(name, weights, dtype=_checked_dtype(dtype), attn_implementation="sdpa", **source)
    tokenizer = _tokenizer(name, source)
    image_processor = AutoImageProcessor.from_pretrained(
        name, backend="pil", **source, **(image_options or {})
    )
    adapter = FAMILIES[model_type](
        model.to(device) if weights else model,
        tokenizer,
        image_processor,
        family=model_type,
        system_prompt=system_prompt,
        extra_files=_processor_files(name, revision),
    )
    adapter.limit_pixels(min_pixels, max_pixels)
    return adapter


def check_model(directory: Path) -> None:
    """Raise ConfigError unless ``directory`` holds a checkpoint of a supported family.

    To be called before a run begins: transformers would ask the hub again and again for a directory that does
    not exist.
    """
    file = directory / "config.json"
    if not file.is_file():
        raise ConfigError(f"model must be a directory with config.json, got {directory}")
    family = json.loads(file.read_text(encoding="utf-8")).get("model_type")
    if family not in FAMILIES:
        raise ConfigError(f"model must have a model_type of {sorted(FAMILIES)}, got {family!r} in {file}")


def box_frame_of(directory: Path) -> PredictedFrame:
    """The frame in which the model of ``directory`` writes boxes, without loading it. Raises as
    ``check_model``.
    """
    check_model(directory)
    family = json.loads((directory / "config.json").read_text(encoding="utf-8"))["model_type"]
    return FAMILIES[family].frame_of(family)


def thought_of(directory: Path, tag: str) -> Think:
    """Whether the prompts of the model of ``directory`` open the thought ``<tag>``, without loading it."""
    files = [directory / name for name in _TEMPLATE_FILES]
    if not any(file.is_file() and f"<{tag}>" in file.read_text(encoding="utf-8") for file in files):
        return "written"  # the tokenizer of most models is spared
    return rendered_thought(_tokenizer(str(directory), {"trust_remote_code": False}), tag)


def _tokenizer(name: str, source: dict[str, Any]) -> Any:
    tokenizer = AutoTokenizer.from_pretrained(name, **source)
    # Checkpoints written before transformers 4.50 keep the template that knows images in a file of its own.
    template = _read_json(name, "chat_template.json", source.get("revision")).get("chat_template")
    tokenizer.chat_template = template or tokenizer.chat_template
    return tokenizer


def _model(name: str, weights: bool, **options: Any) -> Any:
    if weights:
        return AutoModelForImageTextToText.from_pretrained(name, **options)
    config = AutoConfig.from_pretrained(name, revision=options.pop("revision"), trust_remote_code=False)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, **options)
    model.tie_weights()
    return model


def _processor_files(name: str, revision: str | None) -> dict[str, dict[str, Any]]:
    """What servers read beside the image processor, which newer checkpoints nest in here too."""
    names = ("processor_config.json", "video_preprocessor_config.json")
    files = {file: _read_json(name, file, revision) for file in names}
    files["processor_config.json"].pop("image_processor", None)
    return {file: content for file, content in files.items() if content}


def _read_json(name: str, file: str, revision: str | None) -> dict[str, Any]:
    """The JSON file of a checkpoint, {} where it has none."""
    found = cached_file(
        name,
        file,
        revision=revision,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_gated_repo=True,
    )
    if found is None:
        if file == "config.json":
            raise ValueError(f"path must be a Hugging Face checkpoint, got {name} without config.json")
        return {}
    content = json.loads(Path(found).read_text(encoding="utf-8"))
    return content if isinstance(content, dict) else {}


def _remote_code_allowed(name: str, revision: str | None, trust_remote_code: bool) -> bool:
    """Whether the checkpoint brings code of its own. RemoteCodeError where it does and must not."""
    naming = [file for file in _CODE_FILES if "auto_map" in _read_json(name, file, revision)]
    if not naming:
        return False
    if not trust_remote_code:
        raise RemoteCodeError(
            f"path must be a checkpoint without code of its own, got auto_map in {naming} of {name}; "
            "use one in the native layout, or read that code, set trust_remote_code and pin revision"
        )
    if revision is None or not re.fullmatch(r"[0-9a-f]{40}", revision):
        raise RemoteCodeError(
            f"revision must be a full commit hash where remote code is trusted, got {revision!r}"
        )
    return True


def _checked_dtype(dtype: str | torch.dtype) -> torch.dtype:
    if isinstance(dtype, torch.dtype):
        return dtype
    if dtype not in _DTYPES:
        raise ValueError(f"dtype must be one of {sorted(_DTYPES)}, got {dtype!r}")
    return _DTYPES[dtype]
