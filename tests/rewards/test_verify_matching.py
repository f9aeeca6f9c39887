"""What counts as yes, no, and a choice."""

from __future__ import annotations

from typing import Any

import pytest

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import compile_gold

OPTIONS = ("a cat", "a dog", "a bird", "$\\frac{1}{2}$")


@pytest.mark.parametrize(
    "answer",
    [
        "yes",
        "Yes.",
        "YES!",
        "It is true",
        "That is correct, yes",
        "\uff39\uff25\uff33",  # full width
        "**yes**",
        "yes, yes, yes",
        "\u201cyes\u201d",
        "yes,it is",
        "y\u200bes",  # a zero-width space is no character of a word
    ],
)
def test_yes(judge: Any, answer: str) -> None:
    assert judge("yes_no", "yes", answer)[:2] == (1.0, Reason.OK)
    assert judge("yes_no", "no", answer)[:2] == (0.0, Reason.NO_MATCH)


@pytest.mark.parametrize("answer", ["no", "No, it is not.", "false", "That's incorrect", "No, it isn't"])
def test_no(judge: Any, answer: str) -> None:
    assert judge("yes_no", "no", answer)[:2] == (1.0, Reason.OK)
    assert judge("yes_no", "yes", answer)[:2] == (0.0, Reason.NO_MATCH)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("nobody knows", Reason.NO_MATCH),
        ("yesterday", Reason.NO_MATCH),
        ("no-one", Reason.NO_MATCH),
        ("know", Reason.NO_MATCH),
        ("...", Reason.NO_MATCH),
        ("\U0001f600", Reason.NO_MATCH),
        ("yes and no", Reason.AMBIGUOUS),
        ("yes/no", Reason.AMBIGUOUS),
        ("true, false", Reason.AMBIGUOUS),
        ("not correct", Reason.AMBIGUOUS),
        ("it isn't true", Reason.AMBIGUOUS),
        ("it isn\u2019t true", Reason.AMBIGUOUS),
        ("not false", Reason.AMBIGUOUS),
        ("yes no", Reason.AMBIGUOUS),
        ("yes_no", Reason.AMBIGUOUS),
        ("\u0443es", Reason.NO_MATCH),  # Cyrillic u
        ("n\u03bf", Reason.NO_MATCH),  # Greek omicron
        ("ye\u0301s", Reason.NO_MATCH),
        ("yesyes", Reason.NO_MATCH),
        ("1", Reason.NO_MATCH),
        ("y" * 5000, Reason.TOO_LONG),
        ("   ", Reason.EMPTY),
    ],
)
@pytest.mark.parametrize("gold", ["yes", "no"])
def test_neither(judge: Any, gold: str, answer: str, reason: Reason) -> None:
    assert judge("yes_no", gold, answer)[:2] == (0.0, reason)


@pytest.mark.parametrize(
    "answer",
    [
        "B",
        "(B)",
        "B.",
        "B)",
        "b",
        "[B]",
        "**B**",
        "$B$",
        "\uff22",
        "\u24b7",  # circled letter
        "option B",
        "Option B.",
        "answer: B",
        "The answer is B",
        "The correct answer is: (B)",
        "Answer: **B**",
        "B. a dog",
        "B) A dog.",
        "(B) a dog",
        "B: a dog",
        "B - a dog",
        "a dog",
        "A dog",  # the full text of option B, not the letter A
        "A  DOG.",
        "answer: a dog",
        "B because it barks",
        "I choose B",
        "it must be (b)",
        "option b, surely",
        "b, b",
        "B (a dog)",
        "a dog (B)",
        "A dog, so (B)",
        "B \u2014 a dog",
        "a dog. The answer is option B.",
        "It is not the cat. The answer is B",
        "B. It has a tail and four legs",
    ],
)
def test_choice(judge: Any, answer: str) -> None:
    assert judge("multiple_choice", "B", answer, OPTIONS)[:2] == (1.0, Reason.OK)
    assert judge("multiple_choice", "C", answer, OPTIONS)[:2] == (0.0, Reason.NO_MATCH)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("A or B or C", Reason.AMBIGUOUS),
        ("A, B, C, D", Reason.AMBIGUOUS),
        ("A B", Reason.AMBIGUOUS),
        ("(A) (B)", Reason.AMBIGUOUS),
        ("B. C", Reason.AMBIGUOUS),
        ("B. a cat", Reason.AMBIGUOUS),  # letter and text disagree
        ("A. a dog", Reason.AMBIGUOUS),
        ("option a or option b", Reason.AMBIGUOUS),
        ("A or b", Reason.AMBIGUOUS),
        ("b or A", Reason.AMBIGUOUS),
        ("a/b", Reason.AMBIGUOUS),
        ("a, b, c, d", Reason.AMBIGUOUS),
        ("answer: both a and b", Reason.AMBIGUOUS),
        ("B (a cat)", Reason.AMBIGUOUS),  # letter and text disagree
        ("a cat (B)", Reason.AMBIGUOUS),
        ("a cat. Answer: B", Reason.AMBIGUOUS),
        ("The answer is: a cat, option B", Reason.AMBIGUOUS),
        ("B = a cat", Reason.AMBIGUOUS),
        ("B \u2013 a bird", Reason.AMBIGUOUS),
        ("not B", Reason.AMBIGUOUS),
        ("The answer is not (B)", Reason.AMBIGUOUS),
        ("It isn't option B", Reason.AMBIGUOUS),
        ("It isn\u2019t B", Reason.AMBIGUOUS),
        ("neither A nor B", Reason.AMBIGUOUS),
        ("anything except B", Reason.AMBIGUOUS),
        ("\u0412", Reason.NO_MATCH),  # a Cyrillic letter that looks like B
        ("\u0392", Reason.NO_MATCH),  # a Greek one
        ("B\u0301", Reason.NO_MATCH),
        ("A horse", Reason.NO_MATCH),  # "A" is an article here
        ("A", Reason.NO_MATCH),
        ("E", Reason.NO_MATCH),  # no such option
        ("AB", Reason.NO_MATCH),
        ("a cat and a dog", Reason.NO_MATCH),
        ("i think it is b", Reason.NO_MATCH),
        ("I am not sure", Reason.NO_MATCH),
        ("", Reason.EMPTY),
    ],
)
def test_no_choice(judge: Any, answer: str, reason: Reason) -> None:
    assert judge("multiple_choice", "B", answer, OPTIONS)[:2] == (0.0, reason)


