"""Inputs by ``AutoProcessor`` and by ours: ``python run_autoprocessor.py FOLDER-WITH-TORCHVISION OUT``.

The stock processors ask for torchvision. Its C++ library does not load beside a CPU torch, so the schemas of
the two operators that its Python code registers for are defined here first; nothing compared runs them.
Prints JSON: family -> backend -> per row, whether the token ids are equal and how far pixels are apart.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch

sys.path.append(sys.argv[1])
SCHEMAS = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    SCHEMAS.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")

import numpy as np  # noqa: E402
import torchvision  # noqa: E402
from PIL import Image  # noqa: E402
from transformers import AutoImageProcessor, AutoProcessor  # noqa: E402

from mixed_r1.models import FAMILIES, load_adapter, tiny_adapter  # noqa: E402
from mixed_r1.schema import Sample  # noqa: E402


def image(width: int, height: int, seed: int) -> Image.Image:
    """A smooth picture: resizing by different code stays comparable."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3), dtype=np.uint8))
    return coarse.resize((width, height), Image.Resampling.BICUBIC)


def rows() -> list[Sample]:
    def row(question: str, *images: Image.Image) -> Sample:
        return Sample(id="r", task="open_ended", question=question, answer="a", images=images)

    several = (image(96, 40, 1), image(30, 80, 2), image(64, 64, 3))
    return [row("2 + 2?"), row("What is shown?", image(200, 100, 0)), row("Which one?", *several)]


def compare(adapter, processor, row: Sample) -> dict[str, object]:
    content = [{"type": "image", "image": picture} for picture in row.images]
    stock = processor.apply_chat_template(
        [{"role": "user", "content": [*content, {"type": "text", "text": row.question}]}],
        tokenize=True,
        add_generation_prompt=True,
        return_dict=True,
        return_tensors="pt",
    )
    prompt = adapter.encode(row)
    pixels = {k: v for k, v in stock.items() if k in ("pixel_values", "image_grid_thw")}
    apart = [
        float((value - prompt.pixel_inputs[name]).abs().max()) if value.numel() else 0.0
        for name, value in pixels.items()
    ]
    return {
        "ids": torch.equal(stock["input_ids"][0], prompt.input_ids),
        "names": set(pixels) == set(prompt.pixel_inputs),
        "apart": max(apart, default=0.0),
    }


def examine(family: str, folder: Path) -> dict[str, list[dict[str, object]]]:
    tiny_adapter(family, corpus=["Which one is shown?"], max_tiles=4).save(folder)
    adapter = load_adapter(folder, dtype="float32")
    results = {}
    for backend in ("pil", "torchvision"):
        processor = AutoProcessor.from_pretrained(folder)
        processor.image_processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
        assert type(processor.image_processor).__name__.endswith("Pil") == (backend == "pil")
        results[backend] = [compare(adapter, processor, row) for row in rows()]
    return results


if __name__ == "__main__":
    out = Path(sys.argv[2])
    families = {family: examine(family, out / family) for family in FAMILIES}
    print(json.dumps({"torchvision": torchvision.__version__, "families": families}))
