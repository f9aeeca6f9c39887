"""Reference of ``verify``: one completion at a time in plain Python. It defines what is right.

Order of checks for a completion: TOO_LONG, BAD_UTF8, EMPTY; then the answer is found and its format judged;
what it commits to is read once, the same for every task; then the task's own comparer takes it. Only ASCII
white space counts as white space outside of answers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify import (
    reference_boxes,
    reference_chart,
    reference_choice,
    reference_math,
    reference_yes_no,
)
from mixed_r1_kernels.verify.reference_find import find
from mixed_r1_kernels.verify.reference_leads import read_answer
from mixed_r1_kernels.verify.reference_reading import SPACE
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["Row", "compile_spec", "score"]

NAN = float("nan")


class Row(NamedTuple):
    """The verdict on one completion; see VerifyResult."""

    format_value: float
    format_reason: Reason
    task_value: float
    task_reason: Reason
    span: tuple[int, int] = (0, 0)
    boxes: tuple[tuple[float, float, float, float], ...] = ()


_COMPILERS: dict[str, Callable[[GoldSpec], Any]] = {
    "yes_no": reference_yes_no.compile_yes_no,
    "multiple_choice": reference_choice.compile_choice,
    "chart": reference_chart.compile_chart,
    "math": reference_math.compile_math,
    "grounding": lambda spec: (),
    "open_ended": lambda spec: (),
}
_SCORERS: dict[str, Callable[[str, Any, VerifySettings], tuple[float, Reason]]] = {
    "yes_no": reference_yes_no.score_yes_no,
    "multiple_choice": reference_choice.score_choice,
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
    found = find(completion, settings)
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
    reason, text = read_answer(answer, settings.box, lead=spec.task in ("chart", "math"))
    if reason != Reason.OK:
        return Row(*form, 0.0, reason, (start, end))
    return Row(*form, *_SCORERS[spec.task](text, gold, settings), (start, end))


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
