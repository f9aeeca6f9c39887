"""Reading one tensor of a safetensors checkpoint without torch and without safetensors: a memory map behind a
checked header."""

from __future__ import annotations

import json
import math
import os
import re
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import numpy as np

__all__ = ["TensorEntry", "find_input_embedding", "map_tensor", "read_header", "tensor_locations"]

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
INDEX_NAME = "model.safetensors.index.json"
_ITEM_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_NUMPY_TYPES = {"F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_EMBEDDING_NAME = re.compile(r"(?:^|\.)(?:embed_tokens|word_embeddings|tok_embeddings|wte)\.weight$")
_VISION_PART = re.compile(r"(?:^|\.)(?:visual|vision|audio)", re.IGNORECASE)


class TensorEntry(NamedTuple):
    """Where a tensor lies in its file: ``[begin, end)`` in bytes from the start of the file."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: Path) -> dict[str, TensorEntry]:
    """The tensors of one safetensors file, by name.

    The file is not trusted: sizes, offsets and shapes are checked against the file's length before anything
    is mapped.

    Raises:
        ValueError: not a well-formed safetensors file; the message names the file and the rule.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if size < 8 or not 2 <= length <= min(MAX_HEADER_BYTES, size - 8):
            raise ValueError(
                f"{path} must start with a header length within the file, got {length} of {size} bytes"
            )
        text = file.read(length)
    try:
        header = json.loads(text.decode("utf-8"), object_pairs_hook=_unique_keys)
        if not isinstance(header, dict):
            raise ValueError("the header is not an object")
        header.pop("__metadata__", None)
        return {name: _entry(name, value, 8 + length, size) for name, value in header.items()}
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} must be a safetensors file, got {error}") from None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a header with a key given twice")
    return found


def _entry(name: str, value: Any, data: int, size: int) -> TensorEntry:
    if not isinstance(value, dict):
        raise ValueError(f"tensor {name!r} that is no object")
    dtype, shape, offsets = value.get("dtype"), value.get("shape"), value.get("data_offsets")
    if not isinstance(dtype, str) or not _is_sizes(shape) or not _is_sizes(offsets) or len(offsets) != 2:
        raise ValueError(f"tensor {name!r} with dtype {dtype!r}, shape {shape!r}, data_offsets {offsets!r}")
    begin, end = data + offsets[0], data + offsets[1]
    if not begin <= end <= size:
        raise ValueError(f"tensor {name!r} at bytes [{begin}, {end}) of a file of {size}")
    if dtype in _ITEM_BYTES and math.prod(shape) * _ITEM_BYTES[dtype] != end - begin:
        raise ValueError(f"tensor {name!r} of {end - begin} bytes for {dtype} {shape}")
    return TensorEntry(dtype, tuple(shape), begin, end)


def _is_sizes(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(item) is int and item >= 0 for item in value)


def tensor_locations(path: str | os.PathLike[str]) -> dict[str, Path]:
    """Tensor name -> file, for a checkpoint directory, a ``.safetensors`` file or a sharded index.

    Raises:
        FileNotFoundError: ``path`` or a shard does not exist.
        ValueError: ``path`` is not a safetensors checkpoint.
    """
    root = Path(path)
    if root.is_dir():
        root = _checkpoint_file(root)
    if not root.is_file():
        raise FileNotFoundError(
            f"path must be a local safetensors file or checkpoint directory, got {os.fspath(path)!r}"
        )
    if root.name.endswith(".index.json"):
        return _index_locations(root)
    return dict.fromkeys(read_header(root), root)


def _checkpoint_file(directory: Path) -> Path:
    for name in (INDEX_NAME, "model.safetensors"):
        if (directory / name).is_file():
            return directory / name
    files = sorted(directory.glob("*.safetensors"))
    if len(files) != 1:
        names = [file.name for file in files]
        raise ValueError(
            f"path must hold model.safetensors, {INDEX_NAME} or one .safetensors file, got {names}"
        )
    return files[0]


def _index_locations(index: Path) -> dict[str, Path]:
    try:
        weight_map = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        if not isinstance(weight_map, dict):
            raise ValueError(f"weight_map of type {type(weight_map).__name__}")
        # A shard is a sibling of its index: a name with a directory in it could read any file.
        outside = [file for file in weight_map.values() if not _is_shard(file)]
        if outside:
            raise ValueError(f"shard {outside[0]!r}")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(
            f"{index} must map tensor names to files beside it (weight_map), got {error!r}"
        ) from None
    return {name: index.parent / file for name, file in weight_map.items()}


def _is_shard(file: Any) -> bool:
    return isinstance(file, str) and Path(file).name == file and file.endswith(".safetensors")


def find_input_embedding(names: list[str]) -> str:
    """The one input embedding of a language model among ``names``.

    Matches ``embed_tokens`` (Qwen2.5-VL, InternVL on Qwen or Llama), ``tok_embeddings`` (InternVL on
    InternLM2), ``word_embeddings`` (BLOOM, ChatGLM, BERT) and ``wte`` (GPT-2), wherever the model nests them;
    towers for vision and audio are left out.

    Raises:
        ValueError: none or several match; the message lists them.
    """
    found = [name for name in names if _EMBEDDING_NAME.search(name) and not _VISION_PART.search(name)]
    if len(found) != 1:
        shown = found or [name for name in names if "embed" in name][:8]
        raise ValueError(
            f"name must be given where the checkpoint does not hold exactly one input embedding, got {shown}"
        )
    return found[0]


def map_tensor(path: Path, name: str) -> tuple[np.ndarray, str]:
    """Tensor ``name`` of ``path`` as a read-only memory map, and its safetensors dtype; BF16 comes as its
    uint16 bits.

    Raises:
        ValueError: no such tensor, an empty one, or a dtype other than F32, F16, BF16.
    """
    header = read_header(path)
    if name not in header:
        raise ValueError(f"name must be a tensor of {path}, got {name!r}")
    entry = header[name]
    if entry.dtype not in _NUMPY_TYPES:
        raise ValueError(f"tensor {name!r} must be F32, F16 or BF16, got {entry.dtype}")
    if entry.begin == entry.end:
        raise ValueError(f"tensor {name!r} must not be empty, got shape {entry.shape}")
    mapped = np.memmap(path, dtype=_NUMPY_TYPES[entry.dtype], mode="r", offset=entry.begin, shape=entry.shape)
    # The format does not promise alignment; a copy is made only for a file that lacks it.
    return (mapped if mapped.flags.aligned else mapped.copy()), entry.dtype
