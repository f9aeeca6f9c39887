"""Rows as text, for trainers that carry one string beside each prompt, and rows from a trainer's columns."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, TypeAlias

from pydantic import ValidationError

from mixed_r1.schema import Sample

__all__ = ["Row", "decode", "encode", "rows_from_columns"]

Row: TypeAlias = "Sample | Mapping[str, Any]"

FIELDS = (
    "id",
    "task",
    "answer",
    "alternatives",
    "options",
    "source",
    "frame",
    "image_size",
    "resized_size",
    "reward",
)


def encode(sample: Sample) -> str:
    """What scoring needs of ``sample``, as JSON: the ground truth to store in another trainer's data set."""
    values = {name: getattr(sample, name) for name in FIELDS}
    return json.dumps({name: value for name, value in values.items() if value is not None and value != ()})


@lru_cache(maxsize=1 << 16)
def _decode_text(text: str) -> Row:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    return _row(values) if isinstance(values, dict) else {"id": f"{text[:60]!r}"}


def decode(ground_truth: Any) -> Row:
    """The row of a ground truth: JSON made by ``encode``, or a mapping of its fields.

    Of anything else a row is made that MixedReward masks with a warning, as it does bad golds.
    """
    if isinstance(ground_truth, str):
        return _decode_text(ground_truth)
    if isinstance(ground_truth, Mapping):
        return _row(ground_truth)
    return ground_truth if isinstance(ground_truth, Sample) else {"id": f"{ground_truth!r:.60}"}


def _row(values: Mapping[str, Any]) -> Row:
    fields = {"id": "row", "question": "?"} | {
        name: values[name] for name in FIELDS if values.get(name) is not None
    }
    if isinstance(fields["id"], int):  # a row number
        fields["id"] = str(fields["id"])
    try:
        return Sample(**fields)
    except (ValidationError, RecursionError):
        return fields


def rows_from_columns(columns: Mapping[str, Any], count: int) -> list[Row]:
    """``count`` rows from a trainer's columns: one named ``sample`` of JSON made by ``encode``; else one for
    each field (``task`` and ``answer`` at least); else JSON in one named ``ground_truth`` or ``solution``.

    Raises ValueError where none is there, or one does not hold ``count`` values.
    """
    in_fields = "task" in columns and "answer" in columns
    for name in ("sample",) if in_fields else ("sample", "ground_truth", "solution"):
        if name in columns:
            return [decode(value) for value in _column(columns, name, count)]
    if not in_fields:
        raise ValueError(f"columns must hold sample, or task and answer, got {sorted(columns)}")
    present = {name: _column(columns, name, count) for name in FIELDS if name in columns}
    return [_row({name: values[i] for name, values in present.items()}) for i in range(count)]


def _column(columns: Mapping[str, Any], name: str, count: int) -> Sequence[Any]:
    values: Sequence[Any] = columns[name]
    rule = f"{name} must be a sequence of one value per completion ({count})"
    if isinstance(values, str) or not hasattr(values, "__len__"):
        raise ValueError(f"{rule}, got {values!r:.60}")
    if len(values) != count:
        raise ValueError(f"{rule}, got {len(values)}")
    return values
