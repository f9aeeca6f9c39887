"""Reference reader of boxes: one pass over the answer with a stack of open brackets; no JSON library, no
backtracking.

A box is four numbers alone in ``[..]`` or ``(..)``, or two points ``(x1, y1), (x2, y2)``. Brackets nest
(JSON lists and objects, ``<box>[[..]]</box>``, Qwen's ``<|box_start|>(..),(..)<|box_end|>``), text around
them is skipped, and strings in double quotes are skipped inside brackets. The first fault ends the reading:
TOO_DEEP, TOO_MANY_ITEMS or BAD_BOX.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_number import NON_FINITE, unsigned_decimal
from mixed_r1_kernels.verify.settings import VerifySettings

__all__ = ["MAX_COORDINATE", "parse_boxes"]

Box = tuple[float, float, float, float]
MAX_COORDINATE = 1e9  # beyond any image; keeps areas far from overflow
SPACE = " \t\n\r\f\v"
CLOSER = {"[": "]", "(": ")", "{": "}"}
ENDS_TOKEN = SPACE + ',:[](){}"'


@dataclass
class Group:
    """An open bracket: the numbers directly in it, whether anything else is, and how many boxes an object
    gave.
    """

    opener: str
    first_point: tuple[float, ...] | None = None  # the (x1, y1) before this, the group of (x2, y2)
    numbers: list[float] = field(default_factory=list)
    other: bool = False
    boxes: int = 0


def parse_boxes(answer: str, settings: VerifySettings) -> tuple[Reason, tuple[Box, ...]]:
    """The boxes of ``answer`` in order with OK, or a reason and no boxes."""
    reader = _Reader(answer, settings)
    reason = reader.read()
    return reason, tuple(reader.boxes) if reason == Reason.OK else ()


class _Reader:
    def __init__(self, text: str, settings: VerifySettings) -> None:
        self.text, self.settings = text, settings
        self.boxes: list[Box] = []
        self.stack: list[Group] = []
        self.point: tuple[float, ...] | None = (
            None  # an (x1, y1): only white space and a comma may come before "("
        )
        self.may_quote = True  # False once a double quote was found to have no partner

    def read(self) -> Reason:
        text, i = self.text, 0
        while i < len(text):
            c = text[i]
            if c in SPACE or c == ",":
                i += 1
                continue
            if self.point is not None and c != "(":
                return Reason.BAD_BOX
            reason = None
            if c in CLOSER:
                reason = self._open(c)
                i += 1
            elif c in "])}":
                reason = self._close(c)
                i += 1
            else:
                i = self._other(i)
            if reason is not None:
                return reason
        unfinished = any(g.first_point or (g.opener == "[" and g.numbers) for g in self.stack)
        if self.point is not None or unfinished:
            return Reason.BAD_BOX
        return Reason.OK if self.boxes else Reason.NO_BOX

    def _open(self, c: str) -> Reason | None:
        if len(self.stack) == self.settings.max_depth:
            return Reason.TOO_DEEP
        if self.stack:
            self.stack[-1].other = True
        self.stack.append(Group(c, self.point))
        self.point = None
        return None

    def _close(self, c: str) -> Reason | None:
        """A closer that does not fit the innermost bracket is skipped, and counts as something else in it."""
        if not self.stack:
            return None
        if CLOSER[self.stack[-1].opener] != c:
            self.stack[-1].other = True
            return None
        group = self.stack.pop()
        count, numbers = len(group.numbers), tuple(group.numbers)
        if group.first_point is not None:
            fits = count == 2 and not group.other
            return self._add((*group.first_point, *numbers)) if fits else Reason.BAD_BOX
        if group.opener == "{" or count == 0:
            return None
        if group.opener == "(" and (group.other or count == 1):
            return None  # prose
        if group.opener == "(" and count == 2:
            self.point = numbers
            return None
        return self._add(numbers) if count == 4 and not group.other else Reason.BAD_BOX

    def _add(self, box: tuple[float, ...]) -> Reason | None:
        x1, y1, x2, y2 = box
        if not (all(abs(v) <= MAX_COORDINATE for v in box) and x1 < x2 and y1 < y2):
            return Reason.BAD_BOX
        if self.stack and self.stack[-1].opener == "{":
            self.stack[-1].boxes += 1
            if self.stack[-1].boxes > 1:  # a key given twice, or two boxes for one object
                return Reason.BAD_BOX
        if len(self.boxes) == self.settings.max_boxes:
            return Reason.TOO_MANY_ITEMS
        self.boxes.append((x1, y1, x2, y2))
        return None

    def _other(self, i: int) -> int:
        """Take a string, a colon or a token at ``i``; returns where it ends."""
        text = self.text
        end = i + 1
        number = None
        if text[i] == '"':
            if self.stack and self.may_quote:
                closing = _closing_quote(text, end)
                self.may_quote = closing >= 0
                end = max(end, closing + 1)
        elif text[i] != ":":
            while end < len(text) and text[end] not in ENDS_TOKEN:
                end += 1
            number = _number(text[i:end]) if self.stack else None
        if self.stack:
            group = self.stack[-1]
            if number is None:
                group.other = True
            elif len(group.numbers) < 5:  # five are as wrong as any larger number
                group.numbers.append(number)
        return end


def _closing_quote(text: str, i: int) -> int:
    """Where the string that opened before ``i`` closes, or -1."""
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == '"':
            return i
        i += 1
    return -1


def _number(token: str) -> float | None:
    """``[sign] digits [. digits] [exponent]`` as a double; NaN for nan, inf and infinity; None for any
    other token.
    """
    body = token[1:] if token[0] in "+-" else token
    if body.lower() in NON_FINITE:
        return float("nan")
    digits, end = unsigned_decimal(body, separators=False)
    if not digits or end < len(body):
        return None
    value = float(digits)
    return -value if token[0] == "-" else value
