"""Completions made to be slow to judge, in any length: floods of tags, brackets, digits, quotes, blanks."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

from mixed_r1_kernels.verify import CompiledGold, VerifySettings, compile_gold, verify

__all__ = ["FAMILIES", "LONG_ANSWERS", "SIZES", "Family", "seconds", "slope"]

SIZES = (1 << 10, 1 << 14, 1 << 17, 1 << 20)
ANSWER = "<think>x</think><answer>{}</answer>"


class Family(NamedTuple):
    """``make(n)`` is a completion of about n bytes, judged against ``gold``."""

    name: str
    gold: CompiledGold
    make: Callable[[int], str]


def seconds(family: Family, size: int) -> float:
    """Processor time of one native call, the best of some, each on a fresh string (Python keeps the UTF-8 of
    one it has encoded).
    """
    best = math.inf
    for _ in range(max(3, (1 << 17) // size)):
        text = family.make(size)
        start = time.process_time_ns()
        verify([text], [family.gold], impl="native")
        best = min(best, (time.process_time_ns() - start) / 1e9)
    return best


def slope(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Of log time over log size, from the first size that takes more than 10 us, most of them overhead of a
    call, to the last; 0 where none does.
    """
    first = next((i for i, seen in enumerate(times) if seen > 10e-6), len(times) - 1)
    if first == len(times) - 1:
        return 0.0
    return math.log(times[-1] / times[first]) / math.log(sizes[-1] / sizes[first])


def _answer(name: str, task: str, unit: str, before: str = "", after: str = "") -> Family:
    def make(size: int) -> str:
        room = max(1, size - len(ANSWER) - len(before) - len(after))
        return ANSWER.format(before + unit * (room // len(unit.encode())) + after)

    return Family(name, GOLDS[task], make)


def _whole(name: str, unit: str, task: str = "open_ended") -> Family:
    return Family(name, GOLDS[task], lambda size: unit * (size // len(unit.encode())))


def _unlike_items(size: int) -> str:
    """64 texts as long as they may be, in ``size`` bytes, to be compared by edit distance."""
    room = size - len(ANSWER)
    items = ";".join(["x" * min(256, room // 64 - 1)] * 64)
    return ANSWER.format(items + " " * (room - len(items)))


LONG = VerifySettings(max_answer_bytes=1 << 20)
ANLS = replace(LONG, chart_text="anls")
GOLDS = {
    "yes_no": compile_gold("yes_no", "no"),
    "multiple_choice": compile_gold("multiple_choice", "B", options=["a cat", "a dog", "c", "d"]),
    "chart": compile_gold("chart", "42"),
    "list": compile_gold("chart", ("1", "2")),
    "math": compile_gold("math", "\\frac{1}{2}"),
    "grounding": compile_gold("grounding", None),
    "open_ended": compile_gold("open_ended", None),
    "boxed": compile_gold("open_ended", None, settings=VerifySettings(format="boxed")),
    "anls": compile_gold("chart", "y" * (1 << 16), settings=ANLS),
    "anls list": compile_gold("chart", ("y" * 256,) * 64, settings=ANLS),
}

FAMILIES = (
    _whole("open tags", "<answer>"),
    _whole("close tags", "</answer>"),
    _whole("thoughts", "<think></think>"),
    _whole("whole answers", "<think></think><answer>yes</answer>", "yes_no"),
    _whole("less-than signs", "<"),
    _whole("almost tags", "<answer"),
    _whole("almost closing tags", "</answer <"),
    _whole("blanks", " \n"),
    _whole("boxed", "\\boxed{", "boxed"),
    Family("boxed braces", GOLDS["boxed"], lambda size: "\\boxed{" + "{" * (size - 7)),
    Family("boxed backslashes", GOLDS["boxed"], lambda size: "\\boxed{" + "\\" * (size - 8) + "}"),
    _answer("blank answer", "yes_no", " "),
    _answer("yes and no", "yes_no", "yes no "),
    _answer("combining marks", "yes_no", "\u0301\u0323"),
    _answer("letters", "multiple_choice", "B "),
    _answer("digits", "chart", "9"),
    _answer("separators", "list", "1,"),
    Family("unlike items by edit distance", GOLDS["anls list"], _unlike_items),
    _answer("fractions", "math", "\\frac{1}{2}"),
    _answer("open brackets", "grounding", "["),
    _answer("empty brackets", "grounding", "[]"),
    _answer("numbers in one bracket", "grounding", "1,", "["),
    _answer("digits in a box", "grounding", "1", "[0,0,1,"),
    _answer("boxes", "grounding", "[1,2,3,4],"),
    _answer("points", "grounding", "(1,2) "),
    _answer("quotes in brackets", "grounding", '"', "["),
    _answer("backslashes in quotes", "grounding", "\\", '["'),
    _answer("closing brackets", "grounding", ")", "[" * 60),
    _answer("words in brackets", "grounding", "true,", "["),
    _answer("text", "open_ended", "a word "),
    _answer("wide text", "open_ended", "\u6c34\u00e9"),
)

LONG_OPTIONS = ("a cat", "a dog", *(("x" * 500),) * 20)
LONG_GOLDS = {
    "yes_no": compile_gold("yes_no", "no", settings=LONG),
    "multiple_choice": compile_gold("multiple_choice", "B", options=LONG_OPTIONS, settings=LONG),
    "chart": compile_gold("chart", "42", settings=LONG),
    "list": compile_gold("chart", ("1", "2"), settings=LONG),
    "math": compile_gold("math", "\\frac{1}{2}", settings=LONG),
}


def _long(name: str, task: str, unit: str, before: str = "") -> Family:
    return _answer(name, task, unit, before)._replace(gold=LONG_GOLDS[task])


# The same with a limit on answers that lets the readers see all of them.
LONG_ANSWERS = (
    _long("words", "yes_no", "yes "),
    _long("hyphens", "yes_no", "a-"),
    _long("combining marks", "yes_no", "\u0323\u0301", "e"),
    _long("long decompositions", "yes_no", "\ufdfa"),
    _long("letters", "multiple_choice", "B "),
    _long("denied letters", "multiple_choice", "not B "),
    _long("pointers", "multiple_choice", "B is the "),
    _long("pointers to nothing", "multiple_choice", "the ", "B "),
    _long("delimiters", "multiple_choice", ": ", "B"),
    _long("digits", "chart", "9"),
    _long("exponents", "chart", "9", "1e"),
    _long("thousands", "chart", ",999", "9"),
    _long("separators", "list", "1,"),
    _answer("a text by edit distance", "anls", "x"),
    _long("braces in a box", "chart", "{", "\\boxed{"),
    _long("boxes", "math", "\\boxed{"),
    _long("fractions", "math", "\\frac{1}{2}"),
    _long("parentheses", "math", "("),
)
