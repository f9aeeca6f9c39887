"""verify: completions x compiled golds -> values, reasons, answer spans and boxes, one call for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixed_r1_kernels._impl import resolve
from mixed_r1_kernels.verify import reference
from mixed_r1_kernels.verify.settings import TASKS, BadGold, GoldSpec, VerifySettings

__all__ = ["CompiledGold", "VerifyResult", "VerifySettings", "compile_gold", "verify"]

IMPLEMENTED = ("reference",)


class VerifyResult(NamedTuple):
    """One row per completion; M boxes in all.

    ``task_value`` is NaN with reason OK for grounding and open_ended answers that were found: their boxes
    (``boxes``, ragged by ``box_counts``, row order) or their text (``spans``) still need a geometric or an
    embedding score. It is NaN with reason BAD_GOLD where the gold cannot be scored against.
    ``format_value`` is NaN with reason NOT_APPLICABLE for ``format="none"``.
    ``spans`` are code point offsets of the stripped answer, so ``completion[start:end]`` is its text; (0, 0)
    where there is none.
    """

    format_value: NDArray[np.float64]  # [N]
    format_reason: NDArray[np.uint8]  # [N]
    task_value: NDArray[np.float64]  # [N]
    task_reason: NDArray[np.uint8]  # [N]
    spans: NDArray[np.int64]  # [N, 2]
    boxes: NDArray[np.float64]  # [M, 4]
    box_counts: NDArray[np.int64]  # [N]


class CompiledGold:
    """A reference answer read once, to score any number of completions. Made by ``compile_gold``.

    ``error`` says why nothing can be scored against it (such rows get BAD_GOLD), or is None.
    """

    __slots__ = ("error", "reference", "spec")

    def __init__(self, spec: GoldSpec) -> None:
        self.spec = spec
        self.error: str | None = None
        self.reference: Any = None
        try:
            self.reference = reference.compile_spec(spec)
        except BadGold as error:
            self.error = str(error)

    def __repr__(self) -> str:
        return f"CompiledGold(task={self.spec.task!r}, answer={self.spec.answer!r}, error={self.error!r})"


def compile_gold(
    task: str, answer: Any, *, options: Sequence[str] = (), settings: VerifySettings | None = None
) -> CompiledGold:
    """Read a gold once.

    ``answer`` by ``task``: yes_no ``"yes"`` or ``"no"``; multiple_choice a letter of ``options``; chart a
    text or a sequence of texts; math a text; grounding and open_ended: not read here (None is fine).

    A gold that cannot be scored against is returned with ``error`` set, not raised.

    Raises:
        ValueError: ``task`` is not one of the six.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {TASKS}, got {task!r}")
    return CompiledGold(GoldSpec(task, answer, tuple(options), settings or VerifySettings()))


def verify(completions: Sequence[str], golds: Sequence[CompiledGold], *, impl: str = "auto") -> VerifyResult:
    """Score ``completions[i]`` against ``golds[i]``: format, and the task where text decides it.

    A total function of each completion: it never raises, blocks or backtracks on its content, and takes time
    linear in its length.

    Raises:
        ValueError: different lengths.
        TypeError: an entry that is not a string, or not a CompiledGold.
    """
    if len(completions) != len(golds):
        raise ValueError(f"golds must be one per completion ({len(completions)}), got {len(golds)}")
    resolve(impl, op="verify", implemented=IMPLEMENTED)
    return _verify_reference(completions, golds)


def _verify_reference(completions: Sequence[str], golds: Sequence[CompiledGold]) -> VerifyResult:
    N = len(completions)
    format_value, task_value = np.empty(N), np.empty(N)
    format_reason, task_reason = np.empty(N, np.uint8), np.empty(N, np.uint8)
    spans, box_counts = np.zeros((N, 2), np.int64), np.zeros(N, np.int64)
    boxes: list[tuple[float, ...]] = []
    for i, (completion, gold) in enumerate(zip(completions, golds, strict=True)):
        if not isinstance(completion, str):
            raise TypeError(f"completions[{i}] must be a str, got {type(completion).__name__}")
        if not isinstance(gold, CompiledGold):
            raise TypeError(f"golds[{i}] must be a CompiledGold, got {type(gold).__name__}")
        row = reference.score(completion, gold.spec, gold.reference)
        format_value[i], format_reason[i] = row.format_value, row.format_reason
        task_value[i], task_reason[i] = row.task_value, row.task_reason
        spans[i] = row.span
        box_counts[i] = len(row.boxes)
        boxes.extend(row.boxes)
    ragged = np.array(boxes, np.float64).reshape(-1, 4)
    return VerifyResult(format_value, format_reason, task_value, task_reason, spans, ragged, box_counts)
