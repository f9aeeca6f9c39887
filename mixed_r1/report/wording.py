"""What the page calls things: tasks, reward columns and reasons in plain words."""

from __future__ import annotations

from mixed_r1.schema import Reason
from mixed_r1.tasks import BUILT_IN
from mixed_r1.tasks.base import plain_words

__all__ = ["REASON_TEXT", "title"]

_TITLES = {"all": "All tasks", "iou": "IoU", "bmas": "BMAS", **{task.name: task.title for task in BUILT_IN}}

REASON_TEXT = {
    Reason.OK.name: "scored",
    Reason.EMPTY.name: "nothing to score",
    Reason.TOO_LONG.name: "longer than the limit",
    Reason.BAD_UTF8.name: "not valid text",
    Reason.NO_ANSWER_TAG.name: "no answer tag",
    Reason.DUPLICATE_TAG.name: "a tag more than once",
    Reason.TAG_ORDER.name: "tags out of order",
    Reason.TEXT_OUTSIDE_TAGS.name: "text outside the tags",
    Reason.AMBIGUOUS.name: "more than one answer",
    Reason.NO_MATCH.name: "another answer",
    Reason.NO_NUMBER.name: "not a number",
    Reason.NON_FINITE.name: "not a finite number",
    Reason.OUT_OF_TOLERANCE.name: "number outside the tolerance",
    Reason.NO_BOX.name: "no box",
    Reason.BAD_BOX.name: "not a proper box",
    Reason.TOO_MANY_ITEMS.name: "too many items",
    Reason.TOO_DEEP.name: "nested too deep",
    Reason.DEGENERATE.name: "tokens without an embedding",
    Reason.NOT_APPLICABLE.name: "not scored by this reward",
    Reason.BAD_GOLD.name: "reference cannot be used",
    Reason.INTERNAL_ERROR.name: "the verifier failed",
    Reason.UNEVALUATED.name: "arithmetic left to be worked out",
}


def title(name: str) -> str:
    """``multiple_choice`` -> ``Multiple choice``; names of the user's own read the same way."""
    return _TITLES.get(name) or plain_words(name)
