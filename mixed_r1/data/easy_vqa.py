"""Rows of the public easy-VQA set (PyPI ``easy-vqa``, MIT): one coloured shape on a 64 x 64 image, questions
and answers about it.

The package's own split is kept: training rows show its 4,000 training images, held-out rows its 1,000 test
images. Two kinds of questions become rows:

- ``yes_no``: "is there a red shape?", "does the image contain a circle?". Those that ask by "not" or "no" are
  left out. The package has seven "no" for each "yes" about a color; here half of the rows are "yes".
- ``chart`` (a text, compared word for word): "what color is the shape?", "what shape is present?", each word
  equally often.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import numpy as np

from mixed_r1.config import ConfigError
from mixed_r1.schema import Sample

__all__ = ["COLORS", "SHAPES", "CaptionedImage", "captioned_images", "easy_vqa_rows"]

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
Split = Literal["train", "test"]
_Question = tuple[str, str, int]  # text, answer, number of the image
_NEGATED = re.compile(r"\b(?:not|no)\b")


@dataclass(frozen=True)
class CaptionedImage:
    """An image of one shape, and what the set's own questions say of it."""

    path: Path
    color: str
    shape: str


def easy_vqa_rows(split: Split, *, yes_no: int, words: int, seed: int = 0) -> list[Sample]:
    """``yes_no`` rows with balanced answers and ``words`` rows with equally frequent answers, in a seeded
    order. No question is asked twice of the same image.

    Raises:
        ConfigError: the package is not installed, or has fewer rows than asked for.
    """
    paths, questions = _questions(split)
    questions = list(dict.fromkeys(questions))
    rng = np.random.default_rng([seed, split == "test"])
    order = [questions[i] for i in rng.permutation(len(questions)).tolist()]
    asked = [q for q in order if q[1] in ("yes", "no") and not _NEGATED.search(q[0])]
    named = [q for q in order if q[1] not in ("yes", "no")]
    # Questions about a color and questions about a shape are balanced apart: else the kind of question would
    # give the answer away.
    by_color, by_shape = (
        [q for q in asked if any(w in q[0].split() for w in words_)] for words_ in (COLORS, _forms(SHAPES))
    )
    chosen = [
        *_balanced("yes_no", by_color, ("yes", "no"), yes_no - yes_no // 2),
        *_balanced("yes_no", by_shape, ("yes", "no"), yes_no // 2),
        *_balanced("words", named, COLORS, words - words // 2),
        *_balanced("words", named, SHAPES, words // 2),
    ]
    return [_row(split, paths, chosen[i]) for i in rng.permutation(len(chosen)).tolist()]


def captioned_images(split: Split) -> list[CaptionedImage]:
    """The images whose color and shape the questions of ``split`` tell, by the number of the image."""
    paths, questions = _questions(split)
    facts: dict[int, dict[str, str]] = {}
    for text, answer, image in questions:
        words = [answer] if answer not in ("no", "yes") else re.findall(r"[a-z]+", text)
        if answer == "no" or _NEGATED.search(text):
            continue
        for word in words:
            if word in COLORS:
                facts.setdefault(image, {})["color"] = word
            if word in SHAPES:
                facts.setdefault(image, {})["shape"] = word
    return [CaptionedImage(paths[i], **known) for i, known in sorted(facts.items()) if len(known) == 2]


def _forms(words: Iterable[str]) -> tuple[str, ...]:
    """``words`` as they stand in a question, the question mark after them or not."""
    return tuple(form for word in words for form in (word, f"{word}?"))


def _balanced(name: str, questions: list[_Question], answers: tuple[str, ...], count: int) -> list[_Question]:
    """``count`` of ``questions`` whose answers are equally frequent (up to one)."""
    wanted = {answer: count // len(answers) + (i < count % len(answers)) for i, answer in enumerate(answers)}
    chosen = []
    for question in questions:
        if wanted.get(question[1], 0) > 0:
            wanted[question[1]] -= 1
            chosen.append(question)
    if missing := sum(wanted.values()):
        raise ConfigError(f"{name} must be at most what easy-vqa has, {count - missing}, got {count}")
    return chosen


def _row(split: str, paths: dict[int, Path], question: _Question) -> Sample:
    text, answer, image = question
    values: dict[str, Any] = {
        "id": f"easy-vqa-{split}-{image}-{text.rstrip('?').replace(' ', '-')}",
        "task": "yes_no" if answer in ("yes", "no") else "chart",
        "source": "easy-vqa",
        "question": text[:1].upper() + text[1:],
        "images": (str(paths[image]),),
        "answer": answer,
        "metadata": {"image": f"{split}/{image}"},
    }
    return Sample(**values)


def _questions(split: Split) -> tuple[dict[int, Path], list[_Question]]:
    package = _package()
    texts, answers, images = getattr(package, f"get_{split}_questions")()
    paths = {number: Path(path) for number, path in getattr(package, f"get_{split}_image_paths")().items()}
    return paths, list(_triples(texts, answers, images))


def _triples(texts: list[str], answers: list[str], images: list[int]) -> Iterator[_Question]:
    yield from zip(texts, answers, images, strict=True)


def _package() -> ModuleType:
    try:
        import easy_vqa
    except ImportError:
        raise ConfigError(
            "easy-vqa must be installed for its images, got none: pip install 'mixed-r1[weights]'"
        ) from None
    module: ModuleType = easy_vqa
    return module
