"""Reference reader of one number: sign, currency, thousands separators, exponent, percent sign, scale,
unit."""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_reading import SPACE, letters_end
from mixed_r1_kernels.verify.reference_units import unit_name

__all__ = ["NON_FINITE", "Number", "phrase", "read_number", "unsigned_decimal"]

LETTER_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
CHARACTER_SCALES = {
    "\u4e07\u4ebf": 1e12,
    "\u767e\u4e07": 1e6,
    "\u5343\u4e07": 1e7,
    "\u4e07": 1e4,
    "\u4ebf": 1e8,
}
PERCENTS = (
    "%", "percent", "per cent", "pct", "percents", "percentage", "percentage point", "percentage points",
)  # fmt: skip
CURRENCIES = frozenset(("$", "\u20ac", "\u00a3", "\u00a5", "\u20b9"))
NO_UNITS = frozenset(
    ("or", "and", "to", "of", "dozen", "hundred", "thousand", "million", "billion", "trillion", "lakh",
    "crore", "k",
     "m", "b", "t", "mn", "bn", "plus", "minus", "times", "over", "percent", "per", "e", "x", "not", "half")
)  # fmt: skip
WORD_SCALES = {"mn": 1e6, "bn": 1e9, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
NON_FINITE = ("nan", "inf", "infinity")


class Number(NamedTuple):
    """``value`` as written, times its scale. ``percent``: a percent sign followed. ``year``: an integer 1000
    to 2999 of four digits, no sign, unit or separator beside them ("2015.0" is one). ``unit``: its one name,
    or the words of an unknown one; "" where there is none.
    """

    value: float
    percent: bool = False
    year: bool = False
    unit: str = ""


def read_number(text: str) -> Number | Reason:
    """The number that the whole of ``text`` is, or NO_NUMBER, or NON_FINITE (nan, inf, beyond the double
    range).

    ``[sign] [currency] [sign] digits [fraction] [exponent] [% | percent | scale] [unit]``, white space
    between the parts. Digits are plain or in groups ``1,234,567``. Scales: k K M B T bn mn thousand million
    billion trillion and their Chinese characters.
    """
    sign, body = _signed(text.strip(SPACE))
    bare = not sign
    unit = ""
    length = _currency_end(body)
    if length:
        bare, unit = False, unit_name(body[:length]) or body[0]
        body = body[length:].lstrip(" ")
        if not sign:
            sign, body = _signed(body)
    if body.lower() in NON_FINITE:
        return Reason.NON_FINITE
    digits, end = unsigned_decimal(body)
    if not digits:
        return Reason.NO_NUMBER
    suffix = body[end:]
    if suffix == "\u5e74":  # the year 2015, in Chinese
        suffix = ""
    bare = bare and not suffix
    if suffix == "m":  # metres or millions
        return Reason.NO_NUMBER
    scale, rest = _scale(suffix.strip(" "))
    percent = rest.lower() in PERCENTS
    if rest and not percent:
        found = unit_name(rest) or (phrase(rest) if suffix[:1] == " " else "")
        if not found and len(rest) == 1 and unicodedata.category(rest) == "Sc":
            found = rest
        if not found or (unit and found != unit):
            return Reason.NO_NUMBER
        unit = found
    value = float(digits) * scale
    if value in (float("inf"), float("-inf")):
        return Reason.NON_FINITE
    whole, _, fraction = body[:end].partition(".")
    year = bare and len(whole) == 4 and whole.isdigit() and not fraction.strip("0") and 1000 <= value <= 2999
    return Number(-value if sign == "-" else value, percent, year, unit)


def _currency_end(body: str) -> int:
    """Behind a sign or a code of a currency ("$", "US$", "USD", "RMB") at the start; 0 without one."""
    if body and unicodedata.category(body[0]) == "Sc":
        return 1
    if body.startswith("US$"):
        return 3
    end = letters_end(body, 0)
    code = end == 3 and body[:end].isupper() and unit_name(body[:end]) in CURRENCIES
    return end if code else 0


def _scale(suffix: str) -> tuple[float, str]:
    """What a suffix multiplies by, and the rest of it, which is a unit or nothing."""
    for name in CHARACTER_SCALES:
        if suffix.startswith(name):
            return CHARACTER_SCALES[name], suffix[len(name) :].lstrip(" ")
    end = letters_end(suffix, 0)
    name, rest = suffix[:end], suffix[end:]
    scale = LETTER_SCALES.get(name) or WORD_SCALES.get(name.lower())
    if scale is None or (rest and rest[0] != " " and unicodedata.category(rest[0]) != "Sc"):
        return 1.0, suffix
    return scale, rest.lstrip(" ")


def phrase(text: str) -> str:
    """One or two words in small letters, that a gold may have for a unit, without a plural's s; else ""."""
    words = [word for word in text.split(" ") if word]
    fits = len(words) <= 2 and all(letters_end(word, 0) == len(word) and word.islower() for word in words)
    if not fits or not words or any(word in NO_UNITS for word in words):
        return ""
    return " ".join(words).removesuffix("s")


def _signed(text: str) -> tuple[str, str]:
    if text[:1] in ("+", "-"):
        return text[0], text[1:].lstrip(" ")
    return "", text


def unsigned_decimal(text: str, *, separators: bool = True) -> tuple[str, int]:
    """The decimal at the start of ``text``, without ``1,234`` separators, and where it ends; "" where there
    is none.
    """
    i = _run(text, 0)
    whole = text[:i]
    if separators and i in (1, 2, 3):
        while text[i : i + 1] == "," and _run(text, i + 1) == i + 4:
            whole += text[i + 1 : i + 4]
            i += 4
    fraction = ""
    if text[i : i + 1] == ".":
        end = _run(text, i + 1)
        fraction, i = text[i + 1 : end], end
    if not whole and not fraction:
        return "", 0
    exponent = ""
    if text[i : i + 1] in ("e", "E"):
        start = i + 1 + (text[i + 1 : i + 2] in ("+", "-"))
        end = _run(text, start)
        if end > start:
            exponent, i = "e" + text[i + 1 : end], end
    return f"{whole or '0'}.{fraction or '0'}{exponent}", i


def _run(text: str, i: int) -> int:
    """Where the ASCII digits that start at ``i`` end."""
    while i < len(text) and "0" <= text[i] <= "9":
        i += 1
    return i
