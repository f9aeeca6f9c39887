"""The character data of the native ``verify``, from this Python's unicodedata."""

from __future__ import annotations

import unicodedata
from functools import cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["unicode_tables"]

Codes = NDArray[np.uint32]
HANGUL = range(0xAC00, 0xAC00 + 11172)  # decomposed by arithmetic


@cache
def unicode_tables() -> tuple[Codes, ...]:
    """Decompositions (keys, offsets, values), case folds (the same three), combining classes (keys, values),
    the bounds of runs of letters, marks and numbers, and the currency signs.
    """
    decompositions: dict[int, str] = {}
    folds: dict[int, str] = {}
    classes: dict[int, int] = {}
    bounds: list[int] = []
    currency: list[int] = []
    for code in (*range(0x40000), *range(0xE0000, 0xE1000)):  # the planes with assigned characters
        character = chr(code)
        category = unicodedata.category(character)
        if (category[0] in "LMN") != (len(bounds) % 2 == 1):
            bounds.append(code)
        if category in ("Cn", "Co", "Cs"):
            continue
        if category == "Sc":
            currency.append(code)
        if combining := unicodedata.combining(character):
            classes[code] = combining
        if unicodedata.decomposition(character) and code not in HANGUL:
            decompositions[code] = unicodedata.normalize("NFKD", character)
        if (folded := character.casefold()) != character:
            folds[code] = folded
    return (
        *_flat(decompositions),
        *_flat(folds),
        np.array(list(classes), np.uint32),
        np.array(list(classes.values()), np.uint32),
        np.array(bounds, np.uint32),
        np.array(currency, np.uint32),
    )


def _flat(mapping: dict[int, str]) -> tuple[Codes, Codes, Codes]:
    offsets = np.zeros(len(mapping) + 1, np.uint32)
    np.cumsum([len(text) for text in mapping.values()], out=offsets[1:])
    values = np.array([ord(c) for text in mapping.values() for c in text], np.uint32)
    return np.array(list(mapping), np.uint32), offsets, values
