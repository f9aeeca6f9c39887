"""Samples on disk: read from any file or source, written as JSONL (images beside it) or Parquet (embedded).

A JSONL row is the Sample's fields as one JSON object per line; image paths are relative to the file's
directory. The Parquet layout is that of :mod:`mixed_r1.data.parquet`.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from mixed_r1.data.checks import check_sample
from mixed_r1.data.reading import DataError, Given, ReadRow, data_error, read_rows
from mixed_r1.data.remedies import remedy
from mixed_r1.data.sources import Source, open_source
from mixed_r1.data.spec import SourceSpec
from mixed_r1.data.storage import image_name, image_payload, to_row
from mixed_r1.files import atomic_path
from mixed_r1.opened import Problem
from mixed_r1.schema import Sample

__all__ = [
    "DataError",
    "Loaded",
    "check_samples",
    "iter_samples",
    "load_samples",
    "read_samples",
    "save_samples",
]

PathLike: TypeAlias = "str | os.PathLike[str]"


class Loaded(NamedTuple):
    """Rows for a run: those that can be used, what is wrong with the others, and which columns no row of ours
    has a use for (each with the number of rows that have it). Ids differ.
    """

    samples: list[Sample]
    problems: list[DataError]
    ignored: dict[str, int]
    renamed: int = 0  # rows that repeat an id: their place was added to it


def load_samples(given: Given) -> list[Sample]:
    """All rows of ``given``, a path (see ``mixed_r1.data.sources.files.data_files``) or a source's settings.

    Raises:
        DataError: the first row that breaks a rule, or that repeats an earlier id.
    """
    source, rows = _opened(given)
    samples = []
    seen: dict[str, str] = {}
    for row in rows:
        sample = _usable(source, row)
        if (repeated := _repeats(seen, sample.id, row.place)) is not None:
            raise data_error(source, row.place, repeated)
        samples.append(sample)
    return samples


def iter_samples(given: Given) -> Iterator[Sample]:
    """Stream the rows of ``given`` in constant memory; ids are not compared across rows.

    Raises:
        DataError: at the first row that breaks a rule.
    """
    source, rows = _opened(given)
    for row in rows:
        yield _usable(source, row)


def read_samples(given: Given, base: PathLike = Path()) -> Loaded:
    """The rows of ``given`` for a run: bad ones are left out and told, images stay on disk where they can.

    Relative paths of ``given`` are those of ``base``.

    Raises:
        DataError: a file that is not there or cannot be read, or one without a row that can be used.
    """
    source, rows = _opened(given, Path(base), stored=True)
    samples, problems = [], []
    ignored: Counter[str] = Counter()
    renamed = 0
    seen: dict[str, str] = {}
    for row in rows:
        ignored.update(row.ignored)
        if row.sample is None:
            problems.append(data_error(source, row.place, row.problems[0]))
            continue
        sample = row.sample
        if _repeats(seen, sample.id, row.place) is not None:  # sets with a row for each question have these
            sample = sample.model_copy(update={"id": f"{sample.id} ({row.place})"})
            renamed += 1
        samples.append(sample)
    if not samples:
        raise problems[0] if problems else DataError(_name(source), 0, "file", "must hold at least one row")
    return Loaded(samples, problems, dict(ignored), renamed)


def check_samples(
    given: Given,
    *,
    look: Callable[[Sample], Sequence[Problem]] = check_sample,
    judge: Callable[[Sample], Sequence[Problem]] | None = None,
) -> list[DataError]:
    """Every problem of ``given``: what training would leave out, and repeated ids. Each says what would mend
    it.

    ``look`` opens a row and says what is wrong with it; ``judge`` is asked about the rows without fault.
    """
    problems: list[DataError] = []
    seen: dict[str, str] = {}
    count = 0
    try:
        source, rows = _opened(given, stored=True)
        for row in rows:
            count += 1
            broken = list(row.problems)
            if row.sample is not None:
                if (repeated := _repeats(seen, row.sample.id, row.place)) is not None:
                    broken.append(repeated)
                broken += look(row.sample)
                if not broken and judge is not None:
                    broken += judge(row.sample)
            for field, rule in broken:
                mended = remedy(field, rule, row.fields)
                rule = f"{rule}; {mended}" if mended else rule
                problems.append(data_error(source, row.place, Problem(field, rule)))
        if count == 0:
            problems.append(DataError(_name(source), 0, "file", "must hold at least one row"))
    except DataError as error:  # the file itself
        problems.append(error)
    return problems


def _opened(given: Given, base: Path = Path(), *, stored: bool = False) -> tuple[Source, Iterator[ReadRow]]:
    spec = SourceSpec.of(given)
    source = open_source(spec.kind, spec.options, base)
    return source, read_rows(spec, source, base, stored=stored)


def _usable(source: Source, row: ReadRow) -> Sample:
    if row.sample is None:
        raise data_error(source, row.place, row.problems[0])
    return row.sample


def _repeats(seen: dict[str, str], name: str, place: str) -> Problem | None:
    first = seen.setdefault(name, place)
    return None if first == place else Problem("id", f"must be unique, got {name!r} again (first at {first})")


def _name(source: Source) -> str:
    return str(getattr(source, "path", None) or type(source).__name__)


def save_samples(samples: Iterable[Sample], path: PathLike) -> int:
    """Write ``samples`` to a .jsonl or .parquet file, atomically; returns the number of rows.

    JSONL puts the images into ``images/`` beside the file, named by their content's SHA-256; Parquet embeds
    them. Encoded images (bytes or paths) are written byte for byte, but for photos that have to be turned;
    these and PIL images become PNG. What is read back equals what was written, apart from how an image is
    held (path, bytes or PIL).

    Raises:
        ValueError: another suffix, or metadata that JSON cannot hold.
        ImageError: an image path that cannot be read.
    """
    target = Path(path)
    if target.suffix not in (".jsonl", ".parquet"):
        raise ValueError(f"path must end in .jsonl or .parquet, got {os.fspath(path)!r}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(target) as temporary:
        return (_write_jsonl if target.suffix == ".jsonl" else _write_parquet)(samples, temporary)


def _write_parquet(samples: Iterable[Sample], temporary: Path) -> int:
    from mixed_r1.data.parquet import SampleWriter

    with SampleWriter(temporary) as writer:
        for sample in samples:
            writer.add(sample)
    return writer.count


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


def _store_image(source: object, folder: Path) -> str:
    payload = image_payload(source)
    target = folder / image_name(payload)
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        # Thousands of small files: syncing each would take minutes, and a lost one is noticed when opened.
        with atomic_path(target, durable=False) as temporary:
            temporary.write_bytes(payload)
    return f"{folder.name}/{target.name}"
