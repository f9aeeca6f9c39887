"""Reference reader of math answers: arithmetic and simple LaTeX, compared exactly (see reference_algebra).

    answer  := [letter "=" | letter "\\in"] side ("=" side)*      the sides of an equation must be equal
    side    := part ("\\cup" part)*                              a bare list "1, 2" is a set
    part    := bracketed list of sums and +-\\infty, or one sum
    sum     := [+-] product ([+-] product)*
    product := power ((* | \\cdot | \\times | / | \\div)? power)*    no sign: times; "2\\frac{1}{3}" is 7/3
    power   := atom [^ exponent] [% | \\% | ^\\circ]*
    atom    := decimal | \\pi | \\frac{..}{..} | \\sqrt[n]{..} | sqrt(..) | ( sum ) | { sum }

Tuples and intervals compare in order with their brackets, sets and unions without order. One ``\\boxed{..}``
may hold the whole answer.

An answer must be a value, or a policy learns to answer a sum with the sum. UNEVALUATED is an expression with
an operation left to be worked out: one that gives a rational number and is not a way to write one (a fraction
of two numbers that is not whole, a mixed number, ``a \\times 10^n``), or a sum of like terms
(``2\\pi + 3\\pi``). ``2\\sqrt{2}``, ``1 + \\pi`` and ``2/4`` are values. An equation states a value where one
of its sides is one: ``28 + 29 = 57``. Where the gold itself is no value, any form of it is right.
"""

from __future__ import annotations

from enum import Enum
from fractions import Fraction
from typing import NamedTuple, TypeAlias

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import PI, Arithmetic, NotNative, Real, as_fraction, rational
from mixed_r1_kernels.verify.reference_number import narrow, unboxed, unsigned_decimal
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["Unreadable", "compile_math", "math_body", "read_math", "score_math"]

Item: TypeAlias = "Real | str"  # "+inf" and "-inf" in brackets only
Part: TypeAlias = "tuple[str, tuple[Item, ...] | frozenset[Item]]"
Parts: TypeAlias = frozenset[Part]


class Value(NamedTuple):
    """The parts of an answer, and whether it is a value: nothing in it is left to be worked out."""

    parts: Parts
    is_value: bool


class Form(Enum):
    """How an expression is written."""

    NUMBER = 1  # a decimal, with a sign, a percent sign, in brackets or not
    TEN_POWER = 2  # 10^n
    OTHER = 3


MAX_TOKENS = 512
MAX_NESTING = 32
MAX_DIGITS = 100
WRAPPERS = "\"'`*$ \t\n\r\f\v"
IGNORED = frozenset(("\\left", "\\right", "\\displaystyle", "\\!", "\\,", "\\;", "\\:", "\\ ", "~"))
TIMES = frozenset(("*", "\\cdot", "\\times"))
OVER = frozenset(("/", "\\div"))
CLOSERS = {"(": (")", "]"), "[": (")", "]"), "{": ("}",), "\\{": ("\\}",)}
STARTS = frozenset(("(", "{", "\\pi", "\u03c0", "\\sqrt", "\\frac"))
DEGREES = frozenset(("\\circ", "\\degree", "\u00b0"))
SAME = {
    "\\dfrac": "\\frac",
    "\\tfrac": "\\frac",
    "**": "^",
    "pi": "\\pi",
    "sqrt": "\\sqrt",
    "\u221a": "\\sqrt",
}


def compile_math(spec: GoldSpec) -> Value:
    try:
        return read_math(spec.answer if isinstance(spec.answer, str) else "")
    except (NotNative, Unreadable) as problem:
        raise BadGold(
            f"answer must be a number or simple LaTeX, got {spec.answer!r:.60} ({problem})"
        ) from None


def score_math(answer: str, gold: Value, settings: VerifySettings) -> tuple[float, Reason]:
    try:
        value = read_math(answer)
    except Unreadable as problem:
        return 0.0, problem.reason
    except NotNative:
        return 0.0, Reason.NO_NUMBER
    if gold.is_value and not value.is_value:
        return 0.0, Reason.UNEVALUATED
    return (1.0, Reason.OK) if value.parts == gold.parts else (0.0, Reason.NO_MATCH)


class Unreadable(ValueError):  # noqa: N818 (a verdict on an answer)
    """Not an expression of the grammar, or beyond its limits."""

    def __init__(self, problem: str, reason: Reason = Reason.NO_NUMBER) -> None:
        super().__init__(problem)
        self.reason = reason


def read_math(text: str) -> Value:
    """The value of the whole of ``text``. Raises Unreadable or NotNative."""
    return _Parser(_tokens(math_body(text).replace("{,}", ","))).answer()


def math_body(text: str) -> str:
    """``text`` without what may surround an expression: quotes, math delimiters, a full stop, one box."""
    body = narrow(text).strip(WRAPPERS)
    for opening, closing in (("\\(", "\\)"), ("\\[", "\\]")):
        if body.startswith(opening) and body.endswith(closing) and len(body) >= 4:
            body = body[2:-2]
    body = body.strip(WRAPPERS)
    if body.endswith(".") and not body.endswith(".."):
        body = body[:-1].rstrip(WRAPPERS)
    return unboxed(body).strip(WRAPPERS)


