"""Reference reader of math answers: arithmetic and simple LaTeX, compared exactly (see reference_algebra).

    answer    := statement (("," | "or" | "and") statement)*          a list is a set, of solutions
    statement := [name ("=" | "\\in")] side ("=" side)* ["\\approx" ..]   sides of an equation must be equal
               | sum < sum [< sum], one of them a letter: an interval
    side      := part ("\\cup" part)* [unit] | sum (":" sum)+
    part      := bracketed list of sums and +-\\infty, or one sum
    sum       := [+-] product ([+-] product)*                         "a \\pm b" is the set of both
    product   := power ((\\times | /)? power)*        no sign: times; left to right, so 1/2\\pi is half of pi
    power     := atom [^ exponent] [% | ^\\circ]*
    atom      := decimal [\\overline{digits}] | letter | \\pi | \\frac.. | \\sqrt[n].. | ( sum ) | { sum }

"2\\frac{1}{3}", "2 1/3" and "2\\frac13" are mixed numbers. Tuples and intervals compare in order with their
brackets, sets and unions without order. Letters make polynomials, compared in their normal form; letters
without a sign between are no product, or every anagram would be equal. A name may be a quotient, a length or
an angle ("\\tan A", "|AB|", "\\frac{AB}{CD}"), as long as no number is in it; "x = 2, y = 3" is a tuple.
Where the whole text is nothing of this, what the sentence states is read ("The value of x is 5"). A unit on
one side does not matter, two must be the same. A percentage is its figure where the other side has no percent
sign.

An answer must be a value, or a policy learns to answer a sum with the sum. UNEVALUATED is an expression with
an operation left to be worked out: one that gives a rational number and is not a way to write one (a fraction
of two numbers that is not whole, a mixed number, ``a \\times 10^n``), or a sum of like terms
(``2\\pi + 3\\pi``). ``2\\sqrt{2}``, ``1 + \\pi`` and ``2/4`` are values. An equation states a value where one
of its sides is one: ``28 + 29 = 57``. Where the gold itself is no value, any form of it is right; but one of
digits and hyphens, slashes or colons ("9-12", "2024-05-01") is a range, a score or a date: a text.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import Arithmetic, NotNative, Real, rational
from mixed_r1_kernels.verify.reference_leads import read_answer, stated
from mixed_r1_kernels.verify.reference_math_parser import Parser, Value
from mixed_r1_kernels.verify.reference_math_tokens import Unreadable, tokens
from mixed_r1_kernels.verify.reference_reading import letters_end
from mixed_r1_kernels.verify.reference_text import plain
from mixed_r1_kernels.verify.reference_units import is_known_unit
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["MathGold", "Unreadable", "Value", "agree", "compile_math", "read_math", "readings", "score_math"]


class MathGold(NamedTuple):
    """``text`` where the gold is words in a text command, or a date or a range; else its readings (two where
    a letter may be a unit).
    """

    values: tuple[Value, ...]
    text: str


def compile_math(spec: GoldSpec) -> MathGold:
    written = spec.answer if isinstance(spec.answer, str) else ""
    text = read_answer(written, "last", lead=True)[1]
    if _is_words(written, text) or _is_digits_joined(text):
        return MathGold((), text_form(text))
    try:
        return MathGold(tuple(readings(text, spec.settings, gold=True)), "")
    except (NotNative, Unreadable) as problem:
        raise BadGold(
            f"answer must be a number or simple LaTeX, got {spec.answer!r:.60} ({problem})"
        ) from None


def _is_words(written: str, text: str) -> bool:
    """Whether a gold is words, and says so by a text command: "\\\\text{Evelyn}", "\\\\textbf{(B)}"."""
    commanded = any(f"\\{name}" in written for name in ("text{", "textbf{", "mathrm{", "mbox{", "textit{"))
    letters = any(letters_end(c, 0) for c in text)
    return commanded and letters and not any(c in "\\^_=<>+*/{}[],|" for c in text) and not text[:1].isdigit()


def _is_digits_joined(text: str) -> bool:
    parts = text.replace("/", "-").replace(":", "-").split("-")
    joined = len(parts) > 1 and all(part.isascii() and part.isdigit() for part in parts)
    return joined and ("-" in text or text.count("/") > 1)


def text_form(text: str) -> str:
    """``plain`` without brackets around it and without spaces."""
    form = plain(text)
    if form[:1] + form[-1:] == "()":
        form = form[1:-1]
    return form.replace(" ", "")


def score_math(answer: str, gold: MathGold, settings: VerifySettings) -> tuple[float, Reason]:
    if not gold.values:
        return (1.0, Reason.OK) if text_form(answer) == gold.text else (0.0, Reason.NO_MATCH)
    reason, values = _read(answer, settings)
    if reason == Reason.NO_NUMBER and (tail := stated(answer)):
        reason, values = _read(tail, settings)
    if reason != Reason.OK:
        return 0.0, reason
    verdicts = [_compare(value, wanted) for value in values for wanted in gold.values]
    return (1.0, Reason.OK) if Reason.OK in verdicts else (0.0, verdicts[0])


def _read(text: str, settings: VerifySettings) -> tuple[Reason, list[Value]]:
    try:
        return Reason.OK, readings(text, settings)
    except Unreadable as problem:
        return problem.reason, []
    except NotNative:
        return Reason.NO_NUMBER, []


def agree(values: Iterable[Value], golds: Iterable[Value]) -> bool:
    """Whether one of the readings of an answer is one of those of a gold."""
    return any(_compare(value, gold) == Reason.OK for value in values for gold in golds)


def _compare(value: Value, gold: Value) -> Reason:
    if gold.is_value and not value.is_value:
        return Reason.UNEVALUATED
    if value.unit and value.unit != gold.unit and (gold.unit or not is_known_unit(value.unit)):
        return Reason.NO_MATCH if gold.unit else Reason.NO_NUMBER
    if value.parts == gold.parts:
        return Reason.OK
    left, right = value.number(), gold.number()
    if left is not None and right is not None and value.percent != gold.percent:
        if value.percent:
            left = _times_hundred(left)
        else:
            right = _times_hundred(right)
        if left is not None and left == right:
            return Reason.OK
    return Reason.NO_MATCH


def _times_hundred(value: Real) -> Real | None:
    try:
        return Arithmetic().multiply(value, rational(Fraction(100)))
    except NotNative:
        return None


def read_math(text: str, settings: VerifySettings | None = None) -> Value:
    """The value of the whole of a normalised text. Raises Unreadable or NotNative."""
    return readings(text, settings or VerifySettings())[0]


def readings(text: str, settings: VerifySettings, *, gold: bool = False) -> list[Value]:
    """The value of ``text``; and where a letter was read as a unit ("5 m"), its value as a product too.

    ``x = 2, y = 3`` is a tuple, and in an answer the set of what it holds too.
    """
    found = tokens(text)
    ordered = settings.list_order == "ordered"
    parser = Parser(text, found, units=True, ordered=ordered)
    first = parser.answer()
    named = parser.named(first)
    if named is not None:
        return [named] if gold else [named, first]
    if len(first.unit) != 1 or not letters_end(first.unit, 0):
        return [first]
    try:
        return [first, Parser(text, found, units=False, ordered=ordered).answer()]
    except (Unreadable, NotNative):
        return [first]
