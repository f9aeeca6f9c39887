"""Reference reader of chart answers: ChartQA's relaxed accuracy, our reading of its corners.

A gold that is a number takes a number within 5 percent of it; a gold 0 or a year-like gold (an integer
1000..2999 without a unit or a separator; ``chart_years="exact"``) takes exactly that number. A percent sign
on one side only leaves two readings of the bare number, the figure and the fraction: the better counts. A
unit on one side only does not matter; two must be the same. Fractions, LaTeX and equations are read as in
math: "28 + 29 = 57" states 57, "28 + 29" is UNEVALUATED. So is what a sentence states ("The value is 42").

Any other gold takes equal text, where names of months, ranges ("45-54", "45 to 54") and ratios ("3:1",
"3 to 1") have one form, or ANLS (see ``similarity``) unless the two are opposites ("male", "female"). A list
of golds takes a list of as many items, in order (``list_order="any"``: in any); the worst item decides.
"""

from __future__ import annotations

from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import NotNative, as_fraction
from mixed_r1_kernels.verify.reference_leads import read_answer, stated
from mixed_r1_kernels.verify.reference_lists import split_list
from mixed_r1_kernels.verify.reference_math import Unreadable, read_math
from mixed_r1_kernels.verify.reference_number import Number, read_number
from mixed_r1_kernels.verify.reference_reading import normal
from mixed_r1_kernels.verify.reference_text import plain, similarity
from mixed_r1_kernels.verify.reference_units import is_known_unit
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["compile_chart", "score_chart"]

ROUNDING = 1 + 1e-9  # "within 5%" of decimals holds although binary fractions are off by an ulp
MONTHS = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november",
    "december",
)  # fmt: skip
SHORT_MONTHS = {month[:3]: month for month in MONTHS} | {"sept": "september"}
OPPOSITES = (
    "male female", "men women", "man woman", "boys girls", "boy girl", "increase decrease",
    "increasing decreasing",
    "increased decreased", "agree disagree", "satisfied dissatisfied", "favorable unfavorable",
    "legal illegal",
    "approve disapprove", "likely unlikely", "employed unemployed", "urban suburban", "import export",
    "imports exports", "positive negative", "higher lower", "minimum maximum", "married unmarried",
    "republican non-republican", "direct indirect", "inside outside", "upward downward", "rising falling",
    "north south", "east west", "northern southern", "eastern western", "important unimportant",
    "able unable",
)  # fmt: skip
OPPOSITE = {a: b for pair in OPPOSITES for a, b in (pair.split(), pair.split()[::-1])}


SIGNS = "\\/+*^=-(%:"  # without one of these a text is no expression


class Item(NamedTuple):
    number: Number | None
    text: str  # in its one form


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
    text = read_answer(answer, "last", lead=True)[1]
    number = read_number(text)
    if number == Reason.NON_FINITE:
        raise BadGold(f"answer must be finite, got {answer!r}")
    form = one_form(text)
    if not form:
        raise BadGold(f"answer must not be empty, got {answer!r}")
    return Item(number if isinstance(number, Number) else None, form)


def score_chart(answer: str, gold: ChartGold, settings: VerifySettings) -> tuple[float, Reason]:
    if not gold.is_list:
        scored = _score_item(answer, gold.items[0], settings)
        if gold.items[0].number is not None and scored[1] == Reason.NO_NUMBER and (tail := stated(answer)):
            return _score_item(tail, gold.items[0], settings)
        return scored
    if len(gold.items) == 1:
        whole = _score_item(answer, gold.items[0], settings)
        if whole[0] > 0:
            return whole
    parts = [normal(part) for part in split_list(answer, len(gold.items))]
    if len(parts) > settings.max_items:
        return 0.0, Reason.TOO_MANY_ITEMS
    if len(parts) != len(gold.items):
        return 0.0, Reason.NO_MATCH
    if settings.list_order == "any":
        return _score_in_any_order(parts, gold, settings)
    worst = (1.0, Reason.OK)
    for part, item in zip(parts, gold.items, strict=True):
        scored = _score_item(part, item, settings)
        if scored[0] < worst[0]:
            worst = scored
    return worst


def _score_in_any_order(parts: list[str], gold: ChartGold, settings: VerifySettings) -> tuple[float, Reason]:
    """Each part takes the gold that is left and that it is nearest to, the first of equals."""
    left = list(gold.items)
    worst = (1.0, Reason.OK)
    for part in parts:
        scores = [_score_item(part, item, settings) for item in left]
        best = max(range(len(left)), key=lambda i: scores[i][0])
        if scores[best][0] < worst[0]:
            worst = scores[best]
        del left[best]
    return worst


