"""Completions and golds for differential tests: near-valid text by grammar, mutated, and plain noise."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from mixed_r1_kernels.verify import VerifySettings
from tests.rewards.completion_pieces import BRACKETS, MATH, NUMBERS, SHAPES, TAGS, WORDS


def glued(*pools: list[str], most: int = 12) -> st.SearchStrategy[str]:
    """Pieces of the pools in a row."""
    return st.lists(st.sampled_from([piece for pool in pools for piece in pool]), max_size=most).map("".join)


def spaced(*pools: list[str], most: int = 8) -> st.SearchStrategy[str]:
    return st.lists(st.sampled_from([piece for pool in pools for piece in pool]), max_size=most).map(" ".join)


ANSWERS = st.one_of(
    glued(NUMBERS, BRACKETS),
    spaced(WORDS),
    glued(WORDS, BRACKETS, NUMBERS),
    glued(TAGS, BRACKETS, NUMBERS),
    glued(MATH, NUMBERS, BRACKETS),
    glued(MATH, BRACKETS[:6], ["1", "2", "3"]),
    st.text(max_size=30),
    st.sampled_from(NUMBERS + WORDS),
    st.lists(st.tuples(*[st.integers(-5, 1100)] * 4), max_size=4).map(
        lambda boxes: str([list(b) for b in boxes])
    ),
)


def wrapped(answer: str, shape: int) -> str:
    return SHAPES[shape].format(answer)


COMPLETIONS = st.one_of(
    st.builds(wrapped, ANSWERS, st.integers(0, len(SHAPES) - 1)),
    st.builds(wrapped, ANSWERS, st.just(0)),
    glued(TAGS, WORDS, BRACKETS),
    st.text(st.characters(), max_size=40),
)

SETTINGS = st.builds(
    VerifySettings,
    format=st.sampled_from(["think_answer", "think_answer", "answer", "boxed", "think_boxed", "none"]),
    chart_score=st.sampled_from(["relaxed", "graded"]),
    chart_text=st.sampled_from(["exact", "anls"]),
    chart_tolerance=st.sampled_from([0.05, 0.0, 0.5]),
    max_bytes=st.sampled_from([1 << 20, 40]),
    max_answer_bytes=st.sampled_from([4096, 12]),
    max_items=st.sampled_from([64, 2]),
    max_boxes=st.sampled_from([256, 1]),
    max_depth=st.sampled_from([64, 2]),
    think=st.sampled_from(["written", "prefilled"]),
    box=st.sampled_from(["only", "last"]),
    list_order=st.sampled_from(["auto", "ordered", "any"]),
    chart_years=st.sampled_from(["exact", "tolerant"]),
)


@st.composite
def golds(draw: Any) -> tuple[str, Any, tuple[str, ...], VerifySettings]:
    """(task, answer, options, settings), most of them valid."""
    task = draw(
        st.sampled_from(
            ["yes_no", "multiple_choice", "chart", "math", "grounding", "open_ended", "chart", "math"]
        )
    )
    options: tuple[str, ...] = ()
    answer: Any = None
    if task == "yes_no":
        answer = draw(st.sampled_from(["yes", "no", "no", "maybe"]))
    elif task == "multiple_choice":
        options = tuple(draw(st.lists(st.sampled_from([*WORDS, *NUMBERS, "a dog", "A cat."]), max_size=5)))
        answer = draw(st.sampled_from("ABCDEb"))
    elif task == "chart":
        item = st.one_of(st.sampled_from(NUMBERS + WORDS), ANSWERS)
        answer = draw(st.one_of(item, st.lists(item, max_size=4).map(tuple)))
    elif task == "math":
        answer = draw(st.one_of(st.sampled_from(NUMBERS + MATH), ANSWERS))
    return task, answer, options, draw(SETTINGS)
