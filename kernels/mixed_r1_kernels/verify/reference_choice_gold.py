"""Golds of multiple choice: letters, and options without their labels, as texts and as values."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import NotNative
from mixed_r1_kernels.verify.reference_math import Unreadable, Value, agree, readings
from mixed_r1_kernels.verify.reference_reading import SPACE, normal
from mixed_r1_kernels.verify.reference_text import SPACES, plain
from mixed_r1_kernels.verify.reference_yes_no import score_yes_no
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["ChoiceGold", "compile_choice", "values_of"]

SETTINGS = VerifySettings()
ARTICLES = ("a ", "an ", "the ")
SIGNS = "\\0123456789"  # an ASCII text without one of these has no value


@dataclass(frozen=True)
class ChoiceGold:
    """``letters``: the indices that must all be chosen. ``options`` in ``plain`` form, ``inner`` as they are
    looked for inside a sentence. ``values``: the readings of each as math, none where it has no value.
    ``verdicts``: the options that say yes and no, where there is one of each.
    """

    letters: frozenset[int]
    options: tuple[str, ...]
    inner: tuple[str, ...]
    values: tuple[tuple[Value, ...], ...]
    verdicts: tuple[int, int] | None

    def named(self, text: str) -> list[int]:
        """The options whose text, in ``plain`` form, this is; where there is none, without articles."""
        if not text:
            return []
        same = [i for i, option in enumerate(self.options) if option == text]
        bare = _without_article(text)
        return same or [i for i, option in enumerate(self.options) if _without_article(option) == bare]

    def valued(self, text: str) -> list[int]:
        """The options whose value ``text`` has."""
        if not any(self.values):
            return []
        found = values_of(text)
        return [i for i, option in enumerate(self.values) if found and option and agree(found, option)]


def compile_choice(spec: GoldSpec) -> ChoiceGold:
    count = len(spec.options)
    if not 1 <= count <= 26:
        raise BadGold(f"options must have 1 to 26 entries, got {count}")
    letters = spec.answer
    known = {chr(ord("A") + i) for i in range(count)}
    if (
        not isinstance(letters, str)
        or not letters
        or len(set(letters)) < len(letters)
        or not set(letters) <= known
    ):
        raise BadGold(f"answer must be one of the first {count} capital letters, or several, got {letters!r}")
    options = _without_labels([normal(option) for option in spec.options])
    return ChoiceGold(
        frozenset(ord(letter) - ord("A") for letter in letters),
        tuple(map(plain, options)),
        tuple(map(_inner, options)),
        tuple(map(values_of, options)),
        _verdicts(options),
    )


def values_of(text: str) -> tuple[Value, ...]:
    """The readings of a normalised text as math; none where it is no value."""
    if text.isascii() and not any(sign in text for sign in SIGNS):
        return ()
    try:
        return tuple(value for value in readings(text, SETTINGS) if value.is_value)
    except (Unreadable, NotNative):
        return ()


def _without_article(text: str) -> str:
    """ "red car" for "a red car"."""
    return next((text[len(a) :] for a in ARTICLES if text.startswith(a)), text)


def _verdicts(options: list[str]) -> tuple[int, int] | None:
    """Where "Yes" and "No" are among the options, once each."""
    sides = [
        [i for i, option in enumerate(options) if score_yes_no(option, side, SETTINGS)[1] == Reason.OK]
        for side in (True, False)
    ]
    return (sides[0][0], sides[1][0]) if len(sides[0]) == len(sides[1]) == 1 else None


def _without_labels(options: list[str]) -> list[str]:
    """Options without "A.", "(B)", "C:" where each carries its own."""
    bodies = []
    for index, option in enumerate(options):
        label = chr(ord("A") + index)
        body = option.removeprefix("(")
        rest = body[1:].lstrip(" ")
        if not body.startswith(label) or rest[:1] not in (".", ")", ":") or not rest[1:].strip(SPACE):
            return options
        bodies.append(rest[1:].strip(SPACE))
    return bodies


def _inner(option: str) -> str:
    """``option`` as ``_lowered`` text, single-spaced; "" where it is a letter or nothing."""
    text = " ".join(part for part in _lowered(option).translate(SPACES).split(" ") if part)
    return "" if len(text) == 1 and text.isascii() and text.isalpha() else text


def _lowered(text: str) -> str:
    """NFKD, ASCII letters small: lengths of what is compared stay."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return "".join(c.lower() if c < "\x80" else c for c in text)
