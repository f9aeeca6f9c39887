"""The kinds of rows of the mini set: what is asked, what is drawn for it, and the right answer.

A maker takes the material of a split, the row's own random numbers, the side of the image in pixels and the
row's number in its kind, and returns the fields of a Sample, with ``think`` (the target reasoning),
``origins`` (the material used) and ``image`` (PIL, where there is one).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from mixed_r1.data.mini_material import BACKGROUNDS, CATEGORIES, Material, Table
from mixed_r1.data.mini_render import COLORS, bars_image, digit_card, draw_frame, paste_card, photo_crop
from mixed_r1.schema import LETTERS

__all__ = ["KINDS", "Fields", "Kind", "Maker"]

Fields = dict[str, Any]
Maker = Callable[[Material, np.random.Generator, int, int], Fields]


def _pick(items: Any, rng: np.random.Generator) -> Any:
    return items[int(rng.integers(len(items)))]


def _labels(rng: np.random.Generator, count: int) -> list[int]:
    """``count`` different digits."""
    return [int(v) for v in rng.choice(10, size=count, replace=False)]


def _options(right: str, wrong: list[str], number: int) -> tuple[tuple[str, ...], str]:
    """(options, letter of the right one), which is the first, second ... in turn."""
    place = number % (len(wrong) + 1)
    return (*wrong[:place], right, *wrong[place:]), LETTERS[place]


def _yes_no(number: int) -> str:
    """Every other row is a yes."""
    return ("no", "yes")[number % 2]


def _is_digit(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    label, other = _labels(rng, 2)
    answer = _yes_no(number)
    asked = label if answer == "yes" else other
    origin, ink = _pick(material.digits[label], rng)
    return {
        "source": "digits",
        "question": f"Is the digit a {asked}?",
        "answer": answer,
        "think": f"the digit is {label}",
        "image": digit_card(ink, side),
        "origins": [origin],
    }


def _left_larger(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    answer = _yes_no(number)
    labels = sorted(_labels(rng, 2), reverse=answer == "yes")
    drawn = [_pick(material.digits[label], rng) for label in labels]
    image = Image.new("RGB", (side, side), (255, 255, 255))
    third = side // 3
    for left, (_, ink) in zip((0, 2 * third), drawn, strict=True):
        paste_card(image, ink, (left, third, left + third, 2 * third))
    draw_frame(image)
    return {
        "source": "digits",
        "question": "Is the left digit larger?",
        "answer": answer,
        "think": f"left {labels[0]}, right {labels[1]}",
        "image": image,
        "origins": [origin for origin, _ in drawn],
    }


def _number_larger(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    a, b = _pair(material, rng)
    while a == b:
        a, b = _pair(material, rng)
    answer = _yes_no(number)
    a, b = sorted((a, b), reverse=answer == "yes")
    return {
        "source": "text",
        "question": f"Is {a} larger than {b}?",
        "answer": answer,
        "think": f"{max(a, b)} is larger",
        "origins": [f"pair:{min(a, b)}:{max(a, b)}"],
    }


def _choose_digit(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    label, *others = _labels(rng, 2)
    origin, ink = _pick(material.digits[label], rng)
    options, letter = _options(str(label), [str(v) for v in others], number)
    return {
        "source": "digits",
        "question": "Which digit is shown?",
        "options": options,
        "answer": letter,
        "think": f"the digit is {label}",
        "image": digit_card(ink, side),
        "origins": [origin],
    }


def _choose_photo(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    name, *others = (str(v) for v in rng.choice(list(CATEGORIES), size=3, replace=False))
    file = CATEGORIES[name]
    image, corners = photo_crop(material.photos[file], side, rng)
    options, letter = _options(name, others, number)
    return {
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


def _chart(material: Material, rng: np.random.Generator, side: int) -> tuple[Fields, list[str], list[int]]:
    """Fields shared by the chart kinds, the colors of the bars, and their values."""
    table, rows = _table_rows(material, rng)
    values = [value for _, value in rows]
    colors = [str(v) for v in rng.choice(list(COLORS), size=3, replace=False)]
    fields = {
        "source": "tables",
        "image": bars_image(values, colors, side),
        "origins": [f"table:{table.origin}:{label}" for label, _ in rows],
    }
    return fields | {"title": table.title}, colors, values


def _bar_value(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    fields, colors, values = _chart(material, rng, side)
    i = int(rng.integers(3))
    title = fields.pop("title")
    return fields | {
        "question": f"{title}: how high is the {colors[i]} bar?",
        "answer": str(values[i]),
        "think": f"{colors[i]} ends at {values[i]}",
    }


def _highest_bar(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
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


def _find_one(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    """One or two cards, of which the one asked for is to be boxed."""
    labels = _labels(rng, int(rng.integers(1, 3)))
    boxes = _places(rng, len(labels))
    image, pixels, origins = _scene(material, rng, side, labels, boxes)
    return {
        "source": "photos",
        "question": f"Where is the digit {labels[0]}?",
        "answer": [pixels[0]],
        "think": f"{labels[0]} at the {_place_name(boxes[0])}",
        "image": image,
        "origins": origins,
    }


def _find_both(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    labels = _labels(rng, 2)
    boxes = sorted(_places(rng, 2))
    image, pixels, origins = _scene(material, rng, side, labels, boxes)
    return {
        "source": "photos",
        "question": "Where are the two digits?",
        "answer": pixels,
        "think": f"{_place_name(boxes[0])} and {_place_name(boxes[1])}",
        "image": image,
        "origins": origins,
    }


def _caption(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    name = _pick(list(CATEGORIES), rng)
    image, corners = photo_crop(material.photos[CATEGORIES[name]], side, rng)
    label = int(rng.integers(10))
    origin, ink = _pick(material.digits[label], rng)
    (box,) = _places(rng, 1)
    paste_card(image, ink, [v * (side // 3) for v in box])
    draw_frame(image)
    return {
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


def _largest_value(material: Material, rng: np.random.Generator, side: int, number: int) -> Fields:
    """Three rows of a real table, as text."""
    table, rows = _table_rows(material, rng)
    label, value = max(rows, key=lambda row: row[1])
    listed = ", ".join(f"{name} {v}" for name, v in rows)
    return {
        "source": "text",
        "question": f"{listed}: what is the largest value?",
        "answer": str(value),
        "think": f"{label} has {value}",
        "origins": [f"table:{table.origin}:{name}" for name, _ in rows],
    }


# kind -> (share of the rows, maker)
class Kind(NamedTuple):
    """``share``: of the training rows."""

    task: str
    share: float
    make: Maker


KINDS: dict[str, Kind] = {
    "is_digit": Kind("yes_no", 0.12, _is_digit),
    "left_larger": Kind("yes_no", 0.08, _left_larger),
    "number_larger": Kind("yes_no", 0.05, _number_larger),
    "choose_digit": Kind("multiple_choice", 0.12, _choose_digit),
    "choose_photo": Kind("multiple_choice", 0.12, _choose_photo),
    "bar_value": Kind("chart", 0.10, _bar_value),
    "highest_bar": Kind("chart", 0.08, _highest_bar),
    "find_one": Kind("grounding", 0.10, _find_one),
    "find_both": Kind("grounding", 0.08, _find_both),
    "caption": Kind("open_ended", 0.09, _caption),
    "largest_value": Kind("math", 0.06, _largest_value),
}
