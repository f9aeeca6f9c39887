"""Folders of captioned images: a text file beside each image, or a ``metadata.jsonl``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from mixed_r1.data.sources.base import ListSource

__all__ = ["Captions"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Captions(ListSource):
    """One open-ended row per image.

    With ``metadata.jsonl`` (objects with ``file_name`` and ``text``) in ``path`` its order is used; else
    every image below ``path`` that has a ``.txt`` file of the same stem.
    """

    path: Path
    question: str = "Describe the image."

    def inputs(self) -> list[Path]:
        listing = self.path / "metadata.jsonl"
        return [listing] if listing.is_file() else sorted(self.path.rglob("*.txt"))

    def records(self) -> list[Any]:
        listing = self.path / "metadata.jsonl"
        if listing.is_file():
            lines = [
                json.loads(line) for line in listing.read_text(encoding="utf-8").splitlines() if line.strip()
            ]
            return [(line["file_name"], line["text"]) for line in lines]
        found = []
        for text in self.inputs():
            image = next((text.with_suffix(s) for s in _SUFFIXES if text.with_suffix(s).is_file()), None)
            if image is not None:
                found.append((str(image.relative_to(self.path)), text.read_text(encoding="utf-8").strip()))
        return found

    def row(self, record: Any) -> dict[str, Any]:
        file, caption = record
        return {
            "id": file,
            "task": "open_ended",
            "question": self.question,
            "images": [str(self.path / file)],
            "answer": caption,
        }
