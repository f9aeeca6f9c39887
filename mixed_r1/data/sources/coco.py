"""COCO annotations (instances_*.json): all boxes of a category, its only object, or how many there are."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

from mixed_r1.data.sources.base import ListSource

__all__ = ["Coco", "Mode", "objects_row"]

Mode: TypeAlias = Literal["detection", "grounding", "counting"]

_QUESTIONS: dict[Mode, str] = {
    "detection": "Find every {name} in the image.",
    "grounding": "Where is the {name} in the image?",
    "counting": "How many of these are in the image: {name}?",
}


class Coco(ListSource):
    """One row per (image, category). ``grounding`` takes categories with exactly one object; crowds are
    left out.

    ``annotations`` is the JSON file, ``images`` the folder of its ``file_name``s. ``question`` may hold
    {name}.
    """

    annotations: Path
    images: Path
    mode: Mode = "detection"
    question: str | None = None
    min_side: float = 1.0  # boxes thinner than this many pixels do not count

    def inputs(self) -> list[Path]:
        return [self.annotations]

    def records(self) -> list[Any]:
        data = json.loads(self.annotations.read_text(encoding="utf-8"))
        names = {category["id"]: category["name"] for category in data["categories"]}
        files = {image["id"]: image["file_name"] for image in data["images"]}
        boxes: dict[tuple[Any, Any], list[Any]] = {}
        crowds = set()
        for item in data["annotations"]:
            key = (item["image_id"], item["category_id"])
            if item.get("iscrowd"):
                crowds.add(key)
            elif min(item["bbox"][2:]) >= self.min_side:
                boxes.setdefault(key, []).append(item["bbox"])
        keys = sorted(key for key in boxes if key not in crowds and key[0] in files and key[1] in names)
        if self.mode == "grounding":
            keys = [key for key in keys if len(boxes[key]) == 1]
        return [(*key, files[key[0]], names[key[1]], boxes[key]) for key in keys]

    def row(self, record: Any) -> dict[str, Any]:
        image_id, category_id, file, name, boxes = record
        corners = [[x, y, x + w, y + h] for x, y, w, h in boxes]
        place = f"{image_id}-{category_id}"
        image = str(self.images / file)
        return objects_row(place, self.mode, self.question, name, image, corners)


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
