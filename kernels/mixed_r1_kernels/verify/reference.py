"""Reference of ``verify``: one completion at a time in plain Python. It defines what is right.

Order of checks for a completion: TOO_LONG, BAD_UTF8, EMPTY; then the answer is found and its format judged;
then the task's own reader takes the answer. Only ASCII white space counts as white space outside of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify import reference_boxes, reference_chart, reference_math, reference_text
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["Row", "compile_spec", "score"]

SPACE = " \t\n\r\f\v"
NAN = float("nan")


class Row(NamedTuple):
    """The verdict on one completion; see VerifyResult."""

    format_value: float
    format_reason: Reason
    task_value: float
    task_reason: Reason
    span: tuple[int, int] = (0, 0)
    boxes: tuple[tuple[float, float, float, float], ...] = ()


class Found(NamedTuple):
    """Where the answer is (``reason`` OK), and whether the completion keeps the format."""

    reason: Reason
    start: int = 0
    end: int = 0
    format_reason: Reason = Reason.NO_ANSWER_TAG


_COMPILERS: dict[str, Callable[[GoldSpec], Any]] = {
    "yes_no": reference_text.compile_yes_no,
    "multiple_choice": reference_text.compile_choice,
    "chart": reference_chart.compile_chart,
    "math": reference_math.compile_math,
    "grounding": lambda spec: (),
    "open_ended": lambda spec: (),
}
_SCORERS: dict[str, Callable[[str, Any, VerifySettings], tuple[float, Reason]]] = {
    "yes_no": reference_text.score_yes_no,
    "multiple_choice": reference_text.score_choice,
    "chart": reference_chart.score_chart,
    "math": reference_math.score_math,
}


def compile_spec(spec: GoldSpec) -> Any:
    """The gold as its scorer wants it. Raises BadGold."""
    answers = spec.answer if isinstance(spec.answer, tuple) else (spec.answer,)
    for text in (*answers, *spec.options):
        if isinstance(text, str) and ("\0" in text or _has_surrogates(text)):
            raise BadGold(f"answer and options must be valid Unicode text without NUL, got {text!r}")
    return _COMPILERS[spec.task](spec)


def score(completion: str, spec: GoldSpec, gold: Any) -> Row:
    """The verdict on one completion. ``gold`` is what ``compile_spec`` returned, or None for a bad gold."""
    settings = spec.settings
    no_format = settings.format == "none"
    reason = _unreadable(completion, settings)
    if reason is not None:
        task = (NAN, Reason.BAD_GOLD) if gold is None else (0.0, reason)
        return Row(*((NAN, Reason.NOT_APPLICABLE) if no_format else (0.0, reason)), *task)
    found = _FINDERS[settings.format](completion, settings)
    if no_format:
        form: tuple[float, Reason] = (NAN, Reason.NOT_APPLICABLE)
    else:
        form = (float(found.format_reason == Reason.OK), found.format_reason)
    if found.reason != Reason.OK:
        return Row(*form, *((NAN, Reason.BAD_GOLD) if gold is None else (0.0, found.reason)))
    start, end = _strip(completion, found.start, found.end)
    if gold is None:
        return Row(*form, NAN, Reason.BAD_GOLD, (start, end))
    if start == end:
        return Row(*form, 0.0, Reason.EMPTY)
    answer = completion[start:end]
    if spec.task == "open_ended":
        return Row(*form, NAN, Reason.OK, (start, end))
    if spec.task == "grounding":
        reason, boxes = reference_boxes.parse_boxes(answer, settings)
        value = NAN if reason == Reason.OK else 0.0
        return Row(*form, value, reason, (start, end), boxes)
    if len(answer.encode()) > settings.max_answer_bytes:
        return Row(*form, 0.0, Reason.TOO_LONG, (start, end))
    return Row(*form, *_SCORERS[spec.task](answer, gold, settings), (start, end))


def _unreadable(completion: str, settings: VerifySettings) -> Reason | None:
    if len(completion) > settings.max_bytes:
        return Reason.TOO_LONG
    if _has_surrogates(completion):
        return Reason.BAD_UTF8
    if len(completion.encode()) > settings.max_bytes:
        return Reason.TOO_LONG
    if "\0" in completion:
        return Reason.BAD_UTF8
    return Reason.EMPTY if not completion.strip(SPACE) else None


def _has_surrogates(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start] in SPACE:
        start += 1
    while end > start and text[end - 1] in SPACE:
        end -= 1
    return start, end


def _only_once(text: str, tag: str) -> tuple[int, Reason]:
    """Where ``tag`` is, and OK, NO_ANSWER_TAG or DUPLICATE_TAG."""
    first = text.find(tag)
    if first < 0:
        return first, Reason.NO_ANSWER_TAG
    again = text.find(tag, first + len(tag))
    return first, Reason.OK if again < 0 else Reason.DUPLICATE_TAG


def _worst(*reasons: Reason) -> Reason:
    """DUPLICATE_TAG before NO_ANSWER_TAG before OK."""
    return next((r for r in (Reason.DUPLICATE_TAG, Reason.NO_ANSWER_TAG) if r in reasons), Reason.OK)


def _find_answer(text: str, settings: VerifySettings) -> Found:
    """``answer``: exactly one ``<answer>..</answer>``."""
    opening = f"<{settings.answer_tag}>"
    start, open_reason = _only_once(text, opening)
    end, close_reason = _only_once(text, f"</{settings.answer_tag}>")
    reason = _worst(open_reason, close_reason)
    if reason == Reason.OK and end < start:
        reason = Reason.TAG_ORDER
    return Found(reason, start + len(opening), end, reason)


def _find_think_answer(text: str, settings: VerifySettings) -> Found:
    """``think_answer``: the answer is found as in ``answer``, but none where it is part of the thought or
    holds a think tag; the format asks for the think block before it and nothing else.
    """
    found = _find_answer(text, settings)
    opening, closing = f"<{settings.think_tag}>", f"</{settings.think_tag}>"
    if found.reason == Reason.OK and _nested(text, found, opening, closing):
        found = found._replace(reason=Reason.TAG_ORDER)
    start, open_reason = _only_once(text, opening)
    end, close_reason = _only_once(text, closing)
    reason = _worst(open_reason, close_reason, found.reason)
    if reason == Reason.OK:
        answer_at = found.start - len(settings.answer_tag) - 2
        between = text[end + len(closing) : answer_at]
        after = text[found.end + len(settings.answer_tag) + 3 :]
        if found.reason == Reason.TAG_ORDER or not start < end < answer_at:
            reason = Reason.TAG_ORDER
        elif text[:start].strip(SPACE) or between.strip(SPACE) or after.strip(SPACE):
            reason = Reason.TEXT_OUTSIDE_TAGS
    return found._replace(format_reason=reason)


def _nested(text: str, found: Found, opening: str, closing: str) -> bool:
    """Whether a think tag lies in the answer, or the answer in a think block that is closed behind it. A
    block that is never closed costs the format only.
    """
    before, body, after = text[: found.start], text[found.start : found.end], text[found.end :]
    thinking = before.rfind(opening) > before.rfind(closing)
    return opening in body or closing in body or (thinking and closing in after)


def _find_boxed(text: str, settings: VerifySettings) -> Found:
    """``boxed``: exactly one ``\\boxed{``, closed by its own brace; a backslash takes the next character
    with it.
    """
    opening = "\\boxed{"
    at, reason = _only_once(text, opening)
    if reason != Reason.OK:
        return Found(reason, format_reason=reason)
    start = i = at + len(opening)
    depth = 1
    while i < len(text):
        if text[i] == "\\":
            i += 1
        elif text[i] == "{":
            depth += 1
        elif text[i] == "}":
            depth -= 1
            if depth == 0:
                return Found(Reason.OK, start, i, Reason.OK)
        i += 1
    return Found(Reason.NO_ANSWER_TAG)


def _find_none(text: str, settings: VerifySettings) -> Found:
    return Found(Reason.OK, 0, len(text), Reason.OK)


_FINDERS: dict[str, Callable[[str, VerifySettings], Found]] = {
    "think_answer": _find_think_answer,
    "answer": _find_answer,
    "boxed": _find_boxed,
    "none": _find_none,
}
