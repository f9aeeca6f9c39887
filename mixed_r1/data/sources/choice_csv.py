"""Multiple-choice tables: columns question, A, B, C, ..., answer, and optionally hint and image."""

from __future__ import annotations

import base64
import csv
from pathlib import Path
from typing import Any

from mixed_r1.data.sources.base import ListSource
from mixed_r1.schema import LETTERS

__all__ = ["ChoiceCsv"]

_MAX_FIELD = 64 * 1024 * 1024  # an image as base64 is one field


class ChoiceCsv(ListSource):
    """One row per line of a CSV or TSV file with a header.

    ``image`` is a path relative to the file (or to ``images``), or base64 as in MMBench's TSV. Options end
    at the first empty column; ``answer`` is a letter, or the text of one option.
    """

    path: Path
    images: Path | None = None

    def inputs(self) -> list[Path]:
        return [self.path]

    def records(self) -> list[Any]:
        csv.field_size_limit(_MAX_FIELD)
        delimiter = "\t" if self.path.suffix == ".tsv" else ","
        with self.path.open(encoding="utf-8-sig", newline="") as stream:
            return list(enumerate(csv.DictReader(stream, delimiter=delimiter)))

    def row(self, record: Any) -> dict[str, Any]:
        i, columns = record
        options = []
        for letter in LETTERS:
            if not (columns.get(letter) or "").strip():
                break
            options.append(columns[letter].strip())
        hint = (columns.get("hint") or "").strip()
        row = {
            "id": columns.get("index") or columns.get("id") or str(i),
            "task": "multiple_choice",
            "question": f"{hint}\n{columns['question']}".strip(),
            "options": options,
            "answer": _letter((columns["answer"] or "").strip(), options),
        }
        image = (columns.get("image") or "").strip()
        return row | {"images": [self._image(image)]} if image else row

    def _image(self, value: str) -> Any:
        home = self.images or self.path.parent
        if len(value) < 256 and (home / value).is_file():
            return str(home / value)
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            raise ValueError(f"image must be a file in {home} or base64, got {value[:40]!r}") from None


def _letter(answer: str, options: list[str]) -> str:
    return LETTERS[options.index(answer)] if len(answer) > 1 and answer in options else answer
