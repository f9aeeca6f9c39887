"""The mini set: a mixed data set of real images small enough for a 0.4 M-parameter model on two cores.

Handwritten digits, photographs and tables that ship in PyPI packages become yes/no, multiple choice, chart,
grounding, caption and text-only rows. Splits share no digit image, no photo region, no table and no pair of
numbers. Row i of a kind depends only on (seed, split, kind, i). ``metadata`` holds ``kind``, ``think`` (the
target reasoning) and ``origins`` (the material of the row).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from mixed_r1.data.engine import build
from mixed_r1.data.mini_material import BACKGROUNDS, CATEGORIES, SPLITS, Material, Table
from mixed_r1.data.mini_render import COLORS, bars_image, digit_card, draw_frame, paste_card, photo_crop
from mixed_r1.data.recipe import Recipe, SourceSpec
from mixed_r1.data.storage import image_payload
from mixed_r1.schema import LETTERS, Sample

__all__ = ["MINI_RECIPE", "build_mini", "corpus", "mini_row", "mini_plan", "sft_target"]

_SPLIT_SHARE = {"train": 0.8, "validation": 0.05, "test": 0.15}
_Fields = dict[str, Any]

MINI_RECIPE = Path(__file__).parent / "recipes" / "mini.yaml"


def build_mini(
    out_dir: str | os.PathLike[str], *, seed: int = 0, size: int = 5000, image_size: int = 48
) -> dict[str, Path]:
    """Build the recipe ``mini.yaml`` into ``out_dir``; returns split -> its JSONL file.

    ``size`` is the number of rows of all splits together (80% train, 5% validation, 15% test). Equal
    arguments give equal bytes; an ``out_dir`` that already holds them is left as it is.

    Raises:
        ValueError: an ``image_size`` that is not a multiple of 3, or below 12.
        BuildError: ``out_dir`` holds other files, or is being built.
    """
    if image_size < 12 or image_size % 3:
        raise ValueError(f"image_size must be a multiple of 3, at least 12, got {image_size}")
    recipe = Recipe.read(MINI_RECIPE)
    source = SourceSpec(
        name="mini", kind="mini", options={"seed": seed, "size": size, "image_size": image_size}
    )
    result = build(recipe.model_copy(update={"seed": seed, "sources": (source,)}), out_dir, keep_work=False)
    return {split: result.out / f"{split}.jsonl" for split in SPLITS if split in result.rows}


def mini_plan(split: str, *, seed: int, size: int) -> list[tuple[str, int]]:
    """(kind, number) of every row of one split in a seeded order, kinds mixed by their shares."""
    rows = round(size * _SPLIT_SHARE[split])
    counts = _apportion(rows, [share for share, _ in _KINDS.values()])
    plan = [(kind, i) for kind, count in zip(_KINDS, counts, strict=True) for i in range(count)]
    return [plan[k] for k in np.random.default_rng([seed, SPLITS.index(split)]).permutation(len(plan))]


def mini_row(
    material: Material, kind: str, number: int, *, split: str, seed: int, image_size: int
) -> _Fields:
    """The fields of one row."""
    rng = np.random.default_rng([seed, SPLITS.index(split), list(_KINDS).index(kind), number])
    fields = _KINDS[kind][1](material, rng, image_size)
    fields["metadata"] = {
        "kind": kind,
        "split": split,
        "think": fields.pop("think"),
        "origins": fields.pop("origins"),
    }
    image = fields.pop("image", None)
    if image is not None:
        fields["images"] = [image_payload(image)]
    return {"id": f"{split}-{kind}-{number:05d}", **fields}


def sft_target(sample: Sample) -> str:
    """The completion a model should give: ``<think>...</think><answer>...</answer>`` with the right answer.

    Boxes are rendered in ``sample.frame`` as ``[x1, y1, x2, y2]``, several as ``[[...], [...]]``; whole
    numbers without a point.
    """
    if sample.task == "grounding":
        listed = ["[" + ", ".join(f"{v:g}" for v in box) + "]" for box in sample.answer]
        answer = listed[0] if len(listed) == 1 else "[" + ", ".join(listed) + "]"
    elif isinstance(sample.answer, tuple):
        answer = "[" + ", ".join(sample.answer) + "]"
    else:
        answer = str(sample.answer)
    return f"<think>{sample.metadata.get('think', '')}</think><answer>{answer}</answer>"


def corpus(samples: Iterable[Sample]) -> Iterator[str]:
    """Every text of ``samples``: what a tokenizer for them is trained on."""
    for sample in samples:
        yield sample.question
        yield from (f"{LETTERS[i]}. {option}" for i, option in enumerate(sample.options or ()))
        yield sft_target(sample)


def _apportion(total: int, shares: list[float]) -> list[int]:
    """Whole numbers in proportion to ``shares`` that add up to ``total`` (largest remainders)."""
    exact = [total * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts


def _pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _labels(rng: np.random.Generator, count: int) -> list[int]:
    """``count`` different digits."""
    return [int(v) for v in rng.choice(10, size=count, replace=False)]


def _shuffled_options(right: str, wrong: list[str], rng: np.random.Generator) -> tuple[tuple[str, ...], str]:
    """(options, letter of the right one)."""
    options = [right, *wrong]
    order = [int(i) for i in rng.permutation(len(options))]
    return tuple(options[i] for i in order), LETTERS[order.index(0)]


def _is_digit(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    label, other = _labels(rng, 2)
    asked = label if rng.random() < 0.5 else other
    origin, ink = _pick(material.digits[label], rng)
    return {
        "task": "yes_no",
        "source": "digits",
        "question": f"Is the digit a {asked}?",
        "answer": "yes" if asked == label else "no",
        "think": f"the digit is {label}",
        "image": digit_card(ink, side),
        "origins": [origin],
    }


def _left_larger(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    labels = _labels(rng, 2)
    drawn = [_pick(material.digits[label], rng) for label in labels]
    image = Image.new("RGB", (side, side), (255, 255, 255))
    third = side // 3
    for left, (_, ink) in zip((0, 2 * third), drawn, strict=True):
        paste_card(image, ink, (left, third, left + third, 2 * third))
    draw_frame(image)
    return {
        "task": "yes_no",
        "source": "digits",
        "question": "Is the left digit larger?",
        "answer": "yes" if labels[0] > labels[1] else "no",
        "think": f"left {labels[0]}, right {labels[1]}",
        "image": image,
        "origins": [origin for origin, _ in drawn],
    }


def _number_larger(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    a, b = _pair(material, rng)
    while a == b:
        a, b = _pair(material, rng)
    return {
        "task": "yes_no",
        "source": "text",
        "question": f"Is {a} larger than {b}?",
        "answer": "yes" if a > b else "no",
        "think": f"{max(a, b)} is larger",
        "origins": [f"pair:{min(a, b)}:{max(a, b)}"],
    }


def _choose_digit(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    label, *others = _labels(rng, 2)
    origin, ink = _pick(material.digits[label], rng)
    options, letter = _shuffled_options(str(label), [str(v) for v in others], rng)
    return {
        "task": "multiple_choice",
        "source": "digits",
        "question": "Which digit is shown?",
        "options": options,
        "answer": letter,
        "think": f"the digit is {label}",
        "image": digit_card(ink, side),
        "origins": [origin],
    }


def _choose_photo(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    name, *others = (str(v) for v in rng.choice(list(CATEGORIES), size=3, replace=False))
    file = CATEGORIES[name]
    image, corners = photo_crop(material.photos[file], side, rng)
    options, letter = _shuffled_options(name, others, rng)
    return {
        "task": "multiple_choice",
        "source": "photos",
        "question": "What is in the photo?",
        "options": options,
        "answer": letter,
        "think": f"the photo shows {name}",
        "image": image,
        "origins": [_region(material, file, corners)],
    }


def _region(material: Material, file: str, corners: tuple[int, int, int, int]) -> str:
    return f"{material.bands[file]}:{','.join(str(v) for v in corners)}"


def _table_rows(material: Material, rng: np.random.Generator) -> tuple[Table, list[tuple[str, int]]]:
    """A table and three of its rows with different values."""
    table = _pick(material.tables, rng)
    by_value: dict[int, list[str]] = {}
    for label, value in table.bars():
        by_value.setdefault(value, []).append(label)
    values = [int(v) for v in rng.choice(sorted(by_value), size=3, replace=False)]
    return table, [(_pick(by_value[value], rng), value) for value in values]


def _chart(material: Material, rng: np.random.Generator, side: int) -> tuple[_Fields, list[str], list[int]]:
    """Fields shared by the chart kinds, the colors of the bars, and their values."""
    table, rows = _table_rows(material, rng)
    values = [value for _, value in rows]
    colors = [str(v) for v in rng.choice(list(COLORS), size=3, replace=False)]
    fields = {
        "task": "chart",
        "source": "tables",
        "image": bars_image(values, colors, side),
        "origins": [f"table:{table.origin}:{label}" for label, _ in rows],
    }
    return fields | {"title": table.title}, colors, values


def _bar_value(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    fields, colors, values = _chart(material, rng, side)
    i = int(rng.integers(3))
    title = fields.pop("title")
    return fields | {
        "question": f"{title}: how high is the {colors[i]} bar?",
        "answer": str(values[i]),
        "think": f"{colors[i]} ends at {values[i]}",
    }


def _highest_bar(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    fields, colors, values = _chart(material, rng, side)
    title = fields.pop("title")
    highest = colors[values.index(max(values))]
    return fields | {
        "question": f"{title}: which bar is the highest?",
        "answer": highest,
        "think": f"{highest} ends at {max(values)}",
    }


def _places(rng: np.random.Generator, count: int) -> list[tuple[int, int, int, int]]:
    """Boxes of ``count`` different cells of a 3 x 3 grid, in cells."""
    cells = [divmod(int(v), 3) for v in rng.choice(9, size=count, replace=False)]
    return [(x, y, x + 1, y + 1) for y, x in cells]


def _place_name(box: tuple[int, int, int, int]) -> str:
    return f"{('top', 'middle', 'bottom')[box[1]]} {('left', 'center', 'right')[box[0]]}"


def _scene(
    material: Material,
    rng: np.random.Generator,
    side: int,
    labels: list[int],
    boxes: list[tuple[int, int, int, int]],
) -> tuple[Image.Image, list[tuple[int, ...]], list[str]]:
    """Digit cards on a photo: the image, the cards' boxes in pixels, the origins."""
    file = _pick([*CATEGORIES.values(), *BACKGROUNDS], rng)
    image, corners = photo_crop(material.photos[file], side, rng)
    origins = [_region(material, file, corners)]
    cell = side // 3
    pixels = [tuple(v * cell for v in box) for box in boxes]
    for label, box in zip(labels, pixels, strict=True):
        origin, ink = _pick(material.digits[label], rng)
        paste_card(image, ink, box)
        origins.append(origin)
    draw_frame(image)
    return image, pixels, origins


