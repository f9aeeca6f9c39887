"""Folders of captioned images: a text file beside each image, or a ``metadata.jsonl``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from mixed_r1.data.records import line_records
from mixed_r1.data.sources.base import ListSource
from mixed_r1.opened import Problem

__all__ = ["Captions"]

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


class Captions(ListSource):
    """One open-ended row per image.

    With ``metadata.jsonl`` (objects with ``file_name`` and ``text``) in ``path`` its order is used; else
    every image below ``path`` that has a ``.txt`` file of the same stem.
    """

    path: Path = Field(examples=["data/captions"])
    """Folder of the images and of their captions."""
    question: str = "Describe the image."
    """What every row asks."""

    def inputs(self) -> list[Path]:
        listing = self.path / "metadata.jsonl"
        return [listing] if listing.is_file() else sorted(self.path.rglob("*.txt"))

    def records(self) -> list[Any]:
        listing = self.path / "metadata.jsonl"
        if listing.is_file():
            with listing.open("rb") as stream:
                lines = list(line_records(stream))
            return [line if isinstance(line, Problem) else _listed(line) for _, line in lines]
        found = []
        for text in self.inputs():
            image = next((text.with_suffix(s) for s in _SUFFIXES if text.with_suffix(s).is_file()), None)
            if image is not None:
                found.append((str(image.relative_to(self.path)), text))
        return found

    def row(self, record: Any) -> dict[str, Any]:
        file, caption = record
        if isinstance(caption, Path):
            caption = caption.read_text(encoding="utf-8-sig").strip()
        return {
            "id": file,
            "task": "open_ended",
            "question": self.question,
            "images": [str(self.path / file)],
            "answer": caption,
        }


def _listed(line: dict[str, Any]) -> Any:
    """File and caption of a line of the listing."""
    missing = [name for name in ("file_name", "text") if not isinstance(line.get(name), str)]
    if missing:
        return Problem(missing[0], f"must be a text, got {line.get(missing[0])!r:.60}")
    return line["file_name"], line["text"]
