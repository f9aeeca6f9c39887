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

FIELDS = ("id", "task", "answer", "options", "source", "frame", "image_size", "resized_size", "reward")


def encode(sample: Sample) -> str:
    """What scoring needs of ``sample``, as JSON: the ground truth to store in another trainer's data set."""
    values = {name: getattr(sample, name) for name in FIELDS}
    return json.dumps({name: value for name, value in values.items() if value is not None})


@lru_cache(maxsize=1 << 16)
def _decode_text(text: str) -> Row:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        values = None
    return _row(values) if isinstance(values, dict) else {"id": f"{text[:60]!r}"}


def decode(ground_truth: str | Row) -> Row:
    """The row of a ground truth: JSON made by ``encode``, or a mapping of its fields.

    A ground truth that is none is returned as it is: MixedReward masks it with a warning, as it does bad
    golds.
    """
    if isinstance(ground_truth, str):
        return _decode_text(ground_truth)
    return ground_truth if isinstance(ground_truth, Sample) else _row(ground_truth)


def _row(values: Mapping[str, Any]) -> Row:
    fields = {"id": "row", "question": "?"} | {
        name: values[name] for name in FIELDS if values.get(name) is not None
    }
    try:
        return Sample(**fields)
    except ValidationError:
        return fields


def rows_from_columns(columns: Mapping[str, Any], count: int) -> list[Row]:
    """``count`` rows from a trainer's columns: one named ``sample`` (or ``ground_truth``, or ``solution``)
    of JSON made by ``encode``, or one for each field (``task`` and ``answer`` at least).

    Raises ValueError where neither is there.
    """
    for name in ("sample", "ground_truth", "solution"):
        if name in columns:
            return [decode(value) for value in columns[name]]
    if "task" not in columns or "answer" not in columns:
        raise ValueError(f"columns must hold sample, or task and answer, got {sorted(columns)}")
    present: dict[str, Sequence[Any]] = {name: columns[name] for name in FIELDS if name in columns}
    return [_row({name: values[i] for name, values in present.items()}) for i in range(count)]
