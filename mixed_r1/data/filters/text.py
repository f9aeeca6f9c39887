"""Rules for questions."""

from __future__ import annotations

from functools import cache
from typing import Any

from mixed_r1.data.filters.base import Filter, Row

__all__ = ["Language", "QuestionLength"]


class QuestionLength(Filter):
    """Characters of the question."""

    min_chars: int = 3
    max_chars: int = 4000

    def reason(self, row: Row) -> str | None:
        length = len(row.sample.question)
        if row.sample.messages is not None or self.min_chars <= length <= self.max_chars:
            return None
        return f"{length} characters, must be {self.min_chars} to {self.max_chars}"


class Language(Filter):
    """The question's language by py3langid (extra ``data``); short or unsure ones pass.

    ``allow`` holds ISO 639-1 codes. A question below ``min_chars`` letters, or one whose language is
    recognised with less than ``min_confidence``, is kept: short questions cannot be told apart.
    """

    allow: tuple[str, ...] = ("en",)
    min_chars: int = 24
    min_confidence: float = 0.9

    def reason(self, row: Row) -> str | None:
        text = row.sample.question
        if sum(c.isalpha() for c in text) < self.min_chars:
            return None
        language, confidence = _identifier().classify(text)
        if language in self.allow or confidence < self.min_confidence:
            return None
        return f"{language} ({confidence:.2f}), must be {' or '.join(self.allow)}"


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ImportError("filter language must have py3langid: pip install 'mixed-r1[data]'") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
