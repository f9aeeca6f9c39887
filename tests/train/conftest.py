"""Tiny real models and a mixed bag of prompts, shared by the trainer's tests."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from mixed_r1.models import tiny_adapter
from mixed_r1.schema import Sample

WORDS = [
    "Which digit is in the picture? Answer with one letter.",
    "<think>The bar is tall.</think><answer>42</answer>",
    "Is the left digit larger than the right digit? yes no",
    "Describe the photo: a flower on a dark ground, and a small building behind it.",
]


def image(seed: int, width: int = 48, height: int = 48) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    """Text only, one image, and several images of different sizes."""
    return [
        Sample(id="text", task="math", question="What is 2 + 2?", answer="4"),
        Sample(id="one", task="yes_no", question="Is the digit a 7?", images=(image(0),), answer="yes"),
        Sample(
            id="several",
            task="open_ended",
            question="Describe the photos, all of them, in a few words.",
            images=(image(1), image(2, 96, 48), image(3)),
            answer="a flower",
        ),
    ]


@pytest.fixture(scope="module", params=["qwen2_5_vl", "internvl"])
def adapter(request):
    return tiny_adapter(request.param, corpus=WORDS, seed=0)
