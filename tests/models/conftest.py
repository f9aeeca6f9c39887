"""Real tiny models of each family, and the stock processors of transformers as the other side of comparisons.

The processor classes ask for a video processor, which needs torchvision; a subclass whose signature leaves it
out keeps their image and text code, which is what is compared here, as it is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    InternVLProcessor,
    Qwen2_5_VLProcessor,
    Qwen2VLProcessor,
    Qwen3VLProcessor,
)

from mixed_r1.models import ModelAdapter, tiny_adapter
from mixed_r1.schema import Sample

CORPUS = (
    "What digit is shown in the image? <think>It is a two.</think><answer>2</answer>",
    "Is there a cat in the first image? yes or no",
    "Which bar of the chart is highest, and by how much? Describe the picture in one sentence.",
)


STOCK_PROCESSORS = {
    "qwen2_5_vl": Qwen2_5_VLProcessor,
    "qwen2_vl": Qwen2VLProcessor,
    "qwen3_vl": Qwen3VLProcessor,
    "internvl": InternVLProcessor,
}


def _processor(adapter: ModelAdapter) -> Any:
    class ImageTextProcessor(STOCK_PROCESSORS[adapter.family]):
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **options: Any) -> None:
            super().__init__(image_processor, tokenizer, None, **options)

    options = {"image_seq_length": 9} if adapter.family == "internvl" else {}
    template = adapter.tokenizer.chat_template
    return ImageTextProcessor(adapter.image_processor, adapter.tokenizer, chat_template=template, **options)


def _image(width: int, height: int, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _sample(question: str, *images: Any, **fields: Any) -> Sample:
    defaults = {"id": "s", "task": "open_ended", "answer": "a", "question": question, "images": images}
    return Sample(**{**defaults, **fields})


@pytest.fixture(scope="session")
def corpus() -> tuple[str, ...]:
    return CORPUS


@pytest.fixture(scope="session", params=(*STOCK_PROCESSORS, "internvl-qwen3"))
def adapter(request: pytest.FixtureRequest) -> ModelAdapter:
    """``internvl-qwen3`` is the layout of InternVL3.5, whose language model is a Qwen3."""
    family, _, text_model = request.param.partition("-")
    return tiny_adapter(family, corpus=CORPUS, seed=0, max_tiles=4, text_model=text_model or "qwen2")


@pytest.fixture(scope="session")
def stock_model(adapter: ModelAdapter, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The class of transformers, as ``from_pretrained`` loads it: nothing of ours in it."""
    path = tmp_path_factory.mktemp("stock")
    adapter.save(path)
    return AutoModelForImageTextToText.from_pretrained(path, dtype=torch.float32)


@pytest.fixture(scope="session")
def make_image() -> Callable[..., Image.Image]:
    return _image


@pytest.fixture(scope="session")
def make_sample() -> Callable[..., Sample]:
    return _sample


@pytest.fixture(scope="session")
def stock_inputs() -> Callable[..., dict[str, Any]]:
    """What the stock processor makes of the questions and images of samples, or of the ``content`` of a
    message: a right-padded batch."""

    def process(adapter: ModelAdapter, *samples: Sample, content: Any = None) -> dict[str, Any]:
        conversations = [
            [
                {
                    "role": "user",
                    "content": content
                    or [{"type": "image", "image": image} for image in sample.images]
                    + [{"type": "text", "text": sample.question}],
                }
            ]
            for sample in samples
        ]
        options = {
            "tokenize": True,
            "add_generation_prompt": True,
            "return_dict": True,
            "return_tensors": "pt",
        }
        padding = {"padding": True, "padding_side": "right"}
        return dict(
            _processor(adapter).apply_chat_template(conversations, **options, processor_kwargs=padding)
        )

    return process


@pytest.fixture(scope="session")
def mixed_samples() -> list[Sample]:
    """Text only, one image, several images of different shapes."""
    return [
        _sample("Is two more than 1?"),
        _sample("What digit is shown?", _image(48, 48)),
        _sample("Which image shows the chart?", _image(96, 40, 1), _image(30, 80, 2), _image(64, 64, 3)),
    ]
