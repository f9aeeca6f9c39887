"""A plain reader: how much of a reward somebody would grant who reads the answer and nothing into it.

It shares no code with the verifiers, and is stricter than they are: it knows few forms, and where it is not
sure it grants nothing. What it refuses of a paid answer is for a person to look at.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

__all__ = ["granted"]

LEAD = re.compile(
    r"^(?:so |therefore,? )?(?:(?:the )?(?:final |correct )?(?:answer|option)(?: is|:)?:?|it is|i choose) *",
    re.IGNORECASE,
)
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")
YES, NO = {"yes", "true", "correct", "yep", "yeah"}, {"no", "false", "incorrect", "nope"}
DOUBT = set("or maybe either neither if unless except whether unclear cannot perhaps".split())
STOP_WORDS = set("a an and are at by for from in is it its of on or that the there this to with".split())
TOLERANCE = Fraction(1, 20)  # of charts, as published


def granted(row: Mapping[str, Any], answer: str, paid: float) -> float:
    """The part of ``paid`` that the reader grants: 0 to ``paid``."""
    read = {
        "yes_no": _yes_no,
        "multiple_choice": _choice,
        "chart": _chart,
        "math": _math,
        "grounding": _grounding,
        "open_ended": _open_ended,
        "short_answer": _short_answer,
    }[row["task"]]
    return min(paid, read(_bare(answer), row["answer"], row))


def _bare(answer: str) -> str:
    """Without what a page does not show: a box, bold type, dollar signs, a token that ends the turn."""
    text = re.sub(r"<\|[a-z_]+\|>", "", answer).strip()
    text = re.sub(r"\\(?:boxed|fbox|text)\{([^{}]*)\}", r"\1", text)
    return text.replace("**", "").replace("$", "").replace("`", "").strip().strip('"').strip()


def _words(text: str) -> list[str]:
    return re.findall(r"[a-z0-9']+", text.lower())


def _yes_no(text: str, gold: str, row: Mapping[str, Any]) -> float:
    """A verdict at the start, ended by a mark; what follows holds no other verdict, doubt or number."""
    found = re.fullmatch(r"([A-Za-z]+)(?:[.,!;:]\s*(.*))?", LEAD.sub("", text), re.DOTALL)
    if not found or found[1].lower() not in (YES if gold == "yes" else NO):
        return 0.0
    rest = set(_words(found[2] or ""))
    doubt = (
        rest & (YES | NO | DOUBT) or (gold == "yes" and "not" in rest) or any(word.isdigit() for word in rest)
    )
    return float(not doubt)


def _choice(text: str, gold: str, row: Mapping[str, Any]) -> float:
    """One letter, with its own text or without, or the text."""
    options = {chr(ord("A") + i): option for i, option in enumerate(row["options"])}
    bare = LEAD.sub("", text).strip()
    head = re.match(r"\(?([A-Za-z])\)?(?:[.:)\s]+|$)", bare)
    wanted = options.get(gold, "").lower()
    if head and head[1].upper() == gold:
        return float(bare[head.end() :].strip(" .").lower() in ("", wanted))
    return float(bare.strip(" .").lower() == wanted or bare == gold)


def _value(text: str) -> Fraction | None:
    """The one number that a text is, "57", "$1,200", "25%", "3/4", or that stands behind "28 + 29 ="."""
    bare = LEAD.sub("", text).strip().removesuffix(".").strip()
    sides = [side.strip() for side in bare.split("=")]
    worked = _arithmetic(sides[-2]) if len(sides) > 1 else None
    plain = re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", sides[-1]).replace("%", "").strip()
    plain = re.sub(r"^\\[dt]?frac\{(-?\d+)\}\{(\d+)\}$", r"\1/\2", plain)
    match = re.fullmatch(rf"({NUMBER.pattern})(?:/(\d+))?", plain)
    if not match or match[2] == "0":
        return None
    value = Fraction(match[1]) / Fraction(match[2] or 1)
    undone = match[2] is not None and value.denominator == 1  # 84/2
    return None if undone or worked not in (None, value) else value


def _chart(text: str, gold: Any, row: Mapping[str, Any]) -> float:
    if not isinstance(gold, str):
        items = [part.strip() for part in text.strip("[]").split(",")]
        return float(
            len(items) == len(gold) and all(_chart(a, b, row) for a, b in zip(items, gold, strict=True))
        )
    value, wanted = _value(text), _value(gold)
    if value is None or wanted is None:
        bare = LEAD.sub("", text).strip().strip(" .").lower()
        return float(wanted is None and bare == gold.lower())
    if re.fullmatch(r"[12]\d{3}", gold):  # it may be a year
        return float(text.strip().rstrip(".").endswith(gold) and value == wanted)
    return float(abs(value - wanted) <= TOLERANCE * abs(wanted))


def _math(text: str, gold: str, row: Mapping[str, Any]) -> float:
    """The same number; or, character by character without blanks, the same text."""
    value, wanted = _value(text), _value(gold)
    same = re.sub(r"\s", "", LEAD.sub("", text)).strip(".") == re.sub(r"\s", "", gold)
    return float(same or (value is not None and value == wanted))


def _arithmetic(text: str) -> Fraction | None:
    """The value of ``a + b``, ``a - b``, ``a * b`` of two whole numbers."""
    match = re.fullmatch(r"(-?\d+)\s*([-+*])\s*(\d+)", text)
    if not match:
        return None
    a, b = Fraction(match[1]), Fraction(match[3])
    return {"+": a + b, "-": a - b, "*": a * b}[match[2]]


def _grounding(text: str, gold: Sequence[Any], row: Mapping[str, Any]) -> float:
    """IoU of the one box, where the text holds its four numbers and no other; names as x1 hold none."""
    boxes = [gold] if isinstance(gold[0], (int, float)) else gold
    numbers = [float(n) for n in NUMBER.findall(re.sub(r"[A-Za-z_]+\d?[a-z]*", " ", text))]
    cut = any(text.count(opening) != text.count(closing) for opening, closing in ("[]", "()", "{}"))
    if len(numbers) != 4 or len(boxes) != 1 or cut:
        return 0.0
    x1, y1, x2, y2 = numbers
    a1, b1, a2, b2 = boxes[0]
    overlap = max(0.0, min(x2, a2) - max(x1, a1)) * max(0.0, min(y2, b2) - max(y1, b1))
    union = (x2 - x1) * (y2 - y1) + (a2 - a1) * (b2 - b1) - overlap
    return overlap / union if x1 < x2 and y1 < y2 else 0.0


def _short_answer(text: str, gold: Any, row: Mapping[str, Any]) -> float:
    """An accepted answer to the letter, but for case, an article before it and a stop behind it."""
    golds = gold if isinstance(gold, (list, tuple)) else [gold]
    said = re.sub(r"^(?:an?|the) ", "", LEAD.sub("", text).lower()).rstrip(" .!")
    return float(said in [str(accepted).lower() for accepted in golds])


def _open_ended(text: str, gold: str, row: Mapping[str, Any]) -> float:
    """F1 of the words that say something, each counted once."""
    ours, theirs = (set(_words(side)) - STOP_WORDS for side in (text, gold))
    shared = len(ours & theirs)
    return 2 * shared / (len(ours) + len(theirs)) if shared else 0.0
