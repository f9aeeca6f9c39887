"""Where the answer of a completion is, and whether the completion keeps the format."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_reading import SPACE, boxes
from mixed_r1_kernels.verify.settings import VerifySettings

__all__ = ["END_OF_TURN", "Found", "find"]

END_OF_TURN = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "<|end|>", "</s>", "<eos>", "<end_of_turn>")


class Found(NamedTuple):
    """Where the answer is (``reason`` OK), and whether the completion keeps the format."""

    reason: Reason
    start: int = 0
    end: int = 0
    format_reason: Reason = Reason.NO_ANSWER_TAG


def find(completion: str, settings: VerifySettings) -> Found:
    """Tokens that end the turn are no part of the text, at its end."""
    end = _without_turn_end(completion)
    return _FINDERS[settings.format](completion[:end], settings)


def _without_turn_end(text: str) -> int:
    end = len(text)
    while True:
        while end and text[end - 1] in SPACE:
            end -= 1
        token = next((token for token in END_OF_TURN if text.endswith(token, 0, end)), None)
        if token is None:
            return end
        end -= len(token)


def _only_once(text: str, tag: str, start: int = 0) -> tuple[int, Reason]:
    """Where ``tag`` is, and OK, NO_ANSWER_TAG or DUPLICATE_TAG."""
    first = text.find(tag, start)
    if first < 0:
        return first, Reason.NO_ANSWER_TAG
    again = text.find(tag, first + len(tag))
    return first, Reason.OK if again < 0 else Reason.DUPLICATE_TAG


def _worst(*reasons: Reason) -> Reason:
    """DUPLICATE_TAG before NO_ANSWER_TAG before OK."""
    return next((r for r in (Reason.DUPLICATE_TAG, Reason.NO_ANSWER_TAG) if r in reasons), Reason.OK)


def _thought_end(text: str, settings: VerifySettings) -> int:
    """Behind the first ``</think>``, where the thought comes before any ``<answer>``; else 0.

    The prompt may have opened it: ``think="prefilled"``.
    """
    opening, closing = f"<{settings.think_tag}>", f"</{settings.think_tag}>"
    end = text.find(closing)
    if end < 0:
        return 0
    if settings.think == "prefilled":
        return end + len(closing)
    opened, answered = text.find(opening, 0, end), text.find(f"<{settings.answer_tag}>", 0, end)
    return end + len(closing) if opened >= 0 and (answered < 0 or opened < answered) else 0


def _find_answer(text: str, settings: VerifySettings) -> Found:
    """``answer``: one ``<answer>..</answer>`` behind the thought, and no tag of an answer elsewhere."""
    found = _answer_behind(text, _thought_end(text, settings), settings)
    if found.reason != Reason.OK:
        return found
    opening, closing = f"<{settings.answer_tag}>", f"</{settings.answer_tag}>"
    return found._replace(format_reason=_worst(_only_once(text, opening)[1], _only_once(text, closing)[1]))


def _answer_behind(text: str, thought_end: int, settings: VerifySettings) -> Found:
    """Exactly one ``<answer>..</answer>`` behind the thought. One in the thought alone is TAG_ORDER."""
    opening, closing = f"<{settings.answer_tag}>", f"</{settings.answer_tag}>"
    start, open_reason = _only_once(text, opening, thought_end)
    end, close_reason = _only_once(text, closing, thought_end)
    reason = _worst(open_reason, close_reason)
    if reason == Reason.NO_ANSWER_TAG and text.find(opening, 0, thought_end) >= 0:
        reason = Reason.TAG_ORDER
    if reason == Reason.OK and end < start:
        reason = Reason.TAG_ORDER
    return Found(reason, start + len(opening), end, reason)


def _find_think_answer(text: str, settings: VerifySettings) -> Found:
    """``think_answer``: the answer is found behind the thought, but none that holds a think tag or lies in
    another thought; the format asks for the thought before it and nothing else.
    """
    opening, closing = f"<{settings.think_tag}>", f"</{settings.think_tag}>"
    thought_end = _thought_end(text, settings)
    found = _answer_behind(text, thought_end, settings)
    if found.reason == Reason.OK and _nested(text, thought_end, found, opening, closing):
        found = found._replace(reason=Reason.TAG_ORDER)
    prefilled = settings.think == "prefilled"
    start, open_reason = _only_once(text, opening)
    if prefilled:  # the prompt holds it
        start, open_reason = -1, Reason.OK if open_reason == Reason.NO_ANSWER_TAG else Reason.DUPLICATE_TAG
    end, close_reason = _only_once(text, closing)
    tags = (_only_once(text, f"<{settings.answer_tag}>")[1], _only_once(text, f"</{settings.answer_tag}>")[1])
    reason = _worst(open_reason, close_reason, *tags)
    if reason == Reason.OK:
        answer_at = found.start - len(settings.answer_tag) - 2
        between = text[end + len(closing) : answer_at]
        after = text[found.end + len(settings.answer_tag) + 3 :]
        if found.reason != Reason.OK or not start < end < answer_at:
            reason = Reason.TAG_ORDER
        elif text[: max(start, 0)].strip(SPACE) or between.strip(SPACE) or after.strip(SPACE):
            reason = Reason.TEXT_OUTSIDE_TAGS
    return found._replace(format_reason=reason)


def _nested(text: str, thought_end: int, found: Found, opening: str, closing: str) -> bool:
    """Whether a think tag lies in the answer, or the answer in a think block that is closed behind it. A
    block that is never closed costs the format only.
    """
    before, body, after = text[thought_end : found.start], text[found.start : found.end], text[found.end :]
    thinking = before.rfind(opening) > before.rfind(closing)
    return opening in body or closing in body or (thinking and closing in after)


def _find_boxed(text: str, settings: VerifySettings) -> Found:
    """``boxed``: a box behind the thought; of several the last, or all the same (``box``)."""
    return _box_behind(text, _thought_end(text, settings), settings)


def _box_behind(text: str, thought_end: int, settings: VerifySettings) -> Found:
    bodies = [(a + thought_end, b + thought_end) for a, b in boxes(text[thought_end:])]
    if not bodies:
        return Found(Reason.NO_ANSWER_TAG)
    start, end = bodies[-1]
    chosen = text[start:end].strip(SPACE)
    if settings.box == "only" and any(text[a:b].strip(SPACE) != chosen for a, b in bodies):
        return Found(Reason.DUPLICATE_TAG, format_reason=Reason.DUPLICATE_TAG)
    return Found(Reason.OK, start, end, Reason.OK)


def _find_think_boxed(text: str, settings: VerifySettings) -> Found:
    """``think_boxed``: a thought first, each of its tags once, then text with a box."""
    thought_end = _thought_end(text, settings)
    found = _box_behind(text, thought_end, settings)
    start, open_reason = _only_once(text, f"<{settings.think_tag}>")
    if settings.think == "prefilled":
        start, open_reason = 0, Reason.OK if open_reason == Reason.NO_ANSWER_TAG else Reason.DUPLICATE_TAG
    reason = _worst(open_reason, _only_once(text, f"</{settings.think_tag}>")[1], found.format_reason)
    if reason == Reason.OK and (not thought_end or found.start < thought_end):
        reason = Reason.TAG_ORDER
    elif reason == Reason.OK and text[:start].strip(SPACE):
        reason = Reason.TEXT_OUTSIDE_TAGS
    return found._replace(format_reason=reason)


def _find_none(text: str, settings: VerifySettings) -> Found:
    return Found(Reason.OK, _thought_end(text, settings), len(text), Reason.OK)


_FINDERS: dict[str, Callable[[str, VerifySettings], Found]] = {
    "think_answer": _find_think_answer,
    "answer": _find_answer,
    "boxed": _find_boxed,
    "think_boxed": _find_think_boxed,
    "none": _find_none,
}
