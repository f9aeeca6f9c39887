"""Reference reader of one number: sign, currency, thousands separators, exponent, percent sign, scale
suffix.
"""

from __future__ import annotations

import unicodedata
from typing import NamedTuple

from mixed_r1_kernels.reason import Reason

__all__ = ["NON_FINITE", "Number", "narrow", "read_number", "unboxed", "unsigned_decimal"]

MINUS = "\u2212"
WRAPPERS = "\"'`* \t\n\r\f\v"
BOXED = "\\boxed{"
LETTER_SCALES = {"k": 1e3, "K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}
WORD_SCALES = {"mn": 1e6, "bn": 1e9, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
NON_FINITE = ("nan", "inf", "infinity")


class Number(NamedTuple):
    """``value`` as written, times its scale. ``percent``: a percent sign followed. ``year``: an integer 1000
    to 2999 of four digits, no sign, unit or separator beside them ("2015.0" is one).
    """

    value: float
    percent: bool = False
    year: bool = False


def narrow(text: str) -> str:
    """Full-width forms to ASCII and U+2212 to "-". No other digits are digits: NFKC would read a
    superscript 2 as "2".
    """
    if text.isascii():
        return text
    return "".join(
        chr(ord(c) - 0xFEE0)
        if "\uff01" <= c <= "\uff5e"
        else "-"
        if c == MINUS
        else " "
        if c in "\u3000\u00a0"
        else c
        for c in text
    )


def unboxed(text: str) -> str:
    """The body of the one ``\\boxed{..}`` that the whole of ``text`` is, but for white space, quotes,
    asterisks, backticks and dollar signs around it and full stops after it; any other text as it is.

    A backslash takes the next character with it: ``\\}`` closes nothing.
    """
    body = text.lstrip(WRAPPERS + "$").rstrip(WRAPPERS + "$.")
    if not body.startswith(BOXED):
        return text
    depth, i = 1, len(BOXED)
    while depth and i < len(body):
        depth += (body[i] == "{") - (body[i] == "}")
        i += 2 if body[i] == "\\" else 1
    return body[len(BOXED) : -1] if depth == 0 and i == len(body) else text


def read_number(text: str) -> Number | Reason:
    """The number that the whole of ``text`` is, or NO_NUMBER, or NON_FINITE (nan, inf, beyond the double
    range).

    ``[sign] [currency] [sign] digits [fraction] [exponent] [% | percent | scale] [currency] [.]``, white
    space between the parts; quotes, asterisks and backticks around it are dropped. Digits are plain or in
    groups ``1,234,567``. Scales: k K M B T bn mn thousand million billion trillion.
    """
    body = narrow(text).strip(WRAPPERS)
    if body.endswith(".") and not body.endswith(".."):
        body = body[:-1].rstrip(WRAPPERS)
    sign, body = _signed(body)
    bare = not sign
    if body and unicodedata.category(body[0]) == "Sc":
        bare = False
        body = body[1:].lstrip(" ")
        if not sign:
            sign, body = _signed(body)
    if body.lower() in NON_FINITE:
        return Reason.NON_FINITE
    digits, end = unsigned_decimal(body)
    if not digits:
        return Reason.NO_NUMBER
    suffix = body[end:].strip(" ")
    bare = bare and not suffix
    if suffix and unicodedata.category(suffix[-1]) == "Sc":
        suffix = suffix[:-1].rstrip(" ")
    percent = suffix == "%" or suffix.lower() == "percent"
    scale = LETTER_SCALES.get(suffix) or WORD_SCALES.get(suffix.lower())
    if suffix and not percent and scale is None:
        return Reason.NO_NUMBER
    value = float(digits) * (scale or 1.0)
    if value in (float("inf"), float("-inf")):
        return Reason.NON_FINITE
    whole, _, fraction = body[:end].partition(".")
    year = bare and len(whole) == 4 and whole.isdigit() and not fraction.strip("0") and 1000 <= value <= 2999
    return Number(-value if sign == "-" else value, percent, year)


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
