"""ChartQA's relaxed accuracy and the numbers it reads."""

from __future__ import annotations

import sys
import time
import unicodedata
from typing import Any

import pytest

from mixed_r1_kernels import Reason


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("42", "42"),
        ("42", "42.0"),
        ("42", "44.1"),  # exactly 5%
        ("1", "1.05"),  # exactly 5%, which binary fractions miss by an ulp
        ("42", "39.9"),
        ("42", "$42"),
        ("42", "42 \u20ac"),
        ("42", "+42"),
        ("42", "4.2e1"),
        ("42", "**42**"),
        ("42", "42."),
        ("42", "\uff14\uff12"),
        ("-5", "\u22125"),
        ("-5", "-$5"),
        ("-5", "$-5"),
        (".5", "0.5"),
        ("12,345", "12345"),
        ("12345", "12,345"),
        ("1,234,567", "1.234567 million"),
        ("5 million", "5M"),
        ("2.5K", "2500"),
        ("3 bn", "3,000,000,000"),
        ("20", "20%"),
        ("20%", "20"),
        ("20%", "0.2"),
        ("0.2", "20%"),
        ("20%", "20 %"),
        ("0", "0.0"),
        ("0", "-0"),
        ("2015", "2015"),
        ("2015", "2,015"),
        ("2,015", "2100"),  # with a separator it is a quantity
        ("3000", "3100"),  # not year-like
        ("$2015", "2100"),  # with a unit too
        ("2015.5", "2100"),
        ("2015.0", "2,015"),
        ("42", "42 percent"),
        ("0.42", "42 Percent"),
        ("1500000", "$1.5M"),
        ("0", "1e-400"),  # nearer to 0 than any other double
        ("1e-400", "0"),
        ("12.5", "\u20ac12.50"),
        ("5", "$5$"),
        ("Paris", "paris"),
        ("Paris", " Paris. "),
        ("New York", "new  york"),
        ("yes", "Yes"),
        ("2019-2020", "2019-2020"),
    ],
)
def test_accepted(judge: Any, gold: str, answer: str) -> None:
    assert judge("chart", gold, answer)[:2] == (1.0, Reason.OK)


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("42", "44.2", Reason.OUT_OF_TOLERANCE),
        ("42", "-42", Reason.OUT_OF_TOLERANCE),
        ("42", "42k", Reason.OUT_OF_TOLERANCE),
        ("0", "0.001", Reason.OUT_OF_TOLERANCE),
        ("2015", "2016", Reason.OUT_OF_TOLERANCE),
        ("2015", "2015%", Reason.OUT_OF_TOLERANCE),
        ("2015", "2015.4", Reason.OUT_OF_TOLERANCE),
        ("2015.0", "2016", Reason.OUT_OF_TOLERANCE),  # a year from a column of floats
        ("2015.", "2016", Reason.OUT_OF_TOLERANCE),
        ("**2015**", "2016", Reason.OUT_OF_TOLERANCE),
        ("\uff12\uff10\uff11\uff15", "2016", Reason.OUT_OF_TOLERANCE),
        ("1000", "1001", Reason.OUT_OF_TOLERANCE),
        ("2999", "2998", Reason.OUT_OF_TOLERANCE),
        ("2%", "200%", Reason.OUT_OF_TOLERANCE),
        ("42", "42 43", Reason.NO_NUMBER),
        ("42", "about 42", Reason.NO_NUMBER),
        ("42", "42 zorks", Reason.NO_NUMBER),  # no unit that is known
        ("42", "1_000", Reason.NO_NUMBER),
        ("42", "4,2", Reason.NO_NUMBER),
        ("1000", "1,00,0", Reason.NO_NUMBER),
        ("42", "0x2a", Reason.NO_NUMBER),
        ("5", "5e", Reason.NO_NUMBER),
        ("1000", "1 000", Reason.NO_NUMBER),
        ("1000", "1'000", Reason.NO_NUMBER),
        ("1.5", "1,5", Reason.NO_NUMBER),
        ("42", "[42]", Reason.NO_NUMBER),
        ("42", "(42)", Reason.NO_NUMBER),
        ("42", "~42", Reason.NO_NUMBER),
        ("42", "42, 42", Reason.NO_NUMBER),
        ("42", "42m", Reason.NO_NUMBER),
        ("42", "42% percent", Reason.NO_NUMBER),
        ("42", "+-42", Reason.NO_NUMBER),
        ("42", "forty-two", Reason.NO_NUMBER),
        ("42", "4\u00b2", Reason.UNEVALUATED),
        ("42", "--42", Reason.NO_NUMBER),
        ("42", "42%%", Reason.NO_NUMBER),
        ("42", "42..", Reason.NO_NUMBER),
        ("42", "$", Reason.NO_NUMBER),
        ("42", ".", Reason.NO_NUMBER),
        ("42", "nan", Reason.NON_FINITE),
        ("42", "-inf", Reason.NON_FINITE),
        ("42", "Infinity", Reason.NON_FINITE),
        ("42", "1e999", Reason.NON_FINITE),
        ("42", "1" * 400, Reason.NON_FINITE),
        ("Paris", "London", Reason.NO_MATCH),
        ("Paris", "Paris or London", Reason.NO_MATCH),
    ],
)
def test_rejected(judge: Any, gold: str, answer: str, reason: Reason) -> None:
    assert judge("chart", gold, answer)[:2] == (0.0, reason)


