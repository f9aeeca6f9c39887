"""Rules for questions."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import Field

from mixed_r1.data.filters.base import Filter, Row

__all__ = ["Language", "QuestionLength"]


class QuestionLength(Filter):
    """Characters of the question."""

    min_chars: int = 3
    """Least characters."""
    max_chars: int = 4000
    """Most characters."""

    def reason(self, row: Row) -> str | None:
        length = len(row.sample.question)
        if row.sample.messages is not None or self.min_chars <= length <= self.max_chars:
            return None
        return f"{length} characters, must be {self.min_chars} to {self.max_chars}"


class Language(Filter):
    """The question's language by py3langid (extra ``data``).

    A question is dropped when the languages of ``allow`` (ISO 639-1 codes) together get less than
    ``min_probability``; one with fewer than ``min_letters`` letters passes, it cannot be told apart.
    """

    allow: tuple[str, ...] = Field(("en",), examples=["[en, zh]"])
    """Languages that stay, ISO 639-1 codes."""
    min_letters: int = 12
    """Questions of fewer letters stay."""
    min_probability: float = 0.05
    """Least probability of the allowed languages together."""

    def reason(self, row: Row) -> str | None:
        text = row.sample.question
        if sum(c.isalpha() for c in text) < self.min_letters:
            return None
        ranked = [(str(language), float(probability)) for language, probability in _identifier().rank(text)]
        if (
            sum(probability for language, probability in ranked if language in self.allow)
            >= self.min_probability
        ):
            return None
        language, probability = max(ranked, key=lambda item: item[1])
        return f"{language} ({probability:.2f}), must be {' or '.join(self.allow)}"


@cache
def _identifier() -> Any:
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier
    except ImportError as error:
        raise ImportError("filter language must have py3langid: pip install 'mixed-r1[data]'") from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
