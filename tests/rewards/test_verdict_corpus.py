"""The corpus of realistic answers: no wrong one is paid, hardly a right one is not, by both
implementations."""

from __future__ import annotations

from collections import Counter

from benchmarks.verdicts import MAX_FALSE_NEGATIVES, judge, read_answers


def test_verdicts_on_realistic_answers(impl: str) -> None:
    judged = judge(read_answers(), impl)
    assert [item for item in judged if item.is_false_positive] == []
    assert [item for item in judged if item.has_other_reason] == []
    right = Counter(item.answer.row["task"] for item in judged if item.answer.is_right)
    missed = Counter(item.answer.row["task"] for item in judged if item.is_false_negative)
    assert all(missed[task] <= MAX_FALSE_NEGATIVES * right[task] for task in right)


def test_the_corpus_is_large_and_has_both_sides() -> None:
    answers = read_answers()
    assert len(answers) >= 600
    for task in ("yes_no", "multiple_choice", "chart", "math", "grounding"):
        sides = Counter(answer.is_right for answer in answers if answer.row["task"] == task)
        assert min(sides.values()) >= 15, task
    golds = {answer.row["id"] for answer in answers}
    both = {answer.row["id"] for answer in answers if not answer.is_right}
    assert golds == both  # every kind of gold has wrong answers too
