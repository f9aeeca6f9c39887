"""Vision-language models behind one class: Qwen2.5-VL, Qwen2-VL, Qwen3-VL and InternVL."""

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.load import (
    FAMILIES,
    RemoteCodeError,
    box_frame_of,
    check_model,
    load_adapter,
    thought_of,
)
from mixed_r1.models.prompt import Prompt
from mixed_r1.models.tiny import tiny_adapter

__all__ = [
    "FAMILIES",
    "ModelAdapter",
    "Prompt",
    "RemoteCodeError",
    "box_frame_of",
    "check_model",
    "load_adapter",
    "thought_of",
    "tiny_adapter",
]
