"""Finding the answer, the format reward, and completions that no verifier should see."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify

GOOD = "<think>a</think><answer>b</answer>"


@pytest.mark.parametrize(
    ("completion", "format_reason", "task_reason", "answer"),
    [
        (GOOD, Reason.OK, Reason.OK, "b"),
        (" \n<think></think>\n<answer> b \n</answer>\t", Reason.OK, Reason.OK, "b"),
        ("<think>\u00e9</think><answer>\u00e9\U0001f600</answer>", Reason.OK, Reason.OK, "\u00e9\U0001f600"),
        ("<think>a</think><answer> </answer>", Reason.OK, Reason.EMPTY, ""),
        ("x" + GOOD, Reason.TEXT_OUTSIDE_TAGS, Reason.OK, "b"),
        (GOOD + "x", Reason.TEXT_OUTSIDE_TAGS, Reason.OK, "b"),
        ("<think>a</think>x<answer>b</answer>", Reason.TEXT_OUTSIDE_TAGS, Reason.OK, "b"),
        ("\u00a0" + GOOD, Reason.TEXT_OUTSIDE_TAGS, Reason.OK, "b"),
        ("<answer>b</answer><think>a</think>", Reason.TAG_ORDER, Reason.OK, "b"),
        ("</think>a<think><answer>b</answer>", Reason.TAG_ORDER, Reason.OK, "b"),
        # nested: the answer in the thought, or a think tag in the answer
        ("<think><answer>b</answer></think>", Reason.TAG_ORDER, Reason.TAG_ORDER, ""),
        ("<think>a<answer>b</answer></think>c", Reason.TAG_ORDER, Reason.TAG_ORDER, ""),
        ("<think>a<answer>b</think></answer>", Reason.TAG_ORDER, Reason.TAG_ORDER, ""),
        ("<answer><think>b</think></answer>", Reason.TAG_ORDER, Reason.TAG_ORDER, ""),
        ("<think>a</think><answer></think>b</answer>", Reason.DUPLICATE_TAG, Reason.TAG_ORDER, ""),
        (
            "<think>a</think><think><answer>b</answer></think>",
            Reason.DUPLICATE_TAG,
            Reason.TAG_ORDER,
            "",
        ),
        ("<think>a <answer>b</answer>", Reason.NO_ANSWER_TAG, Reason.OK, "b"),  # never closed
        ("a</think><answer>b</answer>", Reason.NO_ANSWER_TAG, Reason.OK, "b"),
        ('<think a="<answer>">x</think><answer>b</answer>', Reason.DUPLICATE_TAG, Reason.DUPLICATE_TAG, ""),
        ("<think>a</think><answer x='y'>b</answer>", Reason.NO_ANSWER_TAG, Reason.NO_ANSWER_TAG, ""),
        ("<think>a</think><answer >b</answer >", Reason.NO_ANSWER_TAG, Reason.NO_ANSWER_TAG, ""),
        ("<think>a</think><answer>b<answer>", Reason.DUPLICATE_TAG, Reason.DUPLICATE_TAG, ""),
        ("<think>a</think></answer>b<answer>", Reason.TAG_ORDER, Reason.TAG_ORDER, ""),
        ("<answer>b</answer>", Reason.NO_ANSWER_TAG, Reason.OK, "b"),
        ("<think>a</think>b", Reason.NO_ANSWER_TAG, Reason.NO_ANSWER_TAG, ""),
        ("<think>a</think><answer>b", Reason.NO_ANSWER_TAG, Reason.NO_ANSWER_TAG, ""),
        ("<THINK>a</THINK><ANSWER>b</ANSWER>", Reason.NO_ANSWER_TAG, Reason.NO_ANSWER_TAG, ""),
        (GOOD + "<answer>c</answer>", Reason.DUPLICATE_TAG, Reason.DUPLICATE_TAG, ""),
        (
            "<think>a</think><answer><answer>b</answer></answer>",
            Reason.DUPLICATE_TAG,
            Reason.DUPLICATE_TAG,
            "",
        ),
        ("<think><think>a</think><answer>b</answer>", Reason.DUPLICATE_TAG, Reason.OK, "b"),
        ("", Reason.EMPTY, Reason.EMPTY, ""),
        (" \n\t", Reason.EMPTY, Reason.EMPTY, ""),
        (GOOD + "\0", Reason.BAD_UTF8, Reason.BAD_UTF8, ""),
        (GOOD + "\ud800", Reason.BAD_UTF8, Reason.BAD_UTF8, ""),
        ("\udfff" + GOOD, Reason.BAD_UTF8, Reason.BAD_UTF8, ""),
        (GOOD + "\ud83d\ude00", Reason.BAD_UTF8, Reason.BAD_UTF8, ""),  # a pair is no character in a str
        ("<think>\0</think><answer>b</answer>", Reason.BAD_UTF8, Reason.BAD_UTF8, ""),
        (GOOD + " " * (1 << 20), Reason.TOO_LONG, Reason.TOO_LONG, ""),
        ("\u00e9" * (1 << 19) + "x", Reason.TOO_LONG, Reason.TOO_LONG, ""),
    ],
)
def test_think_answer(
    judge_format: Any, completion: str, format_reason: Reason, task_reason: Reason, answer: str
) -> None:
    verdict = judge_format(completion)
    assert verdict == (float(format_reason == Reason.OK), format_reason, task_reason, answer)


@pytest.mark.parametrize(
    ("mode", "completion", "reason", "answer"),
    [
        ("answer", "so <answer>b</answer> it is", Reason.OK, "b"),
        ("answer", "b", Reason.NO_ANSWER_TAG, ""),
        ("answer", "<think><answer>b</answer></think>", Reason.TAG_ORDER, ""),  # an answer in the thought
        ("answer", "<think>a</think> so <answer>b</answer>", Reason.OK, "b"),
        ("boxed", "<think>\\boxed{a}</think> so \\boxed{b}", Reason.OK, "b"),
        ("boxed", "\\fbox{b}", Reason.OK, "b"),
        ("boxed", "\\boxed{b} is \\boxed{ b }", Reason.OK, "b"),  # the same
        ("think_boxed", "<think>\\boxed{a}</think> so \\boxed{b}.", Reason.OK, "b"),
        ("think_boxed", "<think>a</think> b", Reason.NO_ANSWER_TAG, ""),
        ("answer", "<answer>b</answer><answer>b</answer>", Reason.DUPLICATE_TAG, ""),
        ("answer", "</answer>b<answer>", Reason.TAG_ORDER, ""),
        ("boxed", "\\boxed{\\boxed{b}}", Reason.OK, "\\boxed{b}"),
        ("boxed", "so \\boxed{b} it is", Reason.OK, "b"),
        ("boxed", "\\boxed{\\frac{1}{2}}", Reason.OK, "\\frac{1}{2}"),
        ("boxed", "\\boxed{\\}}", Reason.OK, "\\}"),
        ("boxed", "\\boxed{a} \\boxed{b}", Reason.DUPLICATE_TAG, ""),
        ("boxed", "\\boxed{a", Reason.NO_ANSWER_TAG, ""),
        ("boxed", "a", Reason.NO_ANSWER_TAG, ""),
    ],
)
def test_other_formats(judge_format: Any, mode: str, completion: str, reason: Reason, answer: str) -> None:
    verdict = judge_format(completion, format=mode)
    assert verdict == (float(reason == Reason.OK), reason, reason, answer)


def test_without_a_format_everything_is_the_answer(judge_format: Any) -> None:
    value, reason, task_reason, answer = judge_format("  b ", format="none")
    assert value != value
    assert (reason, task_reason, answer) == (Reason.NOT_APPLICABLE, Reason.OK, "b")


@pytest.mark.parametrize(
    ("settings", "completion", "expected"),
    [
        (
            {},
            "<think>I must use <answer> tags</think><answer>b</answer>",
            (0.0, Reason.DUPLICATE_TAG, Reason.OK, "b"),
        ),
        ({}, GOOD + "<|im_end|>", (1.0, Reason.OK, Reason.OK, "b")),
        ({}, GOOD + " </s>\n<|endoftext|>", (1.0, Reason.OK, Reason.OK, "b")),
        ({"think": "prefilled"}, "a</think><answer>b</answer>", (1.0, Reason.OK, Reason.OK, "b")),
        ({"think": "prefilled"}, GOOD, (0.0, Reason.DUPLICATE_TAG, Reason.OK, "b")),
        (
            {"think": "prefilled"},
            "<answer>a</answer></think><answer>b</answer>",
            (0.0, Reason.DUPLICATE_TAG, Reason.OK, "b"),
        ),
        ({"format": "boxed", "box": "last"}, "\\boxed{a}? No. \\boxed{b}", (1.0, Reason.OK, Reason.OK, "b")),
        (
            {"format": "boxed"},
            "\\boxed{a}? No. \\boxed{b}",
            (0.0, Reason.DUPLICATE_TAG, Reason.DUPLICATE_TAG, ""),
        ),
        (
            {"format": "think_boxed"},
            "x<think>a</think>\\boxed{b}",
            (0.0, Reason.TEXT_OUTSIDE_TAGS, Reason.OK, "b"),
        ),
        ({"format": "think_boxed"}, "\\boxed{b}", (0.0, Reason.NO_ANSWER_TAG, Reason.OK, "b")),
        (
            {"format": "think_boxed", "think": "prefilled"},
            "a</think> \\boxed{b}",
            (1.0, Reason.OK, Reason.OK, "b"),
        ),
    ],
)
def test_thoughts_boxes_and_ends_of_turn(
    judge_format: Any, settings: dict[str, Any], completion: str, expected: Any
) -> None:
    """The thought is never part of the answer: tags named in it cost the format at most."""
    assert judge_format(completion, **settings) == expected


def test_tag_names(judge_format: Any) -> None:
    verdict = judge_format("<r>a</r><final>b</final>", think_tag="r", answer_tag="final")
    assert verdict == (1.0, Reason.OK, Reason.OK, "b")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"format": "xml"}, "format must be one of"),
        ({"think_tag": "a b"}, "think_tag must be"),
        ({"think_tag": "answer"}, "answer_tag must differ"),
        ({"chart_tolerance": 1.0}, "chart_tolerance must be"),
        ({"max_boxes": 0}, "max_boxes must be"),
    ],
)
def test_settings_are_checked(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VerifySettings(**settings)


def test_arguments_are_checked(impl: str) -> None:
    gold = compile_gold("yes_no", "yes")
    with pytest.raises(ValueError, match="golds must be one per completion"):
        verify(["a"], [], impl=impl)
    with pytest.raises(TypeError, match=r"completions\[1\] must be a str, got NoneType"):
        verify(["a", None], [gold, gold], impl=impl)  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"golds\[0\] must be a CompiledGold, got str"):
        verify(["a"], ["yes"], impl=impl)  # type: ignore[list-item]
    with pytest.raises(ValueError, match="task must be one of"):
        compile_gold("poetry", "yes")
    with pytest.raises(ValueError, match=r"gold_of must be in \[0, R\) with R = 1, got 1"):
        verify(["a"], [gold], gold_of=[1], impl=impl)
    with pytest.raises(ValueError, match="gold_of must have one entry per completion"):
        verify(["a"], [gold], gold_of=[0, 0], impl=impl)
    empty = verify([], [], impl=impl)
    assert empty.task_value.shape == (0,) and empty.boxes.shape == (0, 4) and empty.spans.shape == (0, 2)


def test_a_long_completion_is_refused_without_being_read(impl: str) -> None:
    gold, text = compile_gold("yes_no", "yes"), "x" * (1 << 28)
    start = time.perf_counter()
    assert verify([text], [gold], impl=impl).task_reason[0] == Reason.TOO_LONG
    assert time.perf_counter() - start < 0.01
