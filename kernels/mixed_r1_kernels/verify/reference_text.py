"""Words of a text, and texts compared without regard to case and form."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

__all__ = [
    "NEGATIONS",
    "SPACES",
    "Word",
    "fold",
    "is_letter",
    "is_wide_script",
    "plain",
    "similarity",
    "words",
]

SPACES = str.maketrans("\t\n\r\f\v", "     ")
NEGATIONS = frozenset(("not", "never", "cannot", "neither", "nor"))
INNER = "'-\u2019\u2010\u2011"  # between two letters or digits these belong to the word
QUOTES = "\"'`*_\u2018\u2019\u201c\u201d"
WIDE_SCRIPTS = ((0x0E00, 0x0E7F), (0x1100, 0x11FF), (0x3040, 0x30FF), (0x3400, 0x9FFF), (0xAC00, 0xD7FF),
                (0xF900, 0xFAFF), (0x20000, 0x3FFFF))  # fmt: skip
MAX_SIMILAR = 256


def fold(text: str) -> str:
    """The form in which texts are compared: NFKD, case folded, NFKD. (Equal under NFKD iff equal under
    NFKC.)
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


def plain(text: str) -> str:
    """``text`` folded, single-spaced, without quotes, asterisks and backticks around it or full stops after
    it.
    """
    spaced = " ".join(part for part in fold(text).translate(SPACES).split(" ") if part)
    return spaced.lstrip(QUOTES + " ").rstrip(QUOTES + " .")


def is_letter(character: str) -> bool:
    """A letter, a digit or a mark."""
    return unicodedata.category(character)[0] in "LNM"


def is_wide_script(character: str) -> bool:
    """Of a script that puts no spaces between words: Chinese, Japanese, Korean, Thai."""
    return any(first <= ord(character) <= last for first, last in WIDE_SCRIPTS)


class Word(NamedTuple):
    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """Runs of letters, digits and marks of one kind of script; an apostrophe or hyphen between two of them
    does not end a word.
    """
    found: list[Word] = []
    i = 0
    while i < len(text):
        if not is_letter(text[i]):
            i += 1
            continue
        start, wide = i, is_wide_script(text[i])
        while i < len(text) and (
            (is_letter(text[i]) and is_wide_script(text[i]) == wide)
            or (text[i] in INNER and i > start and i + 1 < len(text) and is_letter(text[i + 1]))
        ):
            i += 1
        found.append(Word(text[start:i], start, i))
    return found


def similarity(left: str, right: str) -> float:
    """1 - edit distance / longer length, over code points: the S of ANLS. 1 for two empty texts.

    0 where the lengths alone put it under one half, and where a text has more than MAX_SIMILAR code points:
    the work grows with the product of the lengths.
    """
    longer = max(len(left), len(right))
    if longer == 0:
        return 1.0
    if longer > MAX_SIMILAR or 2 * min(len(left), len(right)) < longer:
        return 0.0
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return (longer - row[-1]) / longer
