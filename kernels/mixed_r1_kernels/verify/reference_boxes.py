"""Reference reader of boxes: one pass over the answer with a stack of open brackets; no JSON library, no
backtracking.

A box is four numbers alone in ``[..]``, ``(..)`` or ``<box>..</box>``, two points ``(x1, y1), (x2, y2)``
(also with "to" between, or "and bottom-right") or ``[[x1, y1], [x2, y2]]``, four named numbers (x1, y1, x2,
y2; xmin ..; left, top, right, bottom) in one bracket or none, a text of four numbers in double quotes, or
four bare numbers that are the whole answer. ``<bbox>`` and ``<point>`` are brackets too. Brackets nest (JSON
lists and objects, Qwen's ``<|box_start|>(..),(..)<|box_end|>``), other text is skipped, also in double quotes
inside brackets. One or two numbers in a bracket are a label, a score, a size or a point: no box, and no
fault. The first fault ends the reading: TOO_DEEP, TOO_MANY_ITEMS or BAD_BOX.

With ``places="point"`` the answer must name one place, a point or a box, whose centre is the point then; x
and y are names too. More than one place is AMBIGUOUS.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_number import NON_FINITE, unsigned_decimal
from mixed_r1_kernels.verify.reference_reading import narrow
from mixed_r1_kernels.verify.settings import VerifySettings

__all__ = ["MAX_COORDINATE", "parse_boxes"]

Box = tuple[float, float, float, float]
MAX_COORDINATE = 1e9  # beyond any image; keeps areas far from overflow
SPACE = " \t\n\r\f\v"
CLOSER = {"[": "]", "(": ")", "{": "}", "<": ">"}
ENDS_TOKEN = SPACE + ',:[](){}"<'
OPEN_TAGS, CLOSE_TAGS = ("<box>", "<bbox>", "<point>"), ("</box>", "</bbox>", "</point>")
NAMES = {
    name: i
    for names in ("x1 y1 x2 y2", "xmin ymin xmax ymax", "x_min y_min x_max y_max", "left top right bottom")
    for i, name in enumerate(names.split())
}
POINT_NAMES = NAMES | {"x": 4, "y": 5}
BETWEEN_POINTS = frozenset(("to", "-", "through", "->", "\u5230", "\u81f3"))
CORNERS = frozenset(("bottom-right", "bottom_right", "lower-right", "lower_right"))
BESIDE_CORNERS = frozenset(("corner", "at"))
MAX_QUOTED = 128  # characters of a text that is read for numbers


@dataclass
class Group:
    """An open bracket, or the whole answer: the numbers directly in it and what else is."""

    opener: str
    first_point: tuple[float, ...] | None = None  # the (x1, y1) before this, the group of (x2, y2)
    numbers: list[float] = field(default_factory=list)
    other: bool = False
    children: int = 0
    points: list[float] = field(default_factory=list)  # of children that are a point
    named: dict[int, float] = field(default_factory=dict)
    boxes: int = 0  # that an object gave


def parse_boxes(answer: str, settings: VerifySettings) -> tuple[Reason, tuple[Box, ...]]:
    """The boxes of ``answer`` in order with OK, or a reason and no boxes."""
    reader = _Reader(narrow(answer), settings)
    reason = reader.read()
    return reason, tuple(reader.boxes) if reason == Reason.OK else ()


class _Reader:
    def __init__(self, text: str, settings: VerifySettings) -> None:
        self.text, self.settings = text, settings
        self.boxes: list[Box] = []
        self.whole = Group("")
        self.stack: list[Group] = []
        self.point: tuple[float, ...] | None = None  # an (x1, y1) that may have its (x2, y2) next
        self.parted = False  # by an "and", which two points of two things have too
        self.free_points: list[tuple[float, ...]] = []  # that are the corner of no box
        self.has_points = False
        self.names = POINT_NAMES if settings.places == "point" else NAMES
        self.name: int | None = None  # of the number that comes next
        self.may_quote = True  # False once a double quote was found to have no partner

    @property
    def group(self) -> Group:
        return self.stack[-1] if self.stack else self.whole

    def read(self) -> Reason:
        text, i = self.text, 0
        while i < len(text):
            c = text[i]
            if c in SPACE or c == ",":
                i += 1
                continue
            reason = None
            tag = _tag(text, i) if c == "<" else ""
            if c in "[({" or tag in OPEN_TAGS:
                reason = self._open(c)
                i += len(tag) or 1
            elif c in "])}" or tag in CLOSE_TAGS:
                reason = self._close(">" if c == "<" else c)
                i += len(tag) or 1
            else:
                i, reason = self._other(i)
            if reason is not None:
                return reason
        if any(g.first_point or (g.opener in "[<" and g.numbers) for g in self.stack):
            return Reason.BAD_BOX
        bare = self.whole
        if len(bare.numbers) == 4 and not bare.other and not bare.children and not self.boxes:
            reason = self._add(tuple(bare.numbers))
            if reason is not None:
                return reason
        if self.settings.places == "point":
            return self._one_point()
        if self.boxes:
            return Reason.OK
        return Reason.BAD_BOX if self.has_points else Reason.NO_BOX

    def _one_point(self) -> Reason:
        """Leave the one place that is named in ``boxes``, as a point."""
        bare = self.whole
        if len(bare.numbers) == 2 and not bare.other and not bare.children:
            self.free_points.append(tuple(bare.numbers))
        places = len(self.boxes) + len(self.free_points)
        if places != 1:
            return Reason.AMBIGUOUS if places else Reason.NO_BOX
        if self.boxes:
            x1, y1, x2, y2 = self.boxes[0]
            x, y = (x1 + x2) / 2, (y1 + y2) / 2
        else:
            x, y = self.free_points[0]
        if not (abs(x) <= MAX_COORDINATE and abs(y) <= MAX_COORDINATE):
            return Reason.BAD_BOX
        self.boxes = [(x, y, x, y)]
        return Reason.OK

    def _open(self, c: str) -> Reason | None:
        if len(self.stack) == self.settings.max_depth:
            return Reason.TOO_DEEP
        self.group.children += 1
        self.stack.append(Group(c, self.point if c == "(" and not self.parted else None))
        self.point = self.name = None
        return None

    def _close(self, c: str) -> Reason | None:
        """A closer that does not fit the innermost bracket is skipped, and counts as something else in it."""
        self.point = self.name = None
        if not self.stack:
            return None
        if CLOSER[self.stack[-1].opener] != c:
            self.stack[-1].other = True
            return None
        group = self.stack.pop()
        count, numbers = len(group.numbers), tuple(group.numbers)
        alone = not group.other and not group.children
        if group.first_point is not None:
            if count != 2 or not alone:
                return Reason.BAD_BOX
            self.free_points.pop()
            return self._add((*group.first_point, *numbers))
        if (
            group.opener in "[<"
            and count == 0
            and len(group.points) == 4
            and group.children == 2
            and not group.other
        ):
            del self.free_points[-2:]
            return self._add(tuple(group.points))
        if group.opener == "{" or count == 0:
            return None
        if group.opener == "(" and (not alone or count == 1):
            return None  # prose
        if count <= 2:
            self._point(group, numbers, alone)
            return None
        return self._add(numbers) if count == 4 and alone else Reason.BAD_BOX

    def _point(self, group: Group, numbers: tuple[float, ...], alone: bool) -> None:
        """One or two numbers in a bracket: a point that may be the corner of a box."""
        if len(numbers) < 2 or not alone:
            return
        self.has_points = True
        self.free_points.append(numbers)
        if group.opener == "(":
            self.point, self.parted = numbers, False
        elif self.group.opener in ("[", "<") and len(self.group.points) <= 4:
            self.group.points += numbers

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

    def _other(self, i: int) -> tuple[int, Reason | None]:
        """Take a string, a colon or a token at ``i``; returns where it ends."""
        text = self.text
        end = i + 1
        if text[i] == ":":
            self.group.other = True
            return end, None
        if text[i] == '"':
            if not self.stack or not self.may_quote:
                self.group.other = True
                return end, None
            closing = _closing_quote(text, end)
            self.may_quote = closing >= 0
            if closing < 0:
                self.group.other = True
                return end, None
            return closing + 1, self._quoted(text[end:closing])
        while end < len(text) and text[end] not in ENDS_TOKEN:
            end += 1
        return end, self._token(text[i:end])

    def _quoted(self, body: str) -> Reason | None:
        """A text in double quotes: a name, a number, or a box of four."""
        if len(body) <= MAX_QUOTED:
            numbers = [_number(part) for part in body.replace(",", " ").split(" ") if part]
            if len(numbers) == 4 and None not in numbers:
                self.group.other = True
                return self._add(tuple(number for number in numbers if number is not None))
            if len(numbers) == 1 and numbers[0] is not None:
                return self._take(numbers[0])
        self.group.other = True
        self.name = self.names.get(body.lower())
        return None

    def _token(self, token: str) -> Reason | None:
        bare = token.strip("'") or token
        name, equals, value = bare.partition("=")
        if equals:
            self.point, self.group.other = None, True
            self.name = self.names.get(name.lower()) if name else self.name
            return self._take(number) if (number := _number(value)) is not None and value else None
        number = _number(bare)
        if number is not None:
            self.point = None
            return self._take(number)
        if bare == "and":
            self.parted = True
        elif bare.lower() in CORNERS:
            self.parted = False
        elif bare not in BETWEEN_POINTS and bare not in BESIDE_CORNERS:
            self.point = None
        self.group.other = True
        self.name = self.names.get(bare.lower())
        return None

    def _take(self, number: float) -> Reason | None:
        """A number of the group, or the one that a name was given for."""
        group, name = self.group, self.name
        self.name = None
        if name is None:
            if len(group.numbers) < 5:  # five are as wrong as any larger number
                group.numbers.append(number)
            return None
        if name in group.named:
            return Reason.BAD_BOX
        group.named[name] = number
        if 4 in group.named and 5 in group.named:
            self.free_points.append((group.named.pop(4), group.named.pop(5)))
        if not all(i in group.named for i in range(4)):
            return None
        box = tuple(group.named[i] for i in range(4))
        group.named.clear()
        return self._add(box)


def _tag(text: str, i: int) -> str:
    return next((tag for tag in (*OPEN_TAGS, *CLOSE_TAGS) if text.startswith(tag, i)), "")


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
    body = token[1:] if token[:1] in ("+", "-") else token
    if body.lower() in NON_FINITE:
        return float("nan")
    digits, end = unsigned_decimal(body, separators=False)
    if not digits or end < len(body):
        return None
    value = float(digits)
    return -value if token[0] == "-" else value
