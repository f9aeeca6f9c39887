"""short_answer: a word or two about an image, as questions of VQA and OCR sets are answered."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

from mixed_r1 import golds
from mixed_r1.tasks.base import Task
from mixed_r1_kernels.verify.reference_leads import read_answer

__all__ = ["ShortAnswer", "plain_answer"]

VOTES = 3  # of people, that make an answer wholly right (VQA, arXiv 1505.00468, section 5)

ARTICLES = {"a", "an", "the"}
NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    )
} | {"none": "0"}
_GROUPS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")  # the comma of 1,000
_WORD = re.compile(r"[$\u20ac\u00a3]?(?:(?<!\w)-)?\d+(?:[.:/]\d+)*%?|[^\W_]+%?|[$%\u20ac\u00a3]")
_APOSTROPHES = re.compile("['\u2019\u02bc`]")


class ShortAnswer(Task):
    """The answer is a text or a number, or a list of accepted ones.

    What stands behind "The answer is", or in a box, is the answer, as in every task of texts. Words alone are
    compared: case, articles and punctuation do not count, and a number may be a digit or a
    word ("Two." is "2", "a rectangle" is "Rectangle"). Any text of a list is right. A list that holds one
    text more than once is a vote, as in VQA: an answer given by n people is worth min(1, n / 3).
    """

    name = "short_answer"
    column = "matching"
    title = "Short answer"

    def checked(self, answer: Any, options: tuple[str, ...] | None) -> str | tuple[str, ...]:
        answer = golds.printed_list(answer)
        given = answer if isinstance(answer, (list, tuple)) else (answer,)
        if not given or not all(_is_scalar(item) for item in given):
            rule = "answer must be a text, a number or a list of accepted ones for task short_answer"
            raise ValueError(f"{rule}, got {answer!r}")
        texts = tuple(golds.as_scalar_text(item) for item in given)
        if not any(plain_answer(text) for text in texts):
            raise ValueError(f"answer must hold a letter or digit for task short_answer, got {answer!r}")
        return texts[0] if len(texts) == 1 else texts

    def written(self, answer: Any) -> str:
        """Of several accepted answers the commonest."""
        return Counter(answer).most_common(1)[0][0] if isinstance(answer, tuple) else str(answer)

    def shown(self, answer: Any, options: tuple[str, ...] | None = None) -> str:
        return " or ".join(dict.fromkeys(answer)) if isinstance(answer, tuple) else str(answer)

    def score(self, answers: Sequence[str], samples: Sequence[Any]) -> list[float]:
        said = [read_answer(answer, "last", lead=True)[1] for answer in answers]
        return [_worth(answer, sample) for answer, sample in zip(said, samples, strict=True)]


def plain_answer(text: str) -> str:
    """The words of ``text`` as they are compared: "The T-shirt is red!" -> "t shirt is red"."""
    text = unicodedata.normalize("NFKC", text).casefold()
    words = _WORD.findall(_APOSTROPHES.sub("", _GROUPS.sub("", text)))
    kept = [NUMBERS.get(word, word) for word in words if word not in ARTICLES]
    return " ".join(kept or words)  # "A" is an article, and may be all there is


def _worth(answer: str, sample: Any) -> float:
    wanted = plain_answer(answer)
    if wanted in {plain_answer(text) for other in sample.alternatives for text in _listed(other)}:
        return 1.0
    votes = Counter(filter(None, map(plain_answer, _listed(sample.answer))))
    if max(votes.values()) > 1:
        return min(1.0, votes[wanted] / VOTES)
    return float(wanted in votes)


def _listed(answer: Any) -> tuple[str, ...]:
    return answer if isinstance(answer, tuple) else (answer,)


def _is_scalar(item: Any) -> bool:
    return isinstance(item, (str, int, float)) and not isinstance(item, bool) and item == item
