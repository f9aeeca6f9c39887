"""COCO annotations (instances_*.json): all boxes of a category, its only object, or how many there are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from mixed_r1.data.sources.base import ListSource

__all__ = ["Coco"]

_QUESTIONS = {
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
    mode: Literal["detection", "grounding", "counting"] = "detection"
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
        row = {
            "id": f"{image_id}-{category_id}",
            "question": (self.question or _QUESTIONS[self.mode]).replace("{name}", name),
            "images": [str(self.images / file)],
        }
        if self.mode == "counting":
            return row | {"task": "math", "answer": len(boxes)}
        return row | {"task": "grounding", "answer": [[x, y, x + w, y + h] for x, y, w, h in boxes]}
