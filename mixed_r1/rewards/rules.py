"""The rule behind each verdict, in a sentence: what ``mixed-r1 score --explain`` says of a reason."""

from __future__ import annotations

from mixed_r1_kernels.reason import Reason

__all__ = ["rule_of"]

ANY = {
    Reason.EMPTY: "Nothing was left to score: the completion, the answer or the reference has no text.",
    Reason.TOO_LONG: "The text is longer than max_bytes, or the answer than max_answer_bytes.",
    Reason.BAD_UTF8: "The completion holds a lone surrogate or a NUL, so it is no valid text.",
    Reason.NO_ANSWER_TAG: "No tag or box of an answer was found behind the thought.",
    Reason.DUPLICATE_TAG: "A tag stands more than once, or several boxes differ and box is 'only'.",
    Reason.TAG_ORDER: "The tags are out of order, or the answer lies in a thought.",
    Reason.TEXT_OUTSIDE_TAGS: "Text stands outside of the tags.",
    Reason.BAD_GOLD: "The gold cannot be scored against, so the row is masked.",
    Reason.NOT_APPLICABLE: "This reward does not score this task.",
    Reason.INTERNAL_ERROR: "A reward function failed, so the row is masked.",
    Reason.TOO_MANY_ITEMS: "The answer has more items or tokens than the limit.",
    Reason.TOO_DEEP: "The answer is nested deeper than the limit, or took math-verify too long.",
    Reason.UNEVALUATED: "Arithmetic is left to be worked out: the answer must be a value, as the gold is.",
    Reason.DEGENERATE: "No token of the answer has a direction in the embedding table, or a weight.",
    Reason.NON_FINITE: "The answer is no finite number.",
    Reason.NO_NUMBER: "The whole answer is not one number or expression, with at most a unit that is known.",
    Reason.OUT_OF_TOLERANCE: "The number is beyond the tolerance, or not the year.",
    Reason.NO_BOX: "No bracket holds four numbers, and no other form of a box was found.",
    Reason.BAD_BOX: "A box is inverted, empty, not finite, cut off, or does not have four numbers.",
    Reason.AMBIGUOUS: "The answer names more than one answer, or contradicts itself.",
    Reason.NO_MATCH: "The answer was read, and it is another than the gold.",
    Reason.OK: "The answer was read, and it is the gold.",
}
BY_TASK = {
    ("yes_no", Reason.OK): "The leading verdict, or the only one, is the gold.",
    ("yes_no", Reason.AMBIGUOUS): "There are verdicts of both kinds, or only negated ones.",
    ("yes_no", Reason.NO_MATCH): "Another verdict, or none: 'no' before a noun is no verdict.",
    ("multiple_choice", Reason.OK): "The gold option is named by letter or text, and no other.",
    ("multiple_choice", Reason.AMBIGUOUS): "Two options, or denied ones only.",
    ("multiple_choice", Reason.NO_MATCH): "Another option, or none: letters in names and formulas are none.",
    ("chart", Reason.OK): "Every item is within the tolerance of its gold, or the same text.",
    ("chart", Reason.NO_MATCH): "The text, the unit, or the number of items is another than the gold's.",
    ("chart", Reason.AMBIGUOUS): "The sides of the equation, or the boxes, differ.",
    ("math", Reason.OK): "The exact value is that of the gold; no units differ.",
    ("math", Reason.NO_MATCH): "The exact value, the kind of bracket, or the unit differs.",
    ("math", Reason.AMBIGUOUS): "The sides of the equation, or the boxes, differ.",
    ("grounding", Reason.OK): "The value is what box_score makes of the boxes' overlap with the gold.",
    ("open_ended", Reason.OK): "The value is the similarity of the tokens, as open_ended sets it.",
}  # fmt: skip


def rule_of(column: str, task: str, reason: Reason) -> str:
    """The rule by which ``reason`` was given in ``column`` to a row of ``task``."""
    if column == "format":
        return "The completion has exactly the form asked for." if reason == Reason.OK else ANY[reason]
    return BY_TASK.get((task, reason), ANY[reason])
