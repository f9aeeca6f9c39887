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


@pytest.fixture(scope="session")
def start(tmp_path_factory):
    """A directory with the embedded data set (small) and a model that has been warmed up a little."""
    from mixed_r1.data import load_samples
    from mixed_r1.data.mini import build_mini, corpus, sft_target
    from mixed_r1.train.warmup import Example, warm_up

    root = tmp_path_factory.mktemp("start")
    paths = build_mini(root / "data", size=300)
    rows = load_samples(paths["train"])
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus(rows), seed=0)
    warm_up(adapter, [Example(row, sft_target(row)) for row in rows], steps=60)
    adapter.save(str(root / "model"))
    return root
