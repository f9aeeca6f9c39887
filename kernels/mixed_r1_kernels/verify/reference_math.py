"""Reference reader of math answers: plain numbers, percentages and fractions, compared as exact rationals."""

from __future__ import annotations

from fractions import Fraction

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_number import narrow, unsigned_decimal
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["compile_math", "score_math"]

WRAPPERS = "\"'`*$ \t\n\r\f\v"
MAX_DIGITS = 400  # of one number, and of its exponent's value: bounds the exact arithmetic


def compile_math(spec: GoldSpec) -> Fraction:
    value = read_rational(spec.answer) if isinstance(spec.answer, str) else None
    if value is None:
        raise BadGold(f"answer must be a number, a percentage or a fraction, got {spec.answer!r:.60}")
    return value


def score_math(answer: str, gold: Fraction, settings: VerifySettings) -> tuple[float, Reason]:
    value = read_rational(answer)
    if value is None:
        return 0.0, Reason.NO_NUMBER
    return (1.0, Reason.OK) if value == gold else (0.0, Reason.NO_MATCH)


def read_rational(text: str) -> Fraction | None:
    """``a``, ``a%``, ``a/b`` or ``\\frac{a}{b}`` with decimals a, b, a sign before them; None for anything
    else.
    """
    body = narrow(text).strip(WRAPPERS)
    if body.endswith("."):
        body = body[:-1].rstrip(WRAPPERS)
    sign = 1
    if body[:1] in ("+", "-"):
        sign, body = (-1 if body[0] == "-" else 1), body[1:].lstrip(" ")
    for command in ("\\frac{", "\\dfrac{", "\\tfrac{"):
        if body.startswith(command) and body.endswith("}") and body.count("}{") == 1 and body.count("{") == 2:
            top, bottom = body[len(command) : -1].split("}{")
            return _divide(_decimal(top), _decimal(bottom), sign)
    if body.count("/") == 1:
        top, bottom = body.split("/")
        return _divide(_decimal(top), _decimal(bottom), sign)
    if body.endswith("%") or body.endswith("\\%"):
        return _divide(_decimal(body.rstrip("%").rstrip("\\")), Fraction(100), sign)
    return _divide(_decimal(body), Fraction(1), sign)


def _divide(top: Fraction | None, bottom: Fraction | None, sign: int) -> Fraction | None:
    return None if top is None or not bottom else sign * top / bottom


def _decimal(text: str) -> Fraction | None:
    body = text.strip(" ")
    sign = -1 if body[:1] == "-" else 1
    body = body[1:] if body[:1] in ("+", "-") else body
    digits, end = unsigned_decimal(body)
    if not digits or end < len(body) or len(digits) > MAX_DIGITS:
        return None
    exponent = digits.partition("e")[2]
    if abs(int(exponent or "0")) > MAX_DIGITS:
        return None
    return sign * Fraction(digits)