def _score_item(text: str, gold: Item, settings: VerifySettings) -> tuple[float, Reason]:
    """Of a normalised text."""
    if gold.number is None:
        return _score_text(one_form(text), gold.text, settings)
    number = read_number(text)
    if number == Reason.NO_NUMBER:
        number = _from_math(text)
    if isinstance(number, Reason):
        same = gold.number.unit and one_form(text) == gold.text
        return (1.0, Reason.OK) if same else (0.0, number)
    unit = number.unit
    if unit and unit != gold.number.unit and (gold.number.unit or not is_known_unit(unit)):
        return 0.0, Reason.NO_MATCH if gold.number.unit else Reason.NO_NUMBER
    if gold.number.year and settings.chart_years == "exact":
        exact = number.value == gold.number.value and not number.percent
        return (1.0, Reason.OK) if exact else (0.0, Reason.OUT_OF_TOLERANCE)
    value = _closeness(number.value, gold.number.value, settings)
    if number.percent and not gold.number.percent:
        value = max(value, _closeness(number.value / 100.0, gold.number.value, settings))
    if gold.number.percent and not number.percent:
        value = max(value, _closeness(number.value, gold.number.value / 100.0, settings))
    return (value, Reason.OK) if value > 0 else (0.0, Reason.OUT_OF_TOLERANCE)


def _from_math(text: str) -> Number | Reason:
    """The number that ``text`` is as math, a fraction or an equation; UNEVALUATED for arithmetic undone."""
    if text.isascii() and not any(sign in text for sign in SIGNS):
        return Reason.NO_NUMBER
    try:
        value = read_math(text)
    except Unreadable as problem:
        return Reason.AMBIGUOUS if problem.reason == Reason.AMBIGUOUS else Reason.NO_NUMBER
    except NotNative:
        return Reason.NO_NUMBER
    if not value.is_value:
        return Reason.UNEVALUATED
    real = None if text.startswith("(") else value.number()
    fraction = as_fraction(real) if real is not None else None
    if fraction is None or max(fraction.numerator.bit_length(), fraction.denominator.bit_length()) > 53:
        return Reason.NO_NUMBER
    return Number(fraction.numerator / fraction.denominator, False, False, value.unit)


def _closeness(value: float, gold: float, settings: VerifySettings) -> float:
    error = abs(value - gold)
    if gold == 0.0:
        return float(error == 0.0)
    if settings.chart_score == "relaxed":
        return float(error <= settings.chart_tolerance * abs(gold) * ROUNDING)
    return sum(error < (k / 20.0) * abs(gold) for k in range(1, 11)) / 10.0


def _score_text(answer: str, gold: str, settings: VerifySettings) -> tuple[float, Reason]:
    if answer == gold or _same_pair(answer, gold):
        return 1.0, Reason.OK
    if settings.chart_text == "anls" and OPPOSITE.get(answer) != gold:
        value = similarity(answer, gold)
        if value >= 0.5:
            return (value if settings.chart_score == "graded" else 1.0), Reason.OK
    return 0.0, Reason.NO_MATCH


def one_form(text: str) -> str:
    """``plain`` text, names of months in full, and "45 - 54" and "from 45 to 54" as "45-54" and "45to54"."""
    text = plain(text)
    if (pair := _pair(text)) is not None:
        return pair
    words = text.split(" ")
    if len(words) > 3:
        return text
    return " ".join(_month(word) for word in words)


def _month(word: str) -> str:
    """ "jan", "jan.", "jan," as "january"; any other word as it is."""
    name = word.rstrip(".,")
    return SHORT_MONTHS.get(name, name) if name in MONTHS or name in SHORT_MONTHS else word


def _pair(text: str) -> str | None:
    """Two numbers, of digits and a point each, with "-", ":" or "to" between, in one form."""
    text = text.removeprefix("from ")
    first = _digits_end(text, 0)
    at = first
    while text[at : at + 1] == " ":
        at += 1
    for sign in ("-", ":", "to"):
        if text.startswith(sign, at):
            break
    else:
        return None
    second = at + len(sign)
    while text[second : second + 1] == " ":
        second += 1
    if first == 0 or second == len(text) or _digits_end(text, second) < len(text):
        return None
    return text[:first] + sign + text[second:]


def _digits_end(text: str, i: int) -> int:
    while i < len(text) and (("0" <= text[i] <= "9") or (text[i] == "." and i + 1 < len(text))):
        i += 1
    return i


def _same_pair(answer: str, gold: str) -> bool:
    """ "45to54" says "45-54" or "45:54", whichever the gold is; and the other way round."""
    return any(
        left == right.replace(sign, "to", 1) and _pair(right) == right
        for left, right in ((answer, gold), (gold, answer))
        for sign in "-:"
    )
