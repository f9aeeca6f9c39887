"""COCO annotations (instances_*.json): all boxes of a category, its only object, or how many there are."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from pydantic import Field

from mixed_r1.data.sources.base import ListSource
from mixed_r1.opened import Problem

__all__ = ["Coco", "Mode", "corners_of", "objects_row"]

Mode: TypeAlias = Literal["detection", "grounding", "counting"]
Key: TypeAlias = "tuple[str, str]"  # image, category

_QUESTIONS: dict[Mode, str] = {
    "detection": "Find every {name} in the image.",
    "grounding": "Where is the {name} in the image?",
    "counting": "How many of these are in the image: {name}?",
}


class Coco(ListSource):
    """One row per (image, category). ``grounding`` takes categories with exactly one object; crowds are
    left out.

    ``annotations`` is the JSON file, ``images`` the folder of its ``file_name``s. ``question`` may hold
    {name}. Ids may be numbers or texts. A row with a box that cannot be read is no row: its gold would lack
    an object.
    """

    annotations: Path = Field(examples=["instances.json"])
    """The JSON file of annotations."""
    images: Path = Field(examples=["photos"])
    """Folder of the images that it names."""
    mode: Mode = "detection"
    """detection: all boxes of a category; grounding: of one object; counting: how many there are."""
    question: str | None = Field(None, examples=["Where is the {name}?"])
    """What every row asks, {name} being the category; none: as the mode has it."""
    min_side: float = 1.0
    """Boxes thinner than this many pixels do not count."""

    def inputs(self) -> list[Path]:
        return [self.annotations]

    def records(self) -> list[Any]:
        data = json.loads(self.annotations.read_text(encoding="utf-8-sig"))
        if not isinstance(data, dict) or not all(isinstance(data.get(key), list) for key in _LISTS):
            raise ValueError(f"must hold the lists {', '.join(_LISTS)}, as COCO has them")
        names = _by_id(data["categories"], "name")
        files = _by_id(data["images"], "file_name")
        boxes: dict[Key, list[Any]] = {}
        crowds: set[Key] = set()
        bad: dict[Any, Problem] = {}
        for number, item in enumerate(data["annotations"]):
            key, problem = _key(item, files, names)
            if key is None:
                bad[number] = Problem(f"annotations.{number}", problem)
                continue
            corners = corners_of(item.get("bbox"))
            if item.get("iscrowd"):
                crowds.add(key)
            elif corners is None:
                rule = f"must be [x, y, width, height], got {item.get('bbox')!r:.60}"
                bad.setdefault(key, Problem(f"annotations.{number}.bbox", rule))
            elif min(item["bbox"][2:]) >= self.min_side:
                boxes.setdefault(key, []).append(corners)
        good = sorted((key for key in boxes if key not in crowds and key not in bad), key=_order)
        if self.mode == "grounding":
            good = [key for key in good if len(boxes[key]) == 1]
        rows = [(*key, files[key[0]], names[key[1]], boxes[key]) for key in good]
        return [*rows, *(bad[key] for key in bad if key not in crowds)]

    def row(self, record: Any) -> dict[str, Any]:
        image_id, category_id, file, name, corners = record
        place = f"{image_id}-{category_id}"
        image = str(self.images / file)
        return objects_row(place, self.mode, self.question, name, image, corners)


_LISTS = ("images", "annotations", "categories")


def _by_id(items: Sequence[Any], field: str) -> dict[str, str]:
    """Id -> ``field`` of the items that have both. Ids are compared as texts: some files mix 7 and "7"."""
    return {
        str(item["id"]): item[field]
        for item in items
        if isinstance(item, Mapping) and item.get("id") is not None and isinstance(item.get(field), str)
    }


def _key(item: Any, files: Mapping[str, str], names: Mapping[str, str]) -> tuple[Key | None, str]:
    """Image and category of an annotation, or what is wrong with it."""
    if not isinstance(item, Mapping):
        return None, f"must be an object, got {type(item).__name__}"
    image, category = str(item.get("image_id")), str(item.get("category_id"))
    if image not in files:
        return None, f"must name an image of the file, got image_id {item.get('image_id')!r:.60}"
    if category not in names:
        return None, f"must name a category of the file, got category_id {item.get('category_id')!r:.60}"
    return (image, category), ""


def _order(key: Key) -> Any:
    """Numbers by their value, before texts."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in key]


def corners_of(box: Any) -> list[float] | None:
    """Corners of [x, y, width, height]; None for what are not four numbers, or no box."""
    if not isinstance(box, (list, tuple)) or len(box) != 4:
        return None
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < 1e9 for v in box):
        return None
    x, y, width, height = box
    return [x, y, x + width, y + height] if width >= 0 and height >= 0 else None


def objects_row(
    place: str, mode: Mode, question: str | None, name: str, image: Any, corners: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """The fields of a row about the objects ``name`` of an image: their boxes, or how many there are."""
    row = {
        "id": place,
        "question": (question or _QUESTIONS[mode]).replace("{name}", name),
        "images": [image],
    }
    if mode == "counting":
        return row | {"task": "math", "answer": len(corners)}
    return row | {"task": "grounding", "answer": [list(box) for box in corners]}