def test_letter_before_text_and_equal_texts(judge: Any) -> None:
    """A bare letter is a letter although it is another option's text; two options alike are no answer."""
    assert judge("multiple_choice", "A", "A", ("B", "A"))[:2] == (1.0, Reason.OK)
    assert judge("multiple_choice", "A", "red", ("red", "Red.", "blue"))[:2] == (0.0, Reason.AMBIGUOUS)
    assert judge("multiple_choice", "A", "A. red", ("red", "Red.", "blue"))[:2] == (1.0, Reason.OK)
    assert judge("multiple_choice", "D", "$\\frac{1}{2}$", OPTIONS)[:2] == (1.0, Reason.OK)


@pytest.mark.parametrize(
    ("options", "answer", "value"),
    [
        (("-5", "5"), "A. -5", 1.0),
        (("-5", "5"), "A -5", 1.0),
        (("-5", "5"), "A: $-5$", 1.0),
        (("-5", "5"), "-5 (A)", 1.0),
        (("-5", "5"), "A - 5", 0.0),
        (("-5", "5"), "B. -5", 0.0),
        (("-5", "5"), "A. 5", 0.0),
        (("5", "-5"), "A - 5", 1.0),
        (("(1, 2)", "(2, 1)"), "A. (1, 2)", 1.0),
        (("(1, 2)", "(2, 1)"), "(A) (1,2)", 1.0),
        (("(1, 2)", "(2, 1)"), "(2, 1), A", 0.0),
        (("$5", "$6"), "A. $5", 1.0),
        (("$6", "$5"), "A. $5", 0.0),
        (("e.g. this", "i.e. that"), "A. e.g. this", 1.0),
    ],
)
def test_marks_of_an_option_are_not_delimiters(
    judge: Any, options: tuple[str, ...], answer: str, value: float
) -> None:
    assert judge("multiple_choice", "A", answer, options).value == value


def test_texts_compare_in_one_form(judge: Any) -> None:
    """NFKC and case folding: composed and decomposed accents, ligatures, sharp s."""
    options = ("caf\u00e9", "STRASSE", "\ufb01sh")
    assert judge("multiple_choice", "A", "CAFE\u0301", options)[0] == 1.0
    assert judge("multiple_choice", "B", "stra\u00dfe", options)[0] == 1.0
    assert judge("multiple_choice", "C", "Fish", options)[0] == 1.0
    assert judge("multiple_choice", "A", "cafe", options)[0] == 0.0


@pytest.mark.parametrize(
    ("task", "answer", "options"),
    [
        ("yes_no", "maybe", ()),
        ("yes_no", None, ()),
        ("multiple_choice", "D", ("x", "y")),
        ("multiple_choice", "b", ("x", "y")),
        ("multiple_choice", "A", ()),
        ("multiple_choice", "A", ("x", "y\0")),
        ("chart", "", ()),
        ("chart", "nan", ()),
        ("chart", "1e999", ()),
        ("chart", "-inf", ()),
        ("chart", None, ()),
        ("chart", ("1", "inf"), ()),
        ("math", "1/0", ()),
        ("math", "seven", ()),
        ("chart", ("1",) * 65, ()),
        ("chart", (), ()),
        ("chart", "\ud800", ()),
        ("math", None, ()),
    ],
)
def test_bad_gold_is_an_error_not_a_score(judge: Any, task: str, answer: Any, options: Any) -> None:
    assert compile_gold(task, answer, options=options).error
    value, reason, _ = judge(task, answer, "yes", options)
    assert value != value and reason == Reason.BAD_GOLD
