"""Chart questions in ChartQA's folders: ``{split}/{split}_*.json`` beside ``{split}/png/``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import Field

from mixed_r1.data.records import json_records
from mixed_r1.data.sources.base import ListSource
from mixed_r1.opened import Problem

__all__ = ["ChartQa"]


class ChartQa(ListSource):
    """Entries ``{"imgname", "query", "label"}`` of every ``*.json`` in ``path``, images in ``path``/png."""

    path: Path = Field(examples=["ChartQA/train"])
    """Folder of a split, with its JSON files and png/."""

    def inputs(self) -> list[Path]:
        files = sorted(self.path.glob("*.json"))
        if not files:
            raise FileNotFoundError(f"path must hold .json files of entries, got {self.path}")
        return files

    def records(self) -> list[Any]:
        found: list[Any] = []
        for file in self.inputs():
            try:
                entries = json_records(file)
            except ValueError as error:
                found.append(Problem(file.name, str(error)))
                continue
            found += [
                entry if isinstance(entry, Problem) else (file.stem, place - 1, entry)
                for place, entry in entries
            ]
        return found

    def row(self, record: Any) -> dict[str, Any]:
        part, i, entry = record
        label = entry["label"]
        answer = label[0] if isinstance(label, list) and len(label) == 1 else label
        return {
            "id": f"{part}-{i}",
            "task": "chart",
            "question": entry["query"],
            "images": [str(self.path / "png" / entry["imgname"])],
            "answer": answer,
        }