@pytest.mark.parametrize(
    ("gold", "answer", "expected"),
    [
        (("1", "2"), "[1, 2]", (1.0, Reason.OK)),
        (("1", "2"), "1, 2", (1.0, Reason.OK)),
        (("1", "2"), "1; 2", (1.0, Reason.OK)),
        (("1", "2"), "1\n2", (1.0, Reason.OK)),
        (("1", "234"), "[1,234]", (1.0, Reason.OK)),
        (("1,000", "red"), '["1,000", "Red"]', (1.0, Reason.OK)),
        (("1", "2"), "[\n  1,\n  2\n]", (1.0, Reason.OK)),  # as JSON is printed
        (("1", "2"), "1,\n2,", (1.0, Reason.OK)),
        (("1", "2"), "(1; 2)", (1.0, Reason.OK)),
        (("1", "2"), "{1\uff0c2}", (1.0, Reason.OK)),
        (("red", "blue"), "['Red', 'blue']", (1.0, Reason.OK)),
        (("1", "2"), "1 2", (0.0, Reason.NO_MATCH)),
        (("1", "2"), "1/2", (0.0, Reason.NO_MATCH)),
        (("1", "2"), "1 and 2", (1.0, Reason.OK)),
        (("1", "2"), "[[1, 2]]", (0.0, Reason.NO_NUMBER)),
        (("1", "2"), "1, 2,", (1.0, Reason.OK)),  # a mark at the end is none of the answer
        (("1", "2"), "2, 1", (0.0, Reason.OUT_OF_TOLERANCE)),
        (("1", "2"), "1", (0.0, Reason.NO_MATCH)),
        (("1", "2"), "1, 2, 3", (0.0, Reason.NO_MATCH)),
        (("1", "2"), "1, two", (0.0, Reason.NO_NUMBER)),
        (("1", "2"), "1," * 70, (0.0, Reason.TOO_MANY_ITEMS)),
        (("1",), "1", (1.0, Reason.OK)),
        ("1", "[1, 2]", (0.0, Reason.NO_NUMBER)),
    ],
)
def test_lists(judge: Any, gold: Any, answer: str, expected: tuple[float, Reason]) -> None:
    assert judge("chart", gold, answer)[:2] == expected


@pytest.mark.parametrize(
    ("answer", "value"), [("100", 1.0), ("104", 1.0), ("112", 0.8), ("130", 0.4), ("149", 0.1), ("150", 0.0)]
)
def test_graded(judge: Any, answer: str, value: float) -> None:
    """The mean over theta in .5, .55, ... .95 of [relative error < 1 - theta]."""
    assert judge("chart", "100", answer, chart_score="graded").value == value


def test_anls(judge: Any) -> None:
    assert judge("chart", "kitten", "sitting", chart_text="anls")[:2] == (1.0, Reason.OK)  # 1 - 3/7
    graded = judge("chart", "kitten", "sitting", chart_text="anls", chart_score="graded")
    assert graded.value == 4 / 7
    assert judge("chart", "kitten", "mittens on", chart_text="anls")[:2] == (1.0, Reason.OK)  # 1 - 5/10
    assert judge("chart", "kitten", "kit or dog or cow", chart_text="anls")[:2] == (0.0, Reason.NO_MATCH)
    assert judge("chart", "kitten", "sitting")[:2] == (0.0, Reason.NO_MATCH)


