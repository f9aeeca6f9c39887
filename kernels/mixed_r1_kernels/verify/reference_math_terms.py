"""The expressions of math answers: sums, products, powers, fractions, roots and decimals."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from fractions import Fraction

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import (
    PI,
    Arithmetic,
    NotNative,
    Real,
    as_fraction,
    rational,
    variable,
)
from mixed_r1_kernels.verify.reference_math_tokens import LETTERS, Token, Unreadable, is_decimal, is_whole
from mixed_r1_kernels.verify.reference_number import unsigned_decimal
from mixed_r1_kernels.verify.reference_reading import letters_end
from mixed_r1_kernels.verify.reference_units import unit_name

__all__ = ["Form", "Terms"]

MAX_NESTING = 32
MAX_DIGITS = 100
MAX_REPEATING = 20
STARTS = frozenset(("(", "{", "\\pi", "\\sqrt", "\\frac"))
GREEK = frozenset(LETTERS.values())


class Form(Enum):
    """How an expression is written."""

    NUMBER = 1  # a decimal, with a sign, a percent sign, in brackets or not
    TEN_POWER = 2  # 10^n
    OTHER = 3


class Terms:
    """A place in a row of tokens, and what is read from there; ``MAX_NESTING`` sums deep at most.

    ``units``: one may stand at the end.
    """

    def __init__(self, text: str, tokens: Sequence[Token], *, units: bool, ordered: bool) -> None:
        self.text, self.tokens, self.units, self.ordered = text, tokens, units, ordered
        self.at = self.depth = 0
        self.real = Arithmetic()
        self.is_value = True  # of the side that is being read
        self.form = Form.OTHER  # of the expression read last
        self.percent = False
        self.unit = "$" if text[:1] == "$" and text.count("$") == 1 else ""
        self.sign = "+"  # what \pm means
        self.has_sign = False  # a \pm was met

    def peek(self, ahead: int = 0) -> str:
        return self.tokens[self.at + ahead].text if self.at + ahead < len(self.tokens) else ""

    def take(self, *expected: str) -> str:
        token = self.peek()
        if not token or (expected and token not in expected):
            raise Unreadable(f"unexpected {token!r}")
        self.at += 1
        return token

    def skip(self, token: str) -> bool:
        found = self.peek() == token
        self.at += found
        return found

    def text_at(self, i: int) -> str:
        return self.tokens[i].text if i < len(self.tokens) else ""

    def is_letter(self, i: int) -> bool:
        token = self.text_at(i)
        return len(token) == 1 and (token in GREEK or letters_end(token, 0) == 1)

    def sum(self) -> Real:
        self.depth += 1
        if self.depth > MAX_NESTING:
            raise Unreadable("too deep", Reason.TOO_DEEP)
        total = self.signed_product()
        while self.peek() in ("+", "-", "\\pm"):
            term = self.signed_product()
            alike = dict(total).keys() & dict(term).keys() or not total or not term
            self.is_value = self.is_value and not alike
            total, self.form = self.real.add(total, term), Form.OTHER
        self.depth -= 1
        return total

    def signed_product(self) -> Real:
        negative = False
        if self.peek() in ("+", "-", "\\pm"):
            token = self.take()
            self.has_sign = self.has_sign or token == "\\pm"
            negative = (self.sign if token == "\\pm" else token) == "-"
        at, product = self.at, self.power()
        while True:
            form, token = self.form, self.peek()
            if token == "/":
                self.at += 1
                at = self.at
                product = self.quotient(product, form, self.power())
                continue
            if token == "\\times":
                self.at += 1
            elif self.is_letter(self.at):
                if self.is_unit_here():
                    break
                if self.is_letter(at):
                    raise NotNative("letters without a sign between")
            elif token not in STARTS:
                break
            at = self.at
            product = self.real.multiply(product, self.power())
            if (form, self.form) != (Form.NUMBER, Form.TEN_POWER):
                self.worked_out(product)
            self.form = Form.OTHER
        return self.real.negate(product) if negative else product

    def is_unit_here(self) -> bool:
        """Whether a letter behind a space is a unit, with what follows it."""
        start = self.tokens[self.at].start
        return self.units and self.text[start - 1 : start] == " " and unit_name(self.text[start:]) is not None

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
        if self.is_temperature():
            return value
        if self.peek() == "^":
            self.at += 1
            if self.peek() == "{" and self.peek(1) == "\\circ" and self.peek(2) == "}":
                self.at += 3
            elif self.peek() == "\\circ":
                self.at += 1
            else:
                ten = self.at == at + 2 and self.text_at(at) == "10"
                exponent = self.exponent()
                whole = self.form == Form.NUMBER and as_fraction(exponent, whole=True) is not None
                value = self.real.power(value, exponent)
                if ten and whole:
                    self.form = Form.TEN_POWER
                else:
                    self.worked_out(value)
        if self.peek() == "\\circ":
            self.at += 1
        elif self.skip("%"):
            self.percent = True
            value = self.real.divide(value, rational(Fraction(100)))
        return value

    def is_temperature(self) -> bool:
        """Whether degrees Celsius or Fahrenheit stand here, to be taken as a unit."""
        if not self.units or "\\circ" not in (self.peek(), self.peek(1), self.peek(2)):
            return False
        return unit_name(self.text[self.tokens[self.at].start :]) in ("\u00b0c", "\u00b0f")

    def exponent(self) -> Real:
        if self.peek() in ("(", "{"):
            return self.group()
        negative = self.skip("-")
        value = self.decimal()
        return self.real.negate(value) if negative else value

    def group(self) -> Real:
        opening = self.take("(", "{")
        value = self.sum()
        self.take(")" if opening == "(" else "}")
        return value

    def atom(self) -> Real:
        token = self.peek()
        if is_decimal(token):
            return self.numeral()
        if token == "\\frac":
            return self.fraction()[0]
        if token == "\\sqrt":
            return self.root()
        return self.symbol() if token == "\\pi" or self.is_letter(self.at) else self.group()

    def symbol(self) -> Real:
        token = self.take()
        self.form = Form.OTHER
        return PI if token == "\\pi" else variable(token)

    def numeral(self) -> Real:
        """A decimal, a repeating one, or a mixed number."""
        token, value = self.peek(), self.decimal()
        if self.peek() == "\\overline" and "." in token:
            return self.repeating(token, value)
        if not is_whole(token):
            return value
        braced = self.peek() == "{" and self.peek(1) == "\\frac"
        if braced or self.peek() == "\\frac":
            self.at += braced
            fraction, mixed = self.fraction()
            if braced:
                self.take("}")
            return (
                self.mixed(value, fraction) if mixed else self.worked_out(self.real.multiply(value, fraction))
            )
        if is_whole(self.peek()) and self.peek(1) == "/" and is_whole(self.peek(2)):  # 2 1/3, in one line
            if "\n" in self.text[self.tokens[self.at - 1].start : self.tokens[self.at].start]:
                raise Unreadable("a fraction in the next line")
            top = self.decimal()
            self.at += 1
            return self.mixed(value, self.quotient(top, Form.NUMBER, self.decimal()))
        return value

    def mixed(self, whole: Real, part: Real) -> Real:
        fraction = as_fraction(part)
        if fraction is None or abs(fraction) >= 1:
            raise Unreadable("a mixed number with an improper fraction")
        return self.real.add(whole, part)

    def repeating(self, token: str, value: Real) -> Real:
        self.at += 1
        braced = self.skip("{")
        digits = self.take()
        if braced:
            self.take("}")
        places = len(token.partition(".")[2])
        if not is_whole(digits) or len(digits) + places > MAX_REPEATING:
            raise Unreadable(f"unexpected {digits!r}")
        part = Fraction(int(digits), (10 ** len(digits) - 1) * 10**places)
        return self.real.add(value, rational(part))

    def fraction(self) -> tuple[Real, bool]:
        """``\\frac{a}{b}``, or ``\\frac12``, where each digit is an argument; and whether both are digits."""
        self.take("\\frac")
        token = self.peek()
        if not is_decimal(token):
            top_whole = self.is_whole_group()
            top = self.argument()
        elif is_whole(token) and len(token) == 2:
            self.at += 1
            self.form = Form.NUMBER
            return self.quotient(_decimal(token[0]), Form.NUMBER, _decimal(token[1])), True
        elif is_whole(token) and len(token) == 1:
            top_whole, top = True, self.decimal()
        else:
            raise Unreadable(f"unexpected {token!r}")
        form, bottom_whole = self.form, self.is_whole_group() or is_whole(self.peek())
        return self.quotient(top, form, self.argument()), top_whole and bottom_whole

    def is_whole_group(self) -> bool:
        return self.peek() == "{" and is_whole(self.peek(1)) and self.peek(2) == "}"

    def root(self) -> Real:
        self.take("\\sqrt")
        degree = 2
        if self.skip("["):
            token = self.take()
            if not is_whole(token) or len(token) > 2:
                raise Unreadable(f"unexpected {token!r}")
            degree = int(token)
            self.take("]")
        token = self.peek()
        if is_whole(token) and len(token) > 1:  # \sqrt23 is 3 times \sqrt2
            self.at += 1
            root = self.worked_out(self.real.root(_decimal(token[0]), degree))
            return self.worked_out(self.real.multiply(root, _decimal(token[1:])))
        return self.worked_out(self.real.root(self.argument(), degree))

    def argument(self) -> Real:
        if is_decimal(self.peek()):
            return self.decimal()
        return self.symbol() if self.peek() == "\\pi" or self.is_letter(self.at) else self.group()

    def decimal(self) -> Real:
        value, self.form = _decimal(self.take()), Form.NUMBER
        return value


def _decimal(token: str) -> Real:
    digits, end = unsigned_decimal(token)
    if not digits or end < len(token):
        raise Unreadable(f"unexpected {token!r}")
    exponent = digits.partition("e")[2]
    if len(digits) > MAX_DIGITS or len(exponent) > 4 or abs(int(exponent or "0")) > MAX_DIGITS:
        raise NotNative("number too long")
    return rational(Fraction(digits))