def _tokens(text: str) -> list[str]:
    """Decimals, commands, words and single characters; white space and spacing commands left out.

    Digit groups "1,234" are one decimal outside of brackets.
    """
    found: list[str] = []
    i = depth = 0
    while i < len(text):
        c = text[i]
        end = i + 1
        if c in " \t\n\r\f\v":
            i = end
            continue
        if "0" <= c <= "9" or (c == "." and "0" <= text[end : end + 1] <= "9"):
            end = i + unsigned_decimal(text[i:], separators=depth == 0)[1]
        elif c == "\\":
            end = max(_letters_end(text, end), min(i + 2, len(text)))
        elif text.startswith("**", i):
            end = i + 2
        else:
            end = max(end, _letters_end(text, i))
        token = text[i:end]
        depth += (token in CLOSERS) - (token in (")", "]", "}", "\\}"))
        if token not in IGNORED:
            found.append(SAME.get(token, token))
        if len(found) > MAX_TOKENS:
            raise Unreadable("too many tokens", Reason.TOO_MANY_ITEMS)
        i = end
    return found


def _letters_end(text: str, i: int) -> int:
    while i < len(text) and ("a" <= text[i] <= "z" or "A" <= text[i] <= "Z"):
        i += 1
    return i


class _Parser:
    """Recursive descent over tokens, ``MAX_NESTING`` sums deep at most."""

    def __init__(self, tokens: list[str]) -> None:
        self.tokens, self.at, self.depth = tokens, 0, 0
        self.real = Arithmetic()
        self.is_value = True  # of the side that is being read
        self.form = Form.OTHER  # of the expression read last

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead] if self.at + ahead < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if not token or (expected and token not in expected):
            raise Unreadable(f"unexpected {token!r}")
        self.at += 1
        return token

    def answer(self) -> Value:
        if len(self.peek()) == 1 and _letters_end(self.peek(), 0) == 1 and self.peek(1) in ("=", "\\in"):
            self.at += 2
        first, any_value = self.side(), self.is_value
        while self.peek() == "=":
            self.at += 1
            self.is_value = True
            if self.side() != first:
                raise Unreadable("the sides of an equation differ", Reason.AMBIGUOUS)
            any_value = any_value or self.is_value
        if self.peek():
            raise Unreadable(f"unexpected {self.peek()!r}")
        return Value(first, any_value)

    def side(self) -> Parts:
        parts = [self.part()]
        if self.peek() == "," and parts[0][0] == "":
            items = list(parts[0][1])
            while self.peek() == ",":
                self.at += 1
                items.append(self.sum())
            parts = [("{}", frozenset(items))]
        while self.peek() == "\\cup":
            self.at += 1
            parts.append(self.part())
        return frozenset(parts)

    def part(self) -> Part:
        opening = self.peek()
        if opening not in CLOSERS or not (opening in ("[", "\\{") or self.holds_comma()):
            return "", (self.sum(),)
        self.at += 1
        items = [self.item()]
        while self.peek() == ",":
            self.at += 1
            items.append(self.item())
        closing = self.take(*CLOSERS[opening])
        if closing in ("}", "\\}"):
            return "{}", frozenset(items)
        return opening + closing, tuple(items)

    def holds_comma(self) -> bool:
        """Whether the bracket here has a comma directly inside."""
        depth = 0
        for token in self.tokens[self.at :]:
            depth += (token in CLOSERS) - (token in (")", "]", "}", "\\}"))
            if depth == 0 or (depth == 1 and token == ","):
                return depth == 1
        return False

    def item(self) -> Item:
        sign = self.peek() if self.peek() in ("+", "-") else ""
        if self.peek(len(sign)) in ("\\infty", "\u221e"):
            self.at += len(sign) + 1
            return "-inf" if sign == "-" else "+inf"
        return self.sum()

    def sum(self) -> Real:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Unreadable("too deep", Reason.TOO_DEEP)
        total = self.signed_product()
        while self.peek() in ("+", "-"):
            term = self.signed_product()
            alike = dict(total).keys() & dict(term).keys() or not total or not term
            self.is_value = self.is_value and not alike
            total, self.form = self.real.add(total, term), Form.OTHER
        self.depth -= 1
        return total

    def signed_product(self) -> Real:
        negative = False
        if self.peek() in ("+", "-"):
            negative = self.take() == "-"
        product = self.power()
        while self.peek() in TIMES or self.peek() in OVER or self.peek() in STARTS:
            form = self.form
            if self.peek() in OVER:
                self.at += 1
                product = self.quotient(product, form, self.power())
                continue
            if self.peek() in TIMES:
                self.at += 1
            product = self.real.multiply(product, self.power())
            if (form, self.form) != (Form.NUMBER, Form.TEN_POWER):
                self.worked_out(product)
            self.form = Form.OTHER
        return self.real.negate(product) if negative else product

    def worked_out(self, result: Real) -> Real:
        """``result`` of an operation: where it is rational, the answer could have given it."""
        self.is_value = self.is_value and as_fraction(result) is None
        self.form = Form.OTHER
        return result

    def quotient(self, top: Real, form: Form, bottom: Real) -> Real:
        """top / bottom, which was read last: of two numbers a fraction, where it is not whole or over 1."""
        result = self.real.divide(top, bottom)
        if (form, self.form) != (Form.NUMBER, Form.NUMBER):
            return self.worked_out(result)
        value = as_fraction(result)
        assert value is not None
        self.is_value = self.is_value and (value.denominator > 1 or as_fraction(bottom) == 1)
        self.form = Form.OTHER
        return result

    def power(self) -> Real:
        at, value = self.at, self.atom()
        if self.peek() == "^":
            self.at += 1
            if self.peek() == "{" and self.peek(1) in DEGREES and self.peek(2) == "}":
                self.at += 3
            elif self.peek() in DEGREES:
                self.at += 1
            else:
                ten, exponent = self.tokens[at : self.at - 1] == ["10"], self.exponent()
                whole = self.form == Form.NUMBER and as_fraction(exponent, whole=True) is not None
                value = self.real.power(value, exponent)
                if ten and whole:
                    self.form = Form.TEN_POWER
                else:
                    self.worked_out(value)
        while self.peek() in ("%", "\\%") or self.peek() in DEGREES:
            if self.take() not in DEGREES:
                value = self.real.divide(value, rational(Fraction(100)))
        return value

    def exponent(self) -> Real:
        if self.peek() in ("(", "{"):
            return self.group()
        negative = self.peek() == "-"
        self.at += negative
        value = self.decimal()
        return self.real.negate(value) if negative else value

    def group(self) -> Real:
        opening = self.take("(", "{")
        value = self.sum()
        self.take(")" if opening == "(" else "}")
        return value

    def atom(self) -> Real:
        token = self.peek()
        if _is_decimal(token):
            value = self.decimal()
            if token.isdigit() and self.peek() == "\\frac":
                whole = [_is_whole(self.tokens, self.at + 1), _is_whole(self.tokens, self.at + 4)]
                fraction = self.fraction()
                if all(whole):
                    value = self.real.add(value, fraction)
                else:
                    value = self.worked_out(self.real.multiply(value, fraction))
            return value
        if token in ("\\pi", "\u03c0"):
            return self.pi()
        if token == "\\frac":
            return self.fraction()
        if token == "\\sqrt":
            return self.root()
        return self.group()

    def fraction(self) -> Real:
        """``\\frac{a}{b}``, or ``\\frac12``, where each digit is an argument."""
        self.take("\\frac")
        token = self.peek()
        if _is_decimal(token):
            self.at += 1
            if token.isdigit() and len(token) == 2:
                self.form = Form.NUMBER
                return self.quotient(_decimal(token[0]), Form.NUMBER, _decimal(token[1]))
            if not token.isdigit() or len(token) > 1:
                raise Unreadable(f"unexpected {token!r}")
            top, self.form = _decimal(token), Form.NUMBER
        else:
            top = self.argument()
        return self.quotient(top, self.form, self.argument())

    def root(self) -> Real:
        self.take("\\sqrt")
        degree = 2
        if self.peek() == "[":
            self.at += 1
            token = self.take()
            if not (token.isascii() and token.isdigit()) or len(token) > 2:
                raise Unreadable(f"unexpected {token!r}")
            degree = int(token)
            self.take("]")
        return self.worked_out(self.real.root(self.argument(), degree))

    def argument(self) -> Real:
        if _is_decimal(self.peek()):
            return self.decimal()
        if self.peek() in ("\\pi", "\u03c0"):
            return self.pi()
        return self.group()

    def pi(self) -> Real:
        self.at += 1
        self.form = Form.OTHER
        return PI

    def decimal(self) -> Real:
        value, self.form = _decimal(self.take()), Form.NUMBER
        return value


def _is_decimal(token: str) -> bool:
    return token[:1].isascii() and (token[:1].isdigit() or (token[:1] == "." and len(token) > 1))


def _is_whole(tokens: list[str], at: int) -> bool:
    """Whether ``{digits}`` stands there."""
    part = tokens[at : at + 3]
    return len(part) == 3 and part[0] == "{" and part[1].isascii() and part[1].isdigit() and part[2] == "}"


def _decimal(token: str) -> Real:
    digits, end = unsigned_decimal(token)
    if not digits or end < len(token):
        raise Unreadable(f"unexpected {token!r}")
    exponent = digits.partition("e")[2]
    if len(digits) > MAX_DIGITS or len(exponent) > 4 or abs(int(exponent or "0")) > MAX_DIGITS:
        raise NotNative("number too long")
    return rational(Fraction(digits))
