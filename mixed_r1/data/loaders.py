"""Samples on disk: JSONL (images as files beside it) and Parquet (images embedded).

A JSONL row is the Sample's fields as one JSON object per line; image paths are relative to the file's
directory. A Parquet row has the same columns; images are structs of ``bytes`` and ``path``, the layout that
Hugging Face ``datasets`` shows as images. Columns that hold any JSON value (answer, messages, reward,
metadata) are JSON text there, named in the schema's metadata; a foreign Parquet file without that entry is
read as it is.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

from mixed_r1.data.checks import check_images, parse_row
from mixed_r1.data.storage import atomic_path, image_name, image_payload
from mixed_r1.schema import Sample

__all__ = [
    "DataError",
    "check_samples",
    "data_files",
    "iter_samples",
    "load_samples",
    "save_samples",
    "to_row",
]

PathLike: TypeAlias = "str | os.PathLike[str]"
JSON_COLUMNS = ("answer", "messages", "reward", "metadata")
JSON_KEY = b"mixed_r1.json_columns"
ROW_GROUP = 256


class DataError(ValueError):
    """An unusable row or file: ``file``, ``line`` (1-based row; 0: the file), ``field``, ``rule``."""

    def __init__(self, file: PathLike, line: int, field: str, rule: str) -> None:
        self.file, self.line, self.field, self.rule = os.fspath(file), line, field, rule
        where = f"{self.file}:{line}" if line else self.file
        super().__init__(f"{where}: {field}: {rule}")


def data_files(path: PathLike) -> list[Path]:
    """The files behind ``path``: a .jsonl or .parquet file, or a stem such as ``DIR/train``.

    A stem stands for ``train.jsonl``, ``train.parquet`` or the shards ``train-*.parquet``, whichever exists
    first.
    """
    given = Path(path)
    if given.suffix in (".jsonl", ".parquet"):
        if not given.is_file():
            raise DataError(given, 0, "file", "must exist")
        return [given]
    for candidates in (
        [given.with_name(f"{given.name}.jsonl")],
        [given.with_name(f"{given.name}.parquet")],
        sorted(given.parent.glob(f"{given.name}-*.parquet")),
    ):
        found = [file for file in candidates if file.is_file()]
        if found:
            return found
    raise DataError(given, 0, "file", "must be a .jsonl or .parquet file or the stem of one")


def load_samples(path: PathLike) -> list[Sample]:
    """All rows of ``path`` (see :func:`data_files`).

    Raises:
        DataError: the first row that breaks a rule, or that repeats an earlier id.
    """
    samples = []
    seen: dict[str, str] = {}
    for file, line, row in _rows(data_files(path)):
        sample = _sample(file, line, row)
        _check_id(seen, sample.id, file, line)
        samples.append(sample)
    return samples


def iter_samples(path: PathLike) -> Iterator[Sample]:
    """Stream the rows of ``path`` in constant memory; ids are not compared across rows.

    Raises:
        DataError: at the first row that breaks a rule.
    """
    for file, line, row in _rows(data_files(path)):
        yield _sample(file, line, row)


def check_samples(path: PathLike) -> list[DataError]:
    """Every problem of ``path``: schema, duplicate ids, unreadable images, boxes outside their image."""
    problems: list[DataError] = []
    seen: dict[str, str] = {}
    try:
        for file, line, row in _rows(data_files(path)):
            if isinstance(row, DataError):
                problems.append(row)
                continue
            sample, broken = parse_row(row)
            if sample is not None:
                broken = check_images(sample)
                try:
                    _check_id(seen, sample.id, file, line)
                except DataError as error:
                    problems.append(error)
            problems.extend(DataError(file, line, *problem) for problem in broken)
    except DataError as error:  # the file itself
        problems.append(error)
    return problems


def save_samples(samples: Iterable[Sample], path: PathLike) -> int:
    """Write ``samples`` to a .jsonl or .parquet file, atomically; returns the number of rows.

    JSONL puts the images into ``images/`` beside the file, named by their content's SHA-256; Parquet embeds
    them. Encoded images (bytes or paths) are written byte for byte, PIL images as PNG. What is read back
    equals what was written, apart from how an image is held (path, bytes or PIL).

    Raises:
        ValueError: another suffix, or metadata that JSON cannot hold.
        ImageError: an image path that cannot be read.
    """
    target = Path(path)
    if target.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"path must end in .jsonl or .parquet, got {os.fspath(path)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        return (_write_jsonl if target.suffix == ".jsonl" else write_parquet)(samples, temporary)


def to_row(sample: Sample) -> dict[str, Any]:
    """The fields of ``sample`` that differ from their default, images left out, as JSON-ready values."""
    row = sample.model_dump(exclude_defaults=True, exclude={"images"})
    row["answer"] = sample.answer
    return row


def _check_id(seen: dict[str, str], name: str, file: Path, line: int) -> None:
    first = seen.setdefault(name, f"{file}:{line}")
    if first != f"{file}:{line}":
        raise DataError(file, line, "id", f"must be unique, got {name!r} again (first at {first})")


def _sample(file: Path, line: int, row: Any) -> Sample:
    if isinstance(row, DataError):
        raise row
    sample, problems = parse_row(row)
    if sample is None:
        raise DataError(file, line, *problems[0])
    return sample


def _rows(files: Iterable[Path]) -> Iterator[tuple[Path, int, Any]]:
    """(file, 1-based row, plain row or the DataError that stands for it)."""
    for file in files:
        yield from _jsonl_rows(file) if file.suffix == ".jsonl" else _parquet_rows(file)


def _jsonl_rows(file: Path) -> Iterator[tuple[Path, int, Any]]:
    with file.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw, parse_constant=_no_constant)
            except (ValueError, RecursionError) as error:
                yield file, line, DataError(file, line, "row", f"must be one JSON object, got {error}")
                continue
            yield file, line, _resolved(row, file.parent)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name}, which JSON does not have")


def _resolved(row: Any, directory: Path) -> Any:
    """Relative image paths are those of ``directory``."""
    if isinstance(row, dict) and isinstance(row.get("images"), list):
        row["images"] = [
            str(directory / image) if isinstance(image, str) else image for image in row["images"]
        ]
    return row


def _parquet_rows(file: Path) -> Iterator[tuple[Path, int, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(file) as source:
            encoded = (source.schema_arrow.metadata or {}).get(JSON_KEY, b"").decode().split(",")
            line = 0
            for batch in source.iter_batches(batch_size=ROW_GROUP):
                for values in batch.to_pylist():
                    line += 1
                    try:
                        yield file, line, _from_columns(values, encoded, file.parent)
                    except ValueError as error:
                        yield (
                            file,
                            line,
                            DataError(file, line, "row", f"must hold JSON in {encoded}, got {error}"),
                        )
    except (pa.ArrowException, OSError) as error:
        raise DataError(file, 0, "file", f"must be readable Parquet, got {error}") from None


def _from_columns(values: dict[str, Any], encoded: list[str], directory: Path) -> dict[str, Any]:
    row = {name: value for name, value in values.items() if value is not None}
    for name in encoded:
        if name in row:
            row[name] = json.loads(row[name])
    if isinstance(row.get("images"), list):
        row["images"] = [_embedded(image) for image in row["images"]]
    return dict(_resolved(row, directory))


def _embedded(image: Any) -> Any:
    """A ``{"bytes", "path"}`` struct is its bytes, or where those are absent its path."""
    if isinstance(image, dict) and set(image) <= {"bytes", "path"}:
        return image["bytes"] if image.get("bytes") is not None else image.get("path")
    return image


def _write_jsonl(samples: Iterable[Sample], temporary: Path) -> int:
    count = 0
    folder = temporary.parent / "images"
    with temporary.open("w", encoding="utf-8", newline="\n") as stream:
        for sample in samples:
            row = to_row(sample)
            if sample.images:
                row["images"] = [_store_image(image, folder) for image in sample.images]
            stream.write(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n")
            count += 1
    return count


def _store_image(source: Any, folder: Path) -> str:
    payload = image_payload(source)
    target = folder / image_name(payload)
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as temporary:
            temporary.write_bytes(payload)
    return f"{folder.name}/{target.name}"


def parquet_schema() -> Any:
    """The Arrow schema of our Parquet files."""
    import pyarrow as pa

    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    size = pa.list_(pa.int64())
    text = pa.string()
    features = {
        **{
            name: {"dtype": "string", "_type": "Value"}
            for name in ("id", "task", "question", *JSON_COLUMNS, "source", "frame")
        },
        "difficulty": {"dtype": "float64", "_type": "Value"},
        "images": {"feature": {"_type": "Image"}, "_type": "List"},
        "options": {"feature": {"dtype": "string", "_type": "Value"}, "_type": "List"},
        "image_size": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
        "resized_size": {"feature": {"dtype": "int64", "_type": "Value"}, "_type": "List"},
    }
    fields = [
        *((name, text) for name in ("id", "task", "source", "question", "answer")),
        ("options", pa.list_(text)),
        ("images", pa.list_(image)),
        ("frame", text),
        *((name, size) for name in ("image_size", "resized_size")),
        ("difficulty", pa.float64()),
        *((name, text) for name in ("messages", "reward", "metadata")),
    ]
    ordered = {name: features[name] for name, _ in fields}
    hub = json.dumps({"info": {"features": ordered}}, separators=(",", ":"))
    return pa.schema(
        fields, metadata={JSON_KEY: ",".join(JSON_COLUMNS).encode(), b"huggingface": hub.encode()}
    )


def to_columns(sample: Sample) -> dict[str, Any]:
    """``sample`` as one row of :func:`parquet_schema`."""
    row = to_row(sample)
    for name in JSON_COLUMNS:
        if name in row:
            row[name] = json.dumps(row[name], ensure_ascii=False, allow_nan=False)
    if sample.images:
        row["images"] = [{"bytes": image_payload(image), "path": None} for image in sample.images]
    return row


def write_parquet(samples: Iterable[Sample], path: Path) -> int:
    """Write one Parquet file in fixed row groups, so that equal rows give equal bytes; returns the count."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = parquet_schema()
    count = 0
    with pq.ParquetWriter(path, schema, compression="zstd", store_schema=True) as writer:
        group: list[dict[str, Any]] = []
        for sample in samples:
            group.append(to_columns(sample))
            if len(group) == ROW_GROUP:
                writer.write_table(pa.Table.from_pylist(group, schema=schema))
                count, group = count + len(group), []
        if group:
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
    return count + len(group)
