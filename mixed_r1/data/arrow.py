"""Rows of Arrow tables as plain values, with what their types say and plain Python would lose.

A 32-bit 0.1 becomes 0.10000000149011612 in Python, and no model writes that: numbers of fewer than 64 bits
become the number that a person would have written, the shortest that gives them back in their own type. The
labels of Hugging Face ``datasets`` are numbers with names beside them: the name is what is meant.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeAlias

import numpy as np
import pyarrow as pa

__all__ = ["hub_features", "plain_rows", "reader_of"]

Reader: TypeAlias = Callable[[Any], Any]


def hub_features(schema: pa.Schema) -> Mapping[str, Any]:
    """What Hugging Face ``datasets`` wrote into ``schema`` about its columns; {} where it did not."""
    try:
        content = json.loads((schema.metadata or {})[b"huggingface"])
        features = content["info"]["features"]
    except (KeyError, ValueError, TypeError, RecursionError):
        return {}
    return features if isinstance(features, dict) else {}


def plain_rows(table: pa.Table | pa.RecordBatch, features: Mapping[str, Any] | None = None) -> list[Any]:
    """The rows of ``table`` as dictionaries of plain values. ``features``: see ``hub_features``."""
    known = hub_features(table.schema) if features is None else features
    readers = {field.name: reader_of(field.type, known.get(field.name)) for field in table.schema}
    special = {name: reader for name, reader in readers.items() if reader is not None}
    rows = table.to_pylist()
    for row in rows if special else ():
        for name, reader in special.items():
            row[name] = reader(row[name])
    return rows


def reader_of(kind: pa.DataType, feature: Any = None) -> Reader | None:
    """What makes of a Python value of ``kind`` the value that is meant; None where it is itself."""
    names = _label_names(feature)
    if names is not None and pa.types.is_integer(kind):
        return lambda value: names[value] if value is not None and 0 <= value < len(names) else None
    if pa.types.is_float32(kind) or pa.types.is_float16(kind):
        narrow = np.float32 if pa.types.is_float32(kind) else np.float16
        return lambda value: None if value is None else float(str(narrow(value)))
    if pa.types.is_decimal(kind):
        return lambda value: format(value, "f") if isinstance(value, Decimal) else value
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        item = reader_of(kind.value_type, _inner(feature))
        return None if item is None else lambda value: None if value is None else [item(v) for v in value]
    if pa.types.is_struct(kind):
        fields = [kind.field(i) for i in range(kind.num_fields)]
        readers = {field.name: reader_of(field.type, _inner(feature, field.name)) for field in fields}
        return _struct_reader({name: reader for name, reader in readers.items() if reader is not None})
    return None


def _struct_reader(readers: Mapping[str, Reader]) -> Reader | None:
    if not readers:
        return None

    def read(value: Any) -> Any:
        if value is None:
            return None
        return {name: readers[name](v) if name in readers else v for name, v in value.items()}

    return read


def _label_names(feature: Any) -> list[str] | None:
    if isinstance(feature, Mapping) and feature.get("_type") == "ClassLabel":
        names = feature.get("names")
        return names if isinstance(names, list) else None
    return None


def _inner(feature: Any, name: str | None = None) -> Any:
    """The feature of a list's items, or of the field ``name`` of a struct."""
    if name is not None:
        inner = feature.get(name) if isinstance(feature, Mapping) else None
        return inner if inner is not None else _inner(_inner(feature), name) if _is_list(feature) else None
    if isinstance(feature, list):
        return feature[0] if feature else None
    return feature.get("feature") if isinstance(feature, Mapping) else None


def _is_list(feature: Any) -> bool:
    """``datasets`` before 4 wrote a struct of lists as a sequence of a struct."""
    return isinstance(feature, list) or (isinstance(feature, Mapping) and "feature" in feature)
