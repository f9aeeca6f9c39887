"""``min_pixels`` and ``max_pixels``: equal to the stock processors of those settings; boxes follow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from mixed_r1.config import ConfigError
from mixed_r1.images import open_image
from mixed_r1.models import ModelAdapter, load_adapter, tiny_adapter
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig

SIZES = ((48, 48), (200, 100), (30, 300), (640, 480), (1000, 17))
LIMITS = ((None, 4000), (3000, None), (1024, 9216), (None, None))


def noise(size: tuple[int, int], seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(
        0, 256, (size[1] // 4 + 1, size[0] // 4 + 1, 3), dtype=np.uint8
    )
    return Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)


def row(*images, **fields) -> Sample:
    return Sample(**{"id": "s", "task": "math", "question": "?", "answer": "1", "images": images, **fields})


@pytest.mark.parametrize(("least", "most"), LIMITS)
def test_qwen_sees_what_the_stock_processor_shows(corpus, least, most, tmp_path):
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus)
    start = type(adapter.image_processor)(**adapter.image_processor.to_dict())
    adapter.limit_pixels(least, most)
    images = [noise(size, seed) for seed, size in enumerate(SIZES)]
    prompt = adapter.encode(row(*images))
    size = {"shortest_edge": least or min(2304, most or 2304), "longest_edge": most or max(2304, least or 0)}
    theirs = start(images=images, size=size, return_tensors="pt")
    assert torch.equal(prompt.pixel_inputs["pixel_values"], theirs["pixel_values"])
    if most is not None:  # a strip that is one patch wide cannot be made smaller
        assert max(w * h for w, h in prompt.model_image_sizes if min(w, h) > 16) <= most
    for image, seen in zip(images, prompt.model_image_sizes, strict=True):
        # A server with wider limits makes the same of what it is sent.
        sent = open_image(adapter.sent_image(image))
        if least or most:
            assert sent.size == seen
            wide = {"shortest_edge": 1, "longest_edge": 10**9}
            served, ours = (
                start(images=[i], size=s, return_tensors="pt") for i, s in ((sent, wide), (image, size))
            )
            assert torch.equal(served["pixel_values"], ours["pixel_values"])
        else:
            assert sent.size == image.size
    adapter.save(tmp_path)
    again = load_adapter(tmp_path, dtype="float32").encode(row(*images))
    assert torch.equal(again.input_ids, prompt.input_ids)


@pytest.mark.parametrize(("most", "tiles"), [(48 * 48, 1), (48 * 48 * 3 + 5, 3), (10**9, 4)])
def test_internvl_has_as_many_tiles_as_fit(corpus, most, tiles):
    adapter = tiny_adapter("internvl", corpus=corpus, max_tiles=4)
    start = type(adapter.image_processor)(**adapter.image_processor.to_dict())
    adapter.limit_pixels(max_pixels=most)
    images = [noise(size, seed) for seed, size in enumerate(SIZES)]
    prompt = adapter.encode(row(*images))
    theirs = start(images=images, crop_to_patches=True, max_patches=tiles, return_tensors="pt")
    assert torch.equal(prompt.pixel_inputs["pixel_values"], theirs["pixel_values"])
    assert max(w * h for w, h in prompt.model_image_sizes) <= min(most, 4 * 48 * 48)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_boxes_follow(corpus, family):
    adapter = tiny_adapter(family, corpus=corpus, max_tiles=4)
    box = (10.0, 20.0, 150.0, 90.0)
    for most in (10**5, 48 * 48):
        adapter.limit_pixels(max_pixels=most)
        prompt = adapter.encode(row(noise((200, 100)), task="grounding", answer=[box]))
        spoken = adapter.to_model_box(box, prompt.row.image_size, prompt.row.resized_size)
        if family == "qwen2_5_vl":
            assert spoken[2] <= prompt.model_image_sizes[0][0] <= most
        back = adapter.from_model_box(spoken, prompt.row.image_size, prompt.row.resized_size)
        assert np.allclose(back, box)


def test_a_photo_of_twelve_megapixels(corpus):
    """Left out at the default length, with advice; with a limit it is a prompt like others."""
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus, patch_size=14, image_size=56)
    adapter.limit_pixels(3136, 12845056)  # those of the published checkpoint
    photo = row(Image.new("RGB", (4032, 3024)))
    with pytest.raises(
        ValueError, match=r"at most 8192 tokens, got 15\d\d\d, 15\d\d\d .* of images \(see max_pixels"
    ):
        adapter.encode(photo, max_tokens=8192)
    adapter.limit_pixels(max_pixels=1003520)
    prompt = adapter.encode(photo, max_tokens=8192)
    assert prompt.num_image_tokens <= 1280 and prompt.image_sizes == ((4032, 3024),)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
@pytest.mark.parametrize("limits", [(5000, 4000), (None, 100)])
def test_limits_that_leave_no_size(corpus, family, limits):
    adapter = tiny_adapter(family, corpus=corpus, max_tiles=4)
    with pytest.raises(ConfigError, match="max_pixels must be at least min_pixels"):
        adapter.limit_pixels(*limits)


def test_they_are_settings_of_a_run(corpus, tmp_path):
    tiny_adapter("qwen2_5_vl", corpus=corpus).save(tmp_path)
    values = {"model": tmp_path, "data": "d", "out": "o", "min_pixels": 256, "max_pixels": 1024}
    config = TrainConfig.from_mapping(values)
    adapter = load_adapter(tmp_path, **config.load_options())
    assert adapter.encode(row(noise((300, 300)))).model_image_sizes == ((32, 32),)


def test_a_family_whose_images_have_one_size_refuses_limits(corpus):
    adapter = tiny_adapter("internvl", corpus=corpus)
    ModelAdapter.limit_pixels(adapter)
    with pytest.raises(
        ConfigError, match="left out for internvl, whose images have one size, got None and 9"
    ):
        ModelAdapter.limit_pixels(adapter, max_pixels=9)
