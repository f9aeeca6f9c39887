"""verify: completions x compiled golds -> values, reasons, answer spans and boxes, one call for a batch."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from mixed_r1_kernels._impl import missing, native, resolve
from mixed_r1_kernels.verify import reference
from mixed_r1_kernels.verify.settings import CHOICES, TASKS, BadGold, GoldSpec, VerifySettings
from mixed_r1_kernels.verify.unicode_tables import unicode_tables

__all__ = ["CompiledGold", "VerifyResult", "VerifySettings", "compile_gold", "identities", "verify"]

IMPLEMENTED = ("native", "reference")


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

    __slots__ = ("_native", "error", "others", "reference", "spec")

    def __init__(self, spec: GoldSpec, alternatives: Sequence[GoldSpec] = ()) -> None:
        self.spec = spec
        self.others = [CompiledGold(other) for other in alternatives]
        self.error: str | None = None
        self.reference: Any = None
        self._native: Any = None
        try:
            self.reference = reference.compile_spec(spec)
        except BadGold as error:
            self.error = str(error)
        self.error = self.error or next((other.error for other in self.others if other.error), None)
        if self.error is not None:
            self.reference = None

    @property
    def native(self) -> Any:
        """The form that the native implementation reads, made when it is first asked for."""
        if self._native is None:
            self._native = _native_gold(self.spec)
            for other in self.others:
                self._native.add_alternative(other.native)
        return self._native

    def __repr__(self) -> str:
        return f"CompiledGold(task={self.spec.task!r}, answer={self.spec.answer!r}, error={self.error!r})"


def compile_gold(
    task: str,
    answer: Any,
    *,
    options: Sequence[str] = (),
    alternatives: Sequence[Any] = (),
    settings: VerifySettings | None = None,
) -> CompiledGold:
    """Read a gold once.

    ``answer`` by ``task``: yes_no ``"yes"`` or ``"no"``; multiple_choice a letter of ``options``; chart a
    text or a sequence of texts; math a text; grounding and open_ended: not read here (None is fine).
    ``alternatives``: further answers that are as right, but for those two tasks; the best of them counts.

    A gold that cannot be scored against is returned with ``error`` set, not raised.

    Raises:
        ValueError: ``task`` is not one of the six.
    """
    if task not in TASKS:
        raise ValueError(f"task must be one of {TASKS}, got {task!r}")
    spec = GoldSpec(task, answer, tuple(options), settings or VerifySettings())
    return CompiledGold(spec, [spec._replace(answer=other) for other in alternatives])


def verify(
    completions: Sequence[str],
    golds: Sequence[CompiledGold],
    *,
    gold_of: Sequence[int] | NDArray[np.int64] | None = None,
    impl: str = "auto",
) -> VerifyResult:
    """Score ``completions[i]`` against ``golds[gold_of[i]]``: format, and the task where text decides it.

    A total function of each completion: it never raises, blocks or backtracks on its content, takes time
    linear in its length, and depends on nothing else in the batch.

    Args:
        completions: N strings.
        golds: R compiled golds.
        gold_of: [N] integers in [0, R). None: N == R, in order.
        impl: "auto", "native" or "reference".

    Raises:
        ValueError: lengths or indices that do not fit.
        TypeError: an entry that is not a string, or not a CompiledGold.
        ImplUnavailable: see ``mixed_r1_kernels.ImplUnavailable``.
    """
    if not all([type(gold) is CompiledGold for gold in golds]):
        i, gold = next((i, gold) for i, gold in enumerate(golds) if type(gold) is not CompiledGold)
        raise TypeError(f"golds[{i}] must be a CompiledGold, got {type(gold).__name__}")
    indices = _checked_gold_of(gold_of, len(completions), len(golds))
    chosen = resolve(impl, op="verify", implemented=IMPLEMENTED)
    N = len(completions)
    result = VerifyResult(
        np.empty(N),
        np.empty(N, np.uint8),
        np.empty(N),
        np.empty(N, np.uint8),
        np.zeros((N, 2), np.int64),
        np.zeros((0, 4)),
        np.zeros(N, np.int64),
    )
    if chosen == "native":
        arrays = result[:5]
        natives = [gold._native or gold.native for gold in golds]
        boxes = _loaded().verify(completions, natives, indices, *arrays, result.box_counts)
    else:
        boxes = _verify_reference(completions, [golds[g] for g in indices.tolist()], result)
    return result._replace(boxes=boxes)


def identities(objects: Sequence[Any]) -> NDArray[np.int64]:
    """``id`` of each object [N]: which rows of a batch are the same object."""
    if missing("native") is None:
        found: NDArray[np.int64] = native().object_ids(objects)
        return found
    return np.fromiter(map(id, objects), np.int64, len(objects))


def _checked_gold_of(gold_of: Any, N: int, R: int) -> NDArray[np.int64]:
    if gold_of is None:
        if N != R:
            raise ValueError(f"golds must be one per completion ({N}), got {R}")
        return np.arange(N, dtype=np.int64)
    indices = np.ascontiguousarray(gold_of, np.int64)
    if indices.shape != (N,):
        raise ValueError(f"gold_of must have one entry per completion ({N}), got shape {list(indices.shape)}")
    if N and (indices.min() < 0 or indices.max() >= R):
        bad = indices[(indices < 0) | (indices >= R)][0]
        raise ValueError(f"gold_of must be in [0, R) with R = {R}, got {bad}")
    return indices


def _verify_reference(
    completions: Sequence[str], golds: Sequence[CompiledGold], result: VerifyResult
) -> NDArray[np.float64]:
    """Fill ``result`` row by row; returns the boxes."""
    boxes: list[tuple[float, ...]] = []
    for i, (completion, gold) in enumerate(zip(completions, golds, strict=True)):
        if not isinstance(completion, str):
            raise TypeError(f"completions[{i}] must be a str, got {type(completion).__name__}")
        row = reference.score(completion, gold.spec, gold.reference)
        for other in gold.others if gold.error is None else ():
            found = reference.score(completion, other.spec, other.reference)
            row = found if found.task_value > row.task_value else row
        result.format_value[i], result.format_reason[i] = row.format_value, row.format_reason
        result.task_value[i], result.task_reason[i] = row.task_value, row.task_reason
        result.spans[i] = row.span
        result.box_counts[i] = len(row.boxes)
        boxes.extend(row.boxes)
    return np.array(boxes, np.float64).reshape(-1, 4)


@cache
def _loaded() -> Any:
    """The compiled module with its character data."""
    module = native()
    module.set_unicode_tables(*unicode_tables())
    return module


def _native_gold(spec: GoldSpec) -> Any:
    """Texts travel as bytes, so that lone surrogates arrive (and make the gold a bad one)."""
    is_list = isinstance(spec.answer, tuple)
    answers = [a for a in (spec.answer if is_list else (spec.answer,)) if isinstance(a, str)]
    if is_list and (spec.task != "chart" or len(answers) < len(spec.answer)):
        answers = []
    settings = {
        name: _CODES[name].index(value) if name in _CODES else value
        for name, value in vars(spec.settings).items()
    }
    return _loaded().VerifyGold(
        TASKS.index(spec.task), _as_bytes(answers), is_list, _as_bytes(spec.options), settings
    )


_CODES: dict[str, tuple[str, ...]] = {name: get_args(kind) for name, kind in CHOICES.items()}


def _as_bytes(texts: Sequence[str]) -> list[bytes]:
    return [text.encode("utf-8", "surrogatepass") for text in texts]
