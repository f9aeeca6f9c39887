"""What a model is shown: the pixels that stock software shows it, whatever the image is stored as."""

from __future__ import annotations

import base64
import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from mixed_r1.data import load_samples, save_samples
from mixed_r1.images import ImageError, open_image, web_bytes
from mixed_r1.models import tiny_adapter
from mixed_r1.schema import Sample

from .pictures import drawn, encoded, pictures, stock

PICTURES = list(pictures())


def test_images_open_as_datasets_and_image_processors_show_them():
    assert len(PICTURES) >= 200
    for name, payload in PICTURES:
        assert np.array_equal(np.asarray(open_image(payload)), stock(payload)), name


def test_pixel_values_are_those_of_the_stock_processor(adapter, make_sample):
    """The stock processor is given what ``datasets`` decodes, our prompt the stored bytes."""
    for start in range(0, len(PICTURES), 64):
        chosen = [payload for _, payload in PICTURES[start : start + 64]]
        prompt = adapter.encode(make_sample("?", *chosen))
        decoder = datasets.Image()
        images = [decoder.decode_example({"bytes": payload, "path": None}) for payload in chosen]
        options = {"crop_to_patches": True} if adapter.family == "internvl" else {}
        theirs = adapter.image_processor(images=images, return_tensors="pt", **options)
        assert torch.equal(prompt.pixel_inputs["pixel_values"], theirs["pixel_values"])
        assert prompt.image_sizes == tuple(image.size for image in images)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_16_bit_grey_keeps_its_shades(form):
    pixels = np.linspace(0, 65535, 40 * 30).reshape(30, 40).astype(np.uint16)
    shown = np.asarray(open_image(encoded(Image.fromarray(pixels), form)))
    assert np.array_equal(shown, np.repeat((pixels >> 8).astype(np.uint8)[..., None], 3, axis=2))
    assert np.array_equal(np.asarray(open_image(Image.fromarray(pixels))), shown)


def test_16_bit_colour_keeps_its_shades(tmp_path):
    """imageio writes what Pillow cannot."""
    iio = pytest.importorskip("imageio.v3")
    tifffile = pytest.importorskip("tifffile")
    pixels = np.random.default_rng(0).integers(0, 65536, (20, 30, 3), dtype=np.uint16)
    tifffile.imwrite(tmp_path / "deep.tiff", pixels)
    assert np.array_equal(iio.imread(tmp_path / "deep.tiff"), pixels)
    assert np.array_equal(np.asarray(open_image(tmp_path / "deep.tiff")), (pixels >> 8).astype(np.uint8))


@pytest.mark.parametrize(
    ("pixels", "kind"), [(np.zeros((4, 4), np.float32), "floats"), (np.zeros((4, 4), np.int32), "32-bit")]
)
def test_what_has_no_agreed_white_is_refused_by_name(pixels, kind):
    image = Image.fromarray(pixels)
    for source in (image, encoded(image, "TIFF")):
        with pytest.raises(ImageError, match=f"must have 8 or 16 bits a channel, got {kind}"):
            open_image(source)


def test_a_black_drawing_on_a_transparent_ground_is_black_on_white():
    image = Image.new("RGBA", (40, 20), (0, 0, 0, 0))
    image.paste((0, 0, 0, 255), (10, 5, 20, 15))
    premultiplied = image.convert("RGBa")
    for source in (image, premultiplied, encoded(image, "PNG"), encoded(image.convert("LA"), "PNG")):
        shown = open_image(source)
        assert shown.getpixel((15, 10)) == (0, 0, 0) and shown.getpixel((0, 0)) == (255, 255, 255)


def test_every_form_of_a_source_is_the_same_image(tmp_path):
    payload = encoded(drawn((40, 30), "RGB", 7), "JPEG", orientation=6)
    path = tmp_path / "photo with space.jpg"
    path.write_bytes(payload)
    text = base64.b64encode(payload).decode()
    expected = np.asarray(open_image(payload))
    assert expected.shape == (40, 30, 3)  # turned
    opened = Image.open(io.BytesIO(payload))
    forms = [path, str(path), path.as_uri(), bytearray(payload), memoryview(payload), text, opened]
    forms += [f"data:image/jpeg;base64,{text}", "\n".join(text[i : i + 76] for i in range(0, len(text), 76))]
    forms += [
        {"bytes": payload, "path": "absent.jpg"},
        {"bytes": None, "path": str(path)},
        {"bytes": payload},
    ]
    for source in forms:
        shown = open_image(source)
        assert np.array_equal(np.asarray(shown), expected)
        assert np.array_equal(np.asarray(open_image(shown)), expected)  # and is not turned twice


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("https://a.example/b.png", "image must be a local file or its bytes, got the address https://a.ex"),
        (None, "got nothing"),
        (3, "got int"),
        ({"bytes": None, "path": None}, "got nothing"),
        ("data:image/png;base64,AAAA", "must be decodable"),
        ("a\0b.png", "without NUL"),
    ],
)
def test_what_is_no_image_is_named(source, says):
    with pytest.raises(ImageError, match=says):
        open_image(source)


def test_no_message_prints_an_encoded_image():
    payload = encoded(drawn((64, 64), "RGB", 1), "PNG")[:-40]
    text = base64.b64encode(payload).decode()
    for source in (payload, text, f"data:image/png;base64,{text}", text[5:], "x" * 5000):
        with pytest.raises(ImageError) as caught:
            open_image(source)
        assert len(str(caught.value)) < 200 and text[100:140] not in str(caught.value)


def test_what_we_write_and_send_needs_no_turning_and_no_white(tmp_path):
    """Written bytes carry no orientation; sent ones show the same pixels also to who drops opacity."""
    chosen = [picture for picture in PICTURES if "turned 6" in picture.name or "RGBA" in picture.name]
    rows = [
        Sample(id=str(i), task="math", question="?", answer="1", images=(payload,))
        for i, (_, payload) in enumerate(chosen)
    ]
    save_samples(rows, tmp_path / "rows.parquet")
    cache = str(tmp_path / "cache")
    theirs = datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=cache)
    raw = theirs.cast_column("images", datasets.List(datasets.Image(decode=False)))
    for (name, payload), row, stored, ours in zip(
        chosen, theirs, raw, load_samples(tmp_path / "rows.parquet"), strict=True
    ):
        expected = stock(payload)
        assert Image.open(io.BytesIO(stored["images"][0]["bytes"])).getexif().get(0x112, 1) == 1, name
        assert row["images"][0].size == (expected.shape[1], expected.shape[0]), name
        assert np.array_equal(np.asarray(open_image(ours.images[0])), expected), name
        sent = Image.open(io.BytesIO(web_bytes(payload)))
        assert np.array_equal(np.asarray(sent.convert("RGB")), expected), name


def test_a_plain_file_is_sent_as_it_is():
    for form in ("PNG", "JPEG"):
        payload = encoded(drawn((64, 64), "RGB", 1), form)
        assert web_bytes(payload) == payload


def test_the_families_see_the_turned_size(corpus):
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus)
    payload = encoded(drawn((90, 23), "RGB", 3), "JPEG", orientation=8)
    row = Sample(id="s", task="math", question="?", answer="1", images=(payload,))
    assert adapter.encode(row).image_sizes == ((23, 90),)
