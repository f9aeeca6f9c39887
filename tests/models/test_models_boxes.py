"""Boxes: of the image they are said to be in, as it is shown, in the frame that each family writes."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageChops

from mixed_r1.images import open_image
from mixed_r1.opened import RowError, open_row
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Sample

from .pictures import encoded

SIZES = ((97, 61), (40, 120))  # of two images, in pixels
BOX = (11.0, 8.0, 30.0, 52.0)


def noise(size: tuple[int, int], seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def row(*images, **fields) -> Sample:
    values = {"id": "s", "task": "grounding", "question": "Where?", "images": images, "answer": [BOX]}
    return Sample(**{**values, **fields})


def reward_of(adapter, sample: Sample, box, number: int) -> float:
    """The reward of answering ``box`` (pixels of image ``number``) as the model writes it."""
    prompt = adapter.encode(sample)
    spoken = adapter.to_model_box(box, prompt.image_sizes[number], prompt.model_image_sizes[number])
    config = RewardConfig(format="answer").for_model(adapter.box_frame)
    batch = MixedReward(config=config)([f"<answer>{list(spoken)}</answer>"], [prompt.row])
    return float(batch.column("iou")[0])


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("frame", ["pixels", "norm1", "norm1000"])
def test_a_perfect_box_is_right_in_the_image_it_is_in(adapter, number, frame):
    images = [noise(size, seed) for seed, size in enumerate(SIZES)]
    extent = {"pixels": SIZES[number], "norm1": (1, 1), "norm1000": (1000, 1000)}[frame]
    gold = [v * e / s for v, e, s in zip(BOX, extent * 2, SIZES[number] * 2, strict=True)]
    sample = row(*images, answer=[gold], frame=frame, image_of=number)
    assert reward_of(adapter, sample, BOX, number) == pytest.approx(1.0, abs=1e-6)
    if frame == "pixels":
        assert reward_of(adapter, sample, BOX, 1 - number) < 0.9


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("drawn_on", ["shown", "stored"])
def test_a_box_of_a_turned_photo_holds_the_same_thing(adapter, orientation, drawn_on):
    """A white patch in a dark photo: found by its pixels, before or after the photo is turned."""
    stored = Image.new("RGB", (96, 64), (0, 0, 0))
    patch = (12, 20, 40, 36)
    stored.paste((255, 255, 255), patch)
    payload = encoded(stored, "PNG", orientation)
    shown = open_image(payload)
    found = ImageChops.difference(shown, Image.new("RGB", shown.size)).getbbox()
    sample = row(payload, answer=[patch if drawn_on == "stored" else found], boxes_in=drawn_on)
    assert adapter.encode(sample).row.answer == (tuple(map(float, found)),)
    assert reward_of(adapter, sample, found, 0) == pytest.approx(1.0, abs=1e-6)


def test_boxes_go_there_and_back_within_half_a_pixel(adapter):
    """Whole numbers, as models write them; the model sees no more than 1,000 steps or its own pixels."""
    rng = np.random.default_rng(0)
    for seed in range(40):
        size = tuple(int(v) for v in rng.integers(20, 400, 2))
        prompt = adapter.encode(row(noise(size, seed), answer=[[0, 0, *size]]))
        sizes = prompt.image_sizes[0], prompt.model_image_sizes[0]
        x, y = np.sort(rng.uniform(0, size[0], 2)), np.sort(rng.uniform(0, size[1], 2))
        box = (x[0], y[0], x[1], y[1])
        spoken = adapter.to_model_box(box, *sizes)
        assert np.allclose(adapter.from_model_box(spoken, *sizes), box, atol=1e-6)
        written = tuple(float(round(v)) for v in spoken)
        step = [max(0.5, s / m / 2) for s, m in zip(sizes[0], extent_of(adapter, sizes[1]), strict=True)]
        back = np.abs(np.subtract(adapter.from_model_box(written, *sizes), box))
        assert (back <= np.array(step * 2) + 1e-6).all()


def extent_of(adapter, model_size):
    return model_size if adapter.box_frame == "resized" else (1000, 1000)


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({}, "image_of: must say which of the 2 images the boxes are in"),
        ({"image_of": 2}, "image_of: must be the index of one of the 2 images, from 0, got 2"),
        (
            {"image_of": 0, "image_size": (40, 120)},
            r"image_size: must be the image's \(97, 61\), got \(40, 120\)",
        ),
        ({"image_of": 0, "answer": [[1, 1, 99, 5]]}, "answer: must hold boxes inside 97 x 61"),
        ({"image_of": 0, "answer": [[0.1, 0.2, 0.5, 0.9]]}, "looks like fractions"),
        ({"images": ("absent.png",)}, "images.0: image absent.png must be decodable"),
    ],
)
def test_rows_whose_boxes_cannot_be_placed_are_refused(fields, says):
    with pytest.raises(RowError, match=says):
        open_row(row(*[noise(size, seed) for seed, size in enumerate(SIZES)], **fields))


def test_what_a_row_says_of_itself_stands():
    images = [noise(size, seed) for seed, size in enumerate(SIZES)]
    assert open_row(row(*images, image_size=SIZES[1])).sample.image_of == 1  # the only one of that size
    tiny = row(*images, image_of=1, answer=[[0.1, 0.2, 0.5, 0.9]], frame="pixels")
    assert open_row(tiny).sample.answer == ((0.1, 0.2, 0.5, 0.9),)
    bare = row(answer=[[0, 0, 10, 10]], image_size=(20, 20))
    assert open_row(bare).sample.image_size == (20, 20)


def test_boxes_a_little_outside_are_cut():
    image = noise((97, 61), 0)
    cut = open_row(row(image, answer=[[-0.01, -1.0, 97.01, 61.5]])).sample
    assert cut.answer == ((0.0, 0.0, 97.0, 61.0),)
    assert open_row(row(image, answer=[[0, 0, 1.005, 1]], frame="norm1")).sample.answer == ((0, 0, 1, 1),)
    for answer, frame in (([[0, 0, 98.5, 5]], "pixels"), ([[0, 0, 1.02, 1]], "norm1")):
        with pytest.raises(RowError, match="must hold boxes inside"):
            open_row(row(image, answer=answer, frame=frame))
    with pytest.raises(RowError, match="must hold boxes inside"):
        open_row(row(image, answer=[[0, 0, 97.5, 5]]), clip_boxes=0.0)


def test_a_size_from_before_the_photo_was_turned_is_explained():
    payload = encoded(noise((96, 64), 0), "JPEG", 6)
    with pytest.raises(
        RowError, match=r"must be the image's \(64, 96\), got \(96, 64\), .* boxes_in: stored"
    ):
        open_row(row(payload, image_size=(96, 64)))
    assert open_row(row(payload, image_size=(96, 64), boxes_in="stored")).sample.image_size == (64, 96)
