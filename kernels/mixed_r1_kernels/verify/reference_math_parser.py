"""The parser of math answers; the grammar is in reference_math."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_algebra import NotNative, Real
from mixed_r1_kernels.verify.reference_math_terms import Form, Terms
from mixed_r1_kernels.verify.reference_math_tokens import CLOSERS, Unreadable
from mixed_r1_kernels.verify.reference_number import phrase
from mixed_r1_kernels.verify.reference_units import unit_name

__all__ = ["Parser", "Value"]

Item: TypeAlias = "Real | str"  # "+inf" and "-inf"
Part: TypeAlias = "tuple[str, tuple[Item, ...] | frozenset[Item]]"
Parts: TypeAlias = frozenset[Part]

MAX_NAME_WORDS, MAX_ARGUMENT, MAX_NAME = 4, 6, 24
RELATIONS = {"<": ("", "<"), "<=": ("=", "<"), ">": ("", ">"), ">=": ("=", ">")}  # closed end, direction
SEPARATORS = frozenset((",", "or", "and"))
NAMED = frozenset(("=", "\\in", "\\approx"))
NAME_PARTS = frozenset(
    ("(", ")", "{", "}", "|", "/", ":", "\\frac", "\\overline", "\\vec", "\\overrightarrow", "\\bar", "\\hat",
     "\\widehat", "\\sin", "\\cos", "\\tan", "\\cot", "\\sec", "\\csc", "\\lvert", "\\rvert")
)  # fmt: skip


class Value(NamedTuple):
    """The parts of an answer, whether nothing in it is left to be worked out, its unit, and whether it is one
    number with a percent sign.
    """

    parts: Parts
    is_value: bool
    unit: str
    percent: bool

    def number(self) -> Real | None:
        """The one number that this is, or None."""
        kind, items = next(iter(self.parts))
        item = next(iter(items)) if len(self.parts) == 1 and kind == "" else "+inf"
        return None if isinstance(item, str) else item


class Parser(Terms):
    """Recursive descent over tokens, ``MAX_NESTING`` sums deep at most. ``units``: one may stand at the
    end."""

    def answer(self) -> Value:
        self.names: list[str] = []  # of each statement; "" where it is no one letter
        self.any_or = False
        statements = [self.statement()]
        any_and = False
        while self.peek() in SEPARATORS:
            separator = self.take()
            if separator == "," and self.peek() in ("and", "or"):  # "1, 2, and 3"
                separator = self.take()
            any_and = separator == "and" or any_and
            self.any_or = self.any_or or separator == "or"
            statements.append(self.statement())
        if self.peek():
            raise Unreadable(f"unexpected {self.peek()!r}")
        self.numbers = [parts[0][1] for parts, _ in statements if len(parts) == 1 and parts[0][0] == ""]
        percent = self.percent and self.form == Form.NUMBER and len(statements) == 1
        is_value = all(value for _, value in statements)
        return Value(self.listed([parts for parts, _ in statements], any_and), is_value, self.unit, percent)

    def listed(self, statements: list[list[Part]], any_and: bool) -> Parts:
        """Several numbers as a set (or a sequence), several intervals or tuples as their union."""
        parts = [part for statement in statements for part in statement]
        if len(parts) == 1 and parts[0][0] == "{}" and len(parts[0][1]) == 1:
            parts = [("", tuple(parts[0][1]))]  # a set of one is what it holds
        if len(parts) == 1 or all(kind for kind, _ in parts):
            if any_and and any("inf" in str(item) for _, items in parts for item in items):
                raise NotNative("both of two inequalities")
            return frozenset(parts)
        if any(kind for kind, _ in parts):
            raise Unreadable("numbers among intervals")
        items = [item for _, values in parts for item in values]
        return frozenset([("[,]", tuple(items)) if self.ordered else ("{}", frozenset(items))])

    def named(self, value: Value) -> Value | None:
        """``x = 2, y = -3`` as a tuple, in the order of the letters; None for anything else."""
        ((kind, items),) = value.parts if len(value.parts) == 1 else (("", ()),)
        names = self.names
        if kind not in ("{}", "[,]") or self.any_or or "" in names or len(set(names)) < max(2, len(names)):
            return None
        if len(self.numbers) != len(names):
            return None
        pairs = sorted(zip(names, self.numbers, strict=True), key=lambda pair: pair[0])
        return value._replace(parts=frozenset([("()", tuple(item for _, items in pairs for item in items))]))

    def statement(self) -> tuple[list[Part], bool]:
        """The parts, and whether they are a value."""
        start = self.at
        while (end := self.name_end()) > self.at:
            self.at = end
        one_letter = self.at == start + 2 and self.is_letter(start) and self.text_at(start + 1) == "="
        self.names.append(self.text_at(start) if one_letter else "")
        self.skip("\\approx")
        self.skip_point()
        self.is_value = True
        first, any_value = self.side(), self.is_value
        while self.peek() in ("=", "\\approx"):
            exact = self.take() == "="
            self.is_value = True
            other = self.side()
            if (exact or not any_value) and frozenset(other) != frozenset(first):
                raise Unreadable("the sides of an equation differ", Reason.AMBIGUOUS)
            any_value = any_value or self.is_value
        return first, any_value

    def skip_point(self) -> None:
        """The name of a point before its coordinates: "P(2, -3)"."""
        token = self.peek()
        if len(token) == 1 and "A" <= token <= "Z" and self.peek(1) == "(":
            self.at += 1
            if not self.holds_comma():
                self.at -= 1

    def name_end(self) -> int:
        """Behind ``x =``, ``x_1 =``, ``f(x) =``, ``(p, q) =``, ``area =``, ``x \\in``; else where we are."""
        i = self.at
        if self.text_at(i) == "(":
            i += 1
            while self.is_letter(i) and self.text_at(i + 1) == ",":
                i += 2
            i = i + 2 if self.is_letter(i) and self.text_at(i + 1) == ")" else self.at
        elif self.is_letter(i):
            i += 1
        else:
            while self.is_word(i) and i < self.at + MAX_NAME_WORDS:
                i += 1
        if i > self.at:
            if self.text_at(i) == "_":
                i = self.subscript_end(i)
            if self.text_at(i) == "(":
                i = self.group_end(i)
            if self.text_at(i) in NAMED:
                return i + 1
        return self.long_name_end()

    def long_name_end(self) -> int:
        """Behind a left side without numbers: ``\\tan A =``, ``|AB| =``, ``\\frac{AB}{CD} =``."""
        i, named = self.at, False
        while i < self.at + MAX_NAME:
            token = self.text_at(i)
            if token in NAMED:
                return i + 1 if named else self.at
            if token == "_":
                i = self.subscript_end(i)
                continue
            absolute = token == "|" and self.text_at(i + 2) == "|" and self.is_letter(i + 1)
            if absolute and not self.text_at(i + 1).isupper():
                return self.at  # |x| = 2 says two values of x
            if token not in NAME_PARTS:
                if not (self.is_letter(i) or self.is_word(i)):
                    return self.at
                named = True
            i += 1
        return self.at

    def subscript_end(self, i: int) -> int:
        return self.group_end(i + 1) if self.text_at(i + 1) == "{" else i + 2

    def group_end(self, i: int) -> int:
        """Behind the bracket that opens at ``i``, where few tokens are in it and no other; else the end."""
        for k in range(i + 1, i + 1 + MAX_ARGUMENT):
            if self.text_at(k) in (")", "}"):
                return k + 1
        return len(self.tokens)

    def is_word(self, i: int) -> bool:
        token = self.text_at(i)
        return len(token) > 1 and token.isascii() and token.isalpha() and token not in SEPARATORS

    def side(self) -> list[Part]:
        parts = self.part()
        if self.peek() in RELATIONS:
            return [self.inequality(parts)]
        if self.peek() == ":" and parts[0][0] == "" and len(parts) == 1:
            items = list(parts[0][1])
            while self.skip(":"):
                items.append(self.sum())
            return [(":", tuple(items))]
        while self.skip("\\cup"):
            parts += self.part()
        self.take_unit()
        return parts

    def take_unit(self) -> None:
        """The rest of the text, where it is a unit."""
        if not self.units or not self.peek() or self.unit:
            return
        rest = self.text[self.tokens[self.at].start :].strip(" ")
        unit = unit_name(rest) or phrase(rest)
        if unit:
            self.unit, self.at = unit, len(self.tokens)

    def part(self) -> list[Part]:
        """One part; two of a sum with \\pm."""
        opening = self.peek()
        if opening not in CLOSERS or not (opening in ("[", "\\{") or self.holds_comma()):
            start, self.sign, self.has_sign = self.at, "+", False
            first = self.item()
            if not self.has_sign:
                return [("", (first,))]
            self.at, self.sign = start, "-"
            second = self.item()
            self.sign = "+"
            return [("", (first,)), ("", (second,))]
        self.at += 1
        items = [self.item()]
        while self.skip(","):
            items.append(self.item())
        closing = self.take(*CLOSERS[opening])
        if closing in ("}", "\\}"):
            return [("{}", frozenset(items))]
        return [(opening + closing, tuple(items))]

    def holds_comma(self) -> bool:
        """Whether the bracket here has a comma directly inside."""
        depth = 0
        for token, _ in self.tokens[self.at :]:
            depth += (token in CLOSERS) - (token in (")", "]", "}", "\\}"))
            if depth == 0 or (depth == 1 and token == ","):
                return depth == 1
        return False

    def inequality(self, first: list[Part]) -> Part:
        """``x < b``, ``a < x``, ``a < x < b`` and their like as an interval of the one letter."""
        if len(first) > 1 or first[0][0]:
            raise Unreadable("an inequality of no number")
        sides, relations = [next(iter(first[0][1]))], []
        while self.peek() in RELATIONS:
            relations.append(RELATIONS[self.take()])
            sides.append(self.item())
        if len({direction for _, direction in relations}) > 1 or len(relations) > 2:
            raise Unreadable("inequalities of several directions")
        if relations[0][1] == ">":
            sides.reverse()
            relations.reverse()
        letters = [i for i, side in enumerate(sides) if _is_letter_alone(side)]
        if len(letters) != 1 or len(sides) != (3 if letters == [1] and len(sides) == 3 else 2):
            raise Unreadable("an inequality of no letter")
        (place,) = letters
        low: Item = sides[place - 1] if place > 0 else "-inf"
        high: Item = sides[place + 1] if place + 1 < len(sides) else "+inf"
        opening = "[" if place > 0 and relations[place - 1][0] else "("
        closing = "]" if place + 1 < len(sides) and relations[place][0] else ")"
        return opening + closing, (low, high)

    def item(self) -> Item:
        sign = self.peek() if self.peek() in ("+", "-") else ""
        if self.peek(len(sign)) == "\\infty":
            self.at += len(sign) + 1
            return "-inf" if sign == "-" else "+inf"
        return self.sum()


def _is_letter_alone(item: Item) -> bool:
    if isinstance(item, str) or len(item) != 1:
        return False
    ((pi_power, roots, letters), value) = item[0]
    return pi_power == 0 and not roots and value == 1 and len(letters) == 1 and letters[0][1] == 1
