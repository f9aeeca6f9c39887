"""Multiple-choice tables: columns question, A, B, C, ..., answer, and optionally hint and image."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from mixed_r1.data.records import table_records
from mixed_r1.data.sources.base import ListSource
from mixed_r1.opened import Problem
from mixed_r1.schema import LETTERS

__all__ = ["ChoiceCsv"]


class ChoiceCsv(ListSource):
    """One row per line of a CSV or TSV file with a header.

    ``image`` is a path relative to the file (or to ``images``), or base64 as in MMBench's TSV. Options end
    at the first empty column; ``answer`` is a letter, or the text of one option. Numbers are texts of
    options; ``answers: index0`` (``index1``) takes them for places counted from 0 (1).
    """

    path: Path = Field(examples=["mmbench.tsv"])
    """The CSV or TSV file."""
    images: Path | None = Field(None, examples=["photos"])
    """Folder where image paths start; none: beside the file."""
    answers: Literal["auto", "index0", "index1"] = "auto"
    """What an answer is: auto, a letter or the text of an option; else its place from 0 or from 1."""

    def inputs(self) -> list[Path]:
        return [self.path]

    def records(self) -> list[Any]:
        rows = (row for _, row in table_records(self.path))
        return [row if isinstance(row, Problem) else (i, row) for i, row in enumerate(rows)]

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
            "answer": self._letter(columns["answer"].strip(), options),
        }
        image = (columns.get("image") or "").strip()
        return row | {"images": [self._image(image)]} if image else row

    def _letter(self, answer: str, options: list[str]) -> str:
        """The letter of an answer. Digits are an option's text, or its place where the settings say so."""
        if self.answers != "auto":
            place = int(answer) - (self.answers == "index1")
            if not 0 <= place < len(options):
                raise ValueError(f"answer must be the place of one of {len(options)} options, got {answer!r}")
            return LETTERS[place]
        if answer in options:
            return LETTERS[options.index(answer)] if len(answer) > 1 or answer.isdigit() else answer
        if answer.isdigit():
            rule = "answer must be a letter or an option's text; for places set answers: index0 or index1"
            raise ValueError(f"{rule}, got {answer!r}")
        return answer

    def _image(self, value: str) -> Any:
        home = self.images or self.path.parent
        if len(value) < 256 and (home / value).is_file():
            return str(home / value)
        try:
            return base64.b64decode(value, validate=True)
        except ValueError:
            raise ValueError(f"image must be a file in {home} or base64, got {value[:40]!r}") from None