def _find_one(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    """One or two cards, of which the one asked for is to be boxed."""
    labels = _labels(rng, int(rng.integers(1, 3)))
    boxes = _places(rng, len(labels))
    image, pixels, origins = _scene(material, rng, side, labels, boxes)
    return {
        "task": "grounding",
        "source": "photos",
        "question": f"Where is the digit {labels[0]}?",
        "answer": [pixels[0]],
        "think": f"{labels[0]} at the {_place_name(boxes[0])}",
        "image": image,
        "origins": origins,
    }


def _find_both(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    labels = _labels(rng, 2)
    boxes = sorted(_places(rng, 2))
    image, pixels, origins = _scene(material, rng, side, labels, boxes)
    return {
        "task": "grounding",
        "source": "photos",
        "question": "Where are the two digits?",
        "answer": pixels,
        "think": f"{_place_name(boxes[0])} and {_place_name(boxes[1])}",
        "image": image,
        "origins": origins,
    }


def _caption(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    name = _pick(list(CATEGORIES), rng)
    image, corners = photo_crop(material.photos[CATEGORIES[name]], side, rng)
    label = int(rng.integers(10))
    origin, ink = _pick(material.digits[label], rng)
    (box,) = _places(rng, 1)
    paste_card(image, ink, [v * (side // 3) for v in box])
    draw_frame(image)
    return {
        "task": "open_ended",
        "source": "photos",
        "question": "Describe the image.",
        "answer": f"A photo of {name} with the digit {label} at the {_place_name(box)}.",
        "think": f"{name}, digit {label}",
        "image": image,
        "origins": [_region(material, CATEGORIES[name], corners), origin],
    }


def _pair(material: Material, rng: np.random.Generator, limit: int = 20) -> tuple[int, int]:
    """A pair of numbers of this split: the numbers decide, in either order, so no other split can draw it."""
    split = next(iter(material.bands.values())).rsplit(":", 1)[1]
    while True:
        a, b = (int(v) for v in rng.integers(0, limit, size=2))
        fate = (min(a, b) * 7 + max(a, b) * 3) % 10
        if split == ("test" if fate < 2 else "validation" if fate == 2 else "train"):
            return a, b


def _largest_value(material: Material, rng: np.random.Generator, side: int) -> _Fields:
    """Three rows of a real table, as text."""
    table, rows = _table_rows(material, rng)
    label, value = max(rows, key=lambda row: row[1])
    listed = ", ".join(f"{name} {v}" for name, v in rows)
    return {
        "task": "math",
        "source": "text",
        "question": f"{listed}: what is the largest value?",
        "answer": str(value),
        "think": f"{label} has {value}",
        "origins": [f"table:{table.origin}:{name}" for name, _ in rows],
    }


# kind -> (share of the rows, maker)
_KINDS: dict[str, tuple[float, Callable[[Material, np.random.Generator, int], _Fields]]] = {
    "is_digit": (0.12, _is_digit),
    "left_larger": (0.08, _left_larger),
    "number_larger": (0.05, _number_larger),
    "choose_digit": (0.12, _choose_digit),
    "choose_photo": (0.12, _choose_photo),
    "bar_value": (0.10, _bar_value),
    "highest_bar": (0.08, _highest_bar),
    "find_one": (0.10, _find_one),
    "find_both": (0.08, _find_both),
    "caption": (0.09, _caption),
    "largest_value": (0.06, _largest_value),
}
