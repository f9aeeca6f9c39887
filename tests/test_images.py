"""Images that are broken, huge or not images: refused with a reason, and without the memory they ask for."""

import io
import json
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image, features

from mixed_r1.data import check_samples, load_samples
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
from mixed_r1.images import ImageError, open_image

FORMATS = ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", *(["AVIF"] if features.check("avif") else [])]


def encoded(form, size=(96, 64), mode="RGB", seed=0):
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC).convert(mode)
    stream = io.BytesIO()
    image.save(stream, format=form)
    return stream.getvalue()


def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_bomb(width, height, color=0, depth=8):
    """A whole, valid PNG of zeros: a thousandth of its pixels' size or less."""
    line = b"\0" * (1 + (width * depth * {0: 1, 2: 3, 6: 4}[color] + 7) // 8)
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(line) for _ in range(height)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, color, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", packed) + chunk(b"IEND", b"")


def mutants(count, seed=0):
    """Flipped, cut, repeated and overwritten bytes, and PNG headers with other sizes and right checksums."""
    rng = np.random.default_rng(seed)
    bases = [encoded(form, seed=i) for i, form in enumerate(FORMATS)]
    for number in range(count):
        data = bytearray(bases[number % len(bases)])
        kind = number // len(bases) % 5
        if kind == 0:
            for place in rng.integers(0, len(data), int(rng.integers(1, 9))):
                data[place] ^= 1 << int(rng.integers(8))
        elif kind == 1:
            del data[int(rng.integers(1, len(data))) :]
        elif kind == 2:
            start = int(rng.integers(0, len(data)))
            data[start:start] = data[start : start + int(rng.integers(1, 400))]
        elif kind == 3:  # the start, where sizes stand
            start = int(rng.integers(0, 200))
            data[start : start + 4] = rng.bytes(4)
        elif data.startswith(b"\x89PNG"):
            size = struct.pack(">II", *(int(v) for v in 2 ** rng.uniform(0, 17, 2)))
            data[8:33] = chunk(b"IHDR", size + bytes(data[24:29]))
        else:
            data += rng.bytes(64)
        yield bytes(data)


@pytest.mark.parametrize("form", FORMATS)
def test_formats_that_open(form):
    assert open_image(encoded(form)).size == (96, 64)
    with pytest.raises(ImageError, match="must be decodable"):
        open_image(encoded(form)[:40])


def test_formats_that_run_programs_or_are_rare_do_not_open():
    page = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\nshowpage\n%%EOF\n"
    for data in (page, encoded("PCX"), encoded("TGA"), b"GIF89a", b"", b"\0" * 100):
        with pytest.raises(ImageError, match="must be decodable"):
            open_image(data)


@pytest.mark.parametrize(
    ("size", "color", "depth", "rule"),
    [
        ((13000, 13000), 0, 1, "must have 1 to 67108864 pixels, got 13000 x 13000"),
        ((8000, 8000), 6, 8, "must have at most 250 pixels a byte"),
        ((10**6, 1), 0, 8, "must have an aspect ratio of at most 200, got 1000000 x 1"),
    ],
)
def test_bombs_are_refused(size, color, depth, rule, tmp_path):
    data = png_bomb(*size, color=color, depth=depth)
    (tmp_path / "bomb.png").write_bytes(data)
    for source in (data, tmp_path / "bomb.png"):
        with pytest.raises(ImageError, match=rule):
            open_image(source)


def test_large_images_that_are_none_open():
    assert open_image(png_bomb(2800, 2900, depth=1)).size == (2800, 2900)  # a blank page
    photo = np.random.default_rng(0).integers(0, 256, (320, 480, 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(photo).resize((4800, 3200)).save(stream, format="JPEG", quality=70)
    assert open_image(stream.getvalue()).size == (4800, 3200)


MEASURE = """
import resource, sys
sys.path.insert(0, sys.argv[1])
from test_images import encoded, mutants, png_bomb
from mixed_r1.images import ImageError, open_image

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

cases = list(mutants(2000))
cases[::100] = [png_bomb(13000, 13000, depth=1)] * len(cases[::100])
cases[50::100] = [png_bomb(8000, 8000, color=6)] * len(cases[50::100])
for form in ("PNG", "JPEG", "WEBP"):
    open_image(encoded(form))
before, refused = peak(), 0
for data in cases:
    try:
        open_image(data)
    except ImageError:
        refused += 1
print(refused, peak() - before)
"""


def test_two_thousand_mutants_and_bombs_cost_no_memory():
    """Fault 20: nothing but ImageError, and at most 64 MB above what the process had."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(__file__).rpartition("/")[0]],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    refused, growth = done.stdout.split()
    assert 500 < int(refused) < 2000
    assert float(growth) <= 64


def test_a_build_names_the_rows_it_drops(tmp_path):
    """Every broken image is a reject that names its row; the rest of the set is built."""
    images = {"bomb": png_bomb(13000, 13000, depth=1), "line": png_bomb(10**6, 1), "good": encoded("PNG")}
    images |= {f"m{i}": data for i, data in enumerate(mutants(120, seed=1))}
    with (tmp_path / "rows.jsonl").open("w") as stream:
        for name, data in images.items():
            (tmp_path / name).write_bytes(data)
            row = {"id": name, "task": "math", "question": f"Of {name}?", "answer": "1", "images": [name]}
            stream.write(json.dumps(row) + "\n")
    source = {"name": "s", "kind": "jsonl", "options": {"path": "rows.jsonl"}}
    recipe = Recipe.from_mapping({"name": "x", "sources": [source], "dedup": None, "base": str(tmp_path)})
    result = build(recipe, tmp_path / "out")
    lines = [json.loads(line) for line in (result.out / "rejects.jsonl").read_text().splitlines()]
    refused = {line["id"].removeprefix("s/") for line in lines}
    expected = set()
    for name, data in images.items():
        try:
            open_image(data)
        except ImageError:
            expected.add(name)
    assert {"bomb", "line"} <= refused == expected and "good" not in refused
    assert {(line["stage"], line["reason"]) for line in lines} == {("check", "image")}
    kept = {sample.id.removeprefix("s/") for sample in load_samples(result.out / "train")}
    assert kept == set(images) - expected
    problems = check_samples(tmp_path / "rows.jsonl")
    assert {problem.field for problem in problems} == {"images.0"} and len(problems) == len(expected)