@pytest.mark.parametrize(
    ("gold", "answer", "value"),
    [
        ("y" * 200 + "x" * 56, "y" * 256, 1.0),
        ("y" * 200 + "x" * 57, "y" * 256, 0.0),  # 257 characters: equality only
        ("y" * 256, "y" * 200 + "x" * 57, 0.0),
        ("y" * 257, "Y" * 257 + ".", 1.0),
        ("y" * 16 + "\ufdfa" * 14, "y" * 16, 0.0),  # 268 once folded
        (("y" * 256, "z" * 257), "y" * 255 + ";" + "z" * 256, 0.0),
        (("y" * 256, "z" * 256), "y" * 255 + ";" + "z" * 255, 1.0),
    ],
)
def test_anls_compares_texts_of_at_most_256_characters(
    judge: Any, gold: Any, answer: str, value: float
) -> None:
    reason = Reason.OK if value else Reason.NO_MATCH
    assert judge("chart", gold, answer, chart_text="anls")[:2] == (value, reason)


@pytest.mark.parametrize(
    ("gold", "answer", "reason"),
    [
        ("-3", "\\boxed{-3}", Reason.OK),
        ("-3", " $\\boxed{ -3 }$. ", Reason.OK),
        ("1,234", "**\\boxed{1,234}**", Reason.OK),
        ("Norway", "\\boxed{norway}", Reason.OK),
        (("3", "4"), "$\\boxed{[3, 4]}$", Reason.OK),
        ("{3}", "\\boxed{{3}}", Reason.OK),
        ("a\\}b", "\\boxed{a\\}b}", Reason.OK),
        ("3", "\\boxed{3}\\boxed{3}", Reason.OK),  # twice the same
        ("3", "\\boxed{3}\\boxed{4}", Reason.AMBIGUOUS),
        ("3", "\\boxed{\\boxed{3}}", Reason.NO_NUMBER),
        ("3", "\\boxed{3\\}", Reason.NO_NUMBER),
        ("3", "\\boxed{3", Reason.NO_NUMBER),
        ("3", "\\boxed{3}}", Reason.OK),  # inside a sentence, whatever that is
        ("3", "\\boxed{}", Reason.NO_NUMBER),
        ("3", "so \\boxed{3}", Reason.OK),
        ("3", "\\boxed{4}", Reason.OUT_OF_TOLERANCE),
    ],
)
def test_one_box_may_hold_the_whole_answer(judge: Any, gold: Any, answer: str, reason: Reason) -> None:
    assert judge("chart", gold, answer)[:2] == (float(reason == Reason.OK), reason)


def test_every_unicode_number_has_its_documented_value(judge: Any) -> None:
    """Only ASCII digits, plain or in full width, are digits; of the other code points of Nd, Nl and No the
    common fractions are read as such, and powers leave something to be worked out.
    """
    for code in range(sys.maxunicode + 1):
        character = chr(code)
        if unicodedata.category(character) not in ("Nd", "Nl", "No"):
            continue
        value, reason, _ = judge("chart", "7", character)
        if character in ("7", "\uff17"):
            assert (value, reason) == (1.0, Reason.OK)
        elif character.isascii() or 0xFF10 <= code <= 0xFF19:
            assert (value, reason) == (0.0, Reason.OUT_OF_TOLERANCE)
        elif (
            character
            in "\u00bd\u00bc\u00be\u2153\u2154\u2155\u2156\u2157\u2158\u2159\u215a\u215b\u215c\u215d\u215e"
        ):
            assert (value, reason) == (0.0, Reason.OUT_OF_TOLERANCE)
        else:
            assert (value, reason) == (0.0, Reason.NO_NUMBER), hex(code)


@pytest.mark.parametrize("text", ["1" * 10**6, "0." + "0" * 10**6 + "1", "1e" + "9" * 10**6, "1," * 500_000])
def test_a_million_digits_cost_nothing(judge: Any, text: str) -> None:
    start = time.process_time()
    value, reason, _ = judge("chart", "42", text)
    assert value == 0.0 and reason in (Reason.TOO_LONG, Reason.NON_FINITE, Reason.NO_NUMBER)
    assert time.process_time() - start < 0.05


@pytest.mark.parametrize("text", ["a" + ",*" * 12 + ",", "a" + ",*" * 11, "b" + ",**" * 15 + "."])
def test_a_gold_of_marks_is_an_answer_to_itself(judge: Any, text: str) -> None:
    """Marks that alternate are taken off in a bounded number of rounds: of answers as often as of golds."""
    assert judge("chart", text, text)[:2] == (1.0, Reason.OK)
