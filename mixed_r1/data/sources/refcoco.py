"""Referring expressions as JSON: objects with an image, one or more expressions and a box."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mixed_r1.data.records import json_records
from mixed_r1.data.sources.base import ListSource
from mixed_r1.data.sources.coco import corners_of
from mixed_r1.opened import Problem

__all__ = ["RefCoco"]


class RefCoco(ListSource):
    """One row per expression.

    ``annotations`` is a JSON list, an object with one list, or JSON Lines. An entry has ``file_name`` or
    ``image``; ``sentences`` (texts, or objects with ``sent`` or ``raw``) or ``expression``; and ``bbox`` in
    ``box_format``. ``question`` may hold {expression}.
    """

    annotations: Path = Field(examples=["refcoco.json"])
    """The file of expressions and boxes."""
    images: Path = Field(examples=["photos"])
    """Folder of the images that it names."""
    box_format: Literal["xywh", "xyxy"] = "xywh"
    """xywh: corner, width and height; xyxy: two corners; pixels."""
    question: str = "Where is this in the image: {expression}?"
    """What every row asks."""

    def inputs(self) -> list[Path]:
        return [self.annotations]

    def records(self) -> list[Any]:
        found: list[Any] = []
        for place, entry in json_records(self.annotations):
            if isinstance(entry, Problem):
                found.append(entry)
            else:
                found += [(place - 1, k, entry, text) for k, text in enumerate(_texts(entry))]
        return found

    def row(self, record: Any) -> dict[str, Any]:
        i, k, entry, text = record
        box = entry.get("bbox")
        corners = corners_of(box) if self.box_format == "xywh" else box
        if corners is None:
            raise ValueError(f"bbox must be [x, y, width, height], got {box!r:.60}")
        if not isinstance(text, str) or not text.strip():
            raise ValueError(f"expression must be a non-empty text, got {text!r}")
        return {
            "id": f"{i}-{k}",
            "task": "grounding",
            "question": self.question.replace("{expression}", text.strip()),
            "images": [str(self.images / (entry.get("file_name") or entry["image"]))],
            "answer": [corners],
        }


def _texts(entry: dict[str, Any]) -> list[Any]:
    sentences = entry.get("sentences") or [entry.get("expression")]
    if not isinstance(sentences, list):
        return [sentences]
    return [item.get("raw") or item.get("sent") if isinstance(item, dict) else item for item in sentences]
