"""Samples as Parquet rows: images embedded, fixed row groups, so that equal rows give equal bytes.

Columns are the Sample's fields; images are structs of ``bytes`` and ``path``, the layout that Hugging Face
``datasets`` shows as images. Columns that hold any JSON value are JSON text, named in the schema's metadata;
a foreign file without that entry is read as it is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from typing_extensions import Self

from mixed_r1.data.arrow import hub_features, plain_rows
from mixed_r1.data.storage import image_payload, to_row
from mixed_r1.images import embedded
from mixed_r1.schema import Sample

__all__ = [
    "JSON_COLUMNS",
    "ROW_GROUP",
    "SampleWriter",
    "decoded",
    "encoded_columns",
    "iter_rows",
    "sample_schema",
    "table_writer",
]

JSON_COLUMNS = ("answer", "alternatives", "messages", "reward", "metadata")
_TEXT_COLUMNS = ("id", "source", "question", "options")
JSON_KEY = b"mixed_r1.json_columns"
ROW_GROUP = 256


def sample_schema() -> pa.Schema:
    """The Arrow schema of our Parquet files."""
    text, size = pa.string(), pa.list_(pa.int64())
    fields = [
        *((name, text) for name in ("id", "task", "source", "question", "answer", "alternatives")),
        ("options", pa.list_(text)),
        ("images", pa.list_(pa.struct([("bytes", pa.binary()), ("path", text)]))),
        ("frame", text),
        ("image_of", pa.int64()),
        ("boxes_in", text),
        *((name, size) for name in ("image_size", "resized_size")),
        ("difficulty", pa.float64()),
        *((name, text) for name in ("messages", "reward", "metadata")),
    ]
    hub = json.dumps({"info": {"features": {name: _hub_feature(name) for name, _ in fields}}})
    return pa.schema(
        fields, metadata={JSON_KEY: ",".join(JSON_COLUMNS).encode(), b"huggingface": hub.encode()}
    )


def _hub_feature(name: str) -> dict[str, Any]:
    """How Hugging Face ``datasets`` reads a column."""

    def value(kind: str) -> dict[str, Any]:
        return {"dtype": kind, "_type": "Value"}

    special: dict[str, dict[str, Any]] = {
        "difficulty": value("float64"),
        "image_of": value("int64"),
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        "options": {"feature": value("string"), "_type": "List"},
        "image_size": {"feature": value("int64"), "_type": "List"},
        "resized_size": {"feature": value("int64"), "_type": "List"},
    }
    return special.get(name, value("string"))


def table_writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    """A Parquet writer with the settings of all our files."""
    return pq.ParquetWriter(path, schema, compression="zstd")


class SampleWriter:
    """Writes samples to one Parquet file, a row group of 256 at a time; ``count`` is the number written."""

    def __init__(self, path: Path) -> None:
        self._schema = sample_schema()
        self._writer = table_writer(path, self._schema)
        self._group: list[dict[str, Any]] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, sample: Sample) -> None:
        """Append one row.

        Raises:
            ValueError: values that JSON or UTF-8 cannot hold; nothing is appended then.
            ImageError: an image path that cannot be read.
        """
        row = to_row(sample)
        for name in _TEXT_COLUMNS:
            if name in row:
                _check_utf8(name, row[name])
        for name in JSON_COLUMNS:
            if name in row:
                row[name] = _json_text(name, row[name])
        if sample.images:
            row["images"] = [{"bytes": image_payload(image), "path": None} for image in sample.images]
        self._group.append(row)
        self.count += 1
        if len(self._group) == ROW_GROUP:
            self._flush()

    def _flush(self) -> None:
        if self._group:
            self._writer.write_table(pa.Table.from_pylist(self._group, schema=self._schema))
            self._group = []


def _json_text(name: str, value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{name} must hold JSON values, got {type(error).__name__}: {error}") from None
    _check_utf8(name, text)
    return text


def _check_utf8(name: str, value: str | tuple[str, ...]) -> None:
    try:
        (value if isinstance(value, str) else "".join(value)).encode()
    except UnicodeEncodeError as error:  # half of a surrogate pair
        raise ValueError(f"{name} must be text that UTF-8 can hold, got {error.object[:40]!r}") from None


def iter_rows(
    file: Path, row_groups: list[int] | None = None, columns: list[str] | None = None
) -> Iterator[dict[str, Any] | ValueError]:
    """Plain rows of a Parquet file, ours or foreign; a row whose JSON text is broken is the ValueError
    itself.

    Raises:
        OSError or pyarrow.ArrowException: the file is not readable Parquet.
    """
    with pq.ParquetFile(file) as source:
        encoded, features = encoded_columns(source.schema_arrow), hub_features(source.schema_arrow)
        for batch in source.iter_batches(batch_size=ROW_GROUP, row_groups=row_groups, columns=columns):
            for values in plain_rows(batch, features):
                yield decoded(values, encoded)


def encoded_columns(schema: pa.Schema) -> list[str]:
    """The columns of our own files that hold JSON text."""
    names = (schema.metadata or {}).get(JSON_KEY, b"").decode()
    return names.split(",") if names else []


def decoded(values: dict[str, Any], encoded: list[str]) -> dict[str, Any] | ValueError:
    """A row without its empty columns and with the values of those that hold JSON; or what is wrong."""
    row = {name: value for name, value in values.items() if value is not None}
    try:
        for name in encoded:
            if name in row:
                row[name] = json.loads(row[name])
    except (ValueError, RecursionError) as error:
        return ValueError(f"must hold JSON in {', '.join(encoded)}, got {error}")
    if isinstance(row.get("images"), list):
        row["images"] = [embedded(image) for image in row["images"]]
    return row
