"""Rules for answers and options."""

from __future__ import annotations

import re
from typing import Literal

from mixed_r1.data.filters.base import Filter, Row
from mixed_r1.schema import LETTERS

__all__ = ["AnswerForm", "AnswerLength", "Options"]

_NUMBER = re.compile(r"[-+]?(\d{1,3}(,\d{3})+|\d+)?(\.\d+)?(/\d+)?\s*%?")


class AnswerLength(Filter):
    """Characters of a text answer, or of each item of a list."""

    min_chars: int = 1
    """Least characters."""
    max_chars: int = 20
    """Most characters."""

    def reason(self, row: Row) -> str | None:
        for text in _texts(row):
            if not self.min_chars <= len(text.strip()) <= self.max_chars:
                return f"{len(text.strip())} characters, not {self.min_chars} to {self.max_chars}"
        return None


class AnswerForm(Filter):
    """``number``: digits with sign, separators, point, fraction or percent; ``word``: no white space."""

    form: Literal["number", "word"] = "number"
    """What answers must look like."""

    def reason(self, row: Row) -> str | None:
        for text in (text.strip() for text in _texts(row)):
            number = _NUMBER.fullmatch(text) is not None and any(c.isdigit() for c in text)
            if not (number if self.form == "number" else len(text.split()) == 1):
                return f"must be a {self.form}, got {text[:60]!r}"
        return None


class Options(Filter):
    """Options must differ from each other, and none of them may point at the others ("all of the above")."""

    min_options: int = 2
    """Least options."""

    def reason(self, row: Row) -> str | None:
        options = [" ".join(option.casefold().split()) for option in row.sample.options or ()]
        if row.sample.options is None:
            return None
        if len(options) < self.min_options:
            return f"{len(options)} options, must be at least {self.min_options}"
        if len(set(options)) < len(options):
            return "options must differ"
        pointing = [letter for letter, text in zip(LETTERS, options, strict=False) if "of the above" in text]
        return f"option {pointing[0]} must not point at the others" if pointing else None


def _texts(row: Row) -> list[str]:
    answer = row.sample.answer
    if isinstance(answer, str):
        return [answer]
    return [text for text in answer if isinstance(text, str)] if isinstance(answer, tuple) else []
