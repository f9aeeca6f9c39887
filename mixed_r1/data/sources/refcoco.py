"""Referring expressions as JSON: a list of objects with an image, one or more expressions and a box."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

from mixed_r1.data.sources.base import ListSource

__all__ = ["RefCoco"]


class RefCoco(ListSource):
    """One row per expression.

    An entry has ``file_name`` or ``image``; ``sentences`` (texts, or objects with ``sent`` or ``raw``) or
    ``expression``; and ``bbox`` in ``box_format``. ``question`` may hold {expression}.
    """

    annotations: Path
    images: Path
    box_format: Literal["xywh", "xyxy"] = "xywh"
    question: str = "Where is this in the image: {expression}?"

    def inputs(self) -> list[Path]:
        return [self.annotations]

    def records(self) -> list[Any]:
        entries = json.loads(self.annotations.read_text(encoding="utf-8"))
        return [
            (i, k, entry, text) for i, entry in enumerate(entries) for k, text in enumerate(_texts(entry))
        ]

    def row(self, record: Any) -> dict[str, Any]:
        i, k, entry, text = record
        x, y, width, height = entry["bbox"]
        corners = [x, y, x + width, y + height] if self.box_format == "xywh" else entry["bbox"]
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
    return [item.get("raw") or item.get("sent") if isinstance(item, dict) else item for item in sentences]
