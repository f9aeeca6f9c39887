"""Reference reader of chart answers: ChartQA's relaxed accuracy, our reading of its corners.

A gold that is a number takes a number within 5 percent of it; a gold 0 or a year-like gold (an integer
1000..2999 without a unit or a separator) takes exactly that number. A percent sign on one side only leaves
two readings of the bare number, the figure and the fraction: the better counts. Arithmetic that is left to be
worked out is no number (see reference_math): "28 + 29 = 57" states 57, "28 + 29" is UNEVALUATED. Any other
gold takes equal text (see ``plain``), or ANLS (see ``similarity``). A list of golds takes a list of as many
items, compared in order; the worst item decides. One ``\\boxed{..}`` may hold the whole answer.
"""

from __future__ import annotations

from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import NotNative
from mixed_r1_kernels.verify.reference_math import Unreadable, math_body, read_math
from mixed_r1_kernels.verify.reference_number import Number, narrow, read_number, unboxed
from mixed_r1_kernels.verify.reference_text import plain, similarity
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["compile_chart", "score_chart"]

ROUNDING = 1 + 1e-9  # "within 5%" of decimals holds although binary fractions are off by an ulp
SPACE = " \t\n\r\f\v"


class Item(NamedTuple):
    number: Number | None
    text: str


class ChartGold(NamedTuple):
    items: tuple[Item, ...]
    is_list: bool


def compile_chart(spec: GoldSpec) -> ChartGold:
    is_list = isinstance(spec.answer, tuple)
    answers = spec.answer if is_list else (spec.answer,)
    if not 1 <= len(answers) <= spec.settings.max_items:
        raise BadGold(f"answer must have 1 to {spec.settings.max_items} items, got {len(answers)}")
    return ChartGold(tuple(_compile_item(answer, spec.settings) for answer in answers), is_list)


def _compile_item(answer: object, settings: VerifySettings) -> Item:
    if not isinstance(answer, str) or len(answer.encode()) > settings.max_answer_bytes:
        raise BadGold(
            f"answer must be a text of at most {settings.max_answer_bytes} bytes, got {answer!r:.60}"
        )
    number = read_number(answer.strip(SPACE))
    if number == Reason.NON_FINITE:
        raise BadGold(f"answer must be finite, got {answer!r}")
    text = plain(answer)
    if not text:
        raise BadGold(f"answer must not be empty, got {answer!r}")
    return Item(number if isinstance(number, Number) else None, text)


def score_chart(answer: str, gold: ChartGold, settings: VerifySettings) -> tuple[float, Reason]:
    answer = unboxed(answer)
    if not gold.is_list:
        return _score_item(answer, gold.items[0], settings)
    parts = _split(answer, settings.max_items)
    if parts is None:
        return 0.0, Reason.TOO_MANY_ITEMS
    if len(parts) != len(gold.items):
        return 0.0, Reason.NO_MATCH
    worst = (1.0, Reason.OK)
    for part, item in zip(parts, gold.items, strict=True):
        scored = _score_item(part, item, settings)
        if scored[0] < worst[0]:
            worst = scored
    return worst


def _split(answer: str, max_items: int) -> list[str] | None:
    """Items of ``[a, b]``, ``(a, b)`` or ``a, b``; None where there are too many.

    The separator is the first of these that occurs: ``;``, a line break (with or without a comma before it),
    a comma before white space, a comma.
    """
    body = narrow(answer).strip(SPACE)
    if body[:1] + body[-1:] in ("[]", "()", "{}"):
        body = body[1:-1]
    body = body.strip(SPACE)
    if ";" in body:
        parts = body.split(";")
    elif "\n" in body:
        parts = [part.strip(SPACE).removesuffix(",") for part in body.split("\n")]
    elif ", " in body or ",\t" in body:
        parts = body.replace(",\t", ", ").split(", ")
    else:
        parts = body.split(",")
    return None if len(parts) > max_items else parts


def _score_item(answer: str, gold: Item, settings: VerifySettings) -> tuple[float, Reason]:
    if gold.number is None:
        return _score_text(plain(answer), gold.text, settings)
    number = read_number(answer.strip(SPACE))
    if number == Reason.NO_NUMBER:
        number = _stated(answer)
    if isinstance(number, Reason):
        return 0.0, number
    if gold.number.year:
        exact = number.value == gold.number.value and not number.percent
        return (1.0, Reason.OK) if exact else (0.0, Reason.OUT_OF_TOLERANCE)
    value = _closeness(number.value, gold.number.value, settings)
    if number.percent and not gold.number.percent:
        value = max(value, _closeness(number.value / 100.0, gold.number.value, settings))
    if gold.number.percent and not number.percent:
        value = max(value, _closeness(number.value, gold.number.value / 100.0, settings))
    return (value, Reason.OK) if value > 0 else (0.0, Reason.OUT_OF_TOLERANCE)


def _stated(answer: str) -> Number | Reason:
    """The number that an equation states in one of its sides; UNEVALUATED for arithmetic without a result."""
    try:
        value = read_math(answer)
    except Unreadable as problem:
        return Reason.AMBIGUOUS if problem.reason == Reason.AMBIGUOUS else Reason.NO_NUMBER
    except NotNative:
        return Reason.NO_NUMBER
    if not value.is_value:
        return Reason.UNEVALUATED
    sides = math_body(answer).split("=")
    numbers = (read_number(side) for side in reversed(sides))
    stated = (number for number in numbers if isinstance(number, Number))
    return next(stated, Reason.NO_NUMBER) if len(sides) > 1 else Reason.NO_NUMBER


def _closeness(value: float, gold: float, settings: VerifySettings) -> float:
    error = abs(value - gold)
    if gold == 0.0:
        return float(error == 0.0)
    if settings.chart_score == "relaxed":
        return float(error <= settings.chart_tolerance * abs(gold) * ROUNDING)
    return sum(error < (k / 20.0) * abs(gold) for k in range(1, 11)) / 10.0


def _score_text(answer: str, gold: str, settings: VerifySettings) -> tuple[float, Reason]:
    if answer == gold:
        return 1.0, Reason.OK
    if settings.chart_text == "anls":
        value = similarity(answer, gold)
        if value >= 0.5:
            return (value if settings.chart_score == "graded" else 1.0), Reason.OK
    return 0.0, Reason.NO_MATCH
