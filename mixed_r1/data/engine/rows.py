"""The row stages, partition by partition: source -> normalise -> check -> filter.

A partition becomes ``<stem>.parquet`` (rows, images embedded), ``<stem>.features.parquet``,
``<stem>.rejects.jsonl`` and last ``<stem>.json`` (counts): the partition is done if and only if that file
exists.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image

from mixed_r1.chat import chat_messages
from mixed_r1.data.engine.features import FeatureWriter, Needs
from mixed_r1.data.engine.fields import normalised
from mixed_r1.data.filters import Filter, Row
from mixed_r1.data.parquet import SampleWriter
from mixed_r1.data.reading import parse_row, read_fields
from mixed_r1.data.recipe import Recipe, SourceSpec
from mixed_r1.data.sources import Partition, Source, open_source
from mixed_r1.data.storage import image_payload
from mixed_r1.files import atomic_path
from mixed_r1.frames import convert
from mixed_r1.images import ImageError, image_bytes
from mixed_r1.opened import OpenedRow, Problem, RowError, open_row
from mixed_r1.schema import Sample
from mixed_r1.tasks import load_tasks

__all__ = ["Reject", "RowsJob", "forget_sources", "run_partition"]


class Reject(NamedTuple):
    """A dropped row: which stage dropped it, why, and where it came from."""

    stage: str
    reason: str
    detail: str
    origin: str
    place: str
    id: str = ""


class Kept(NamedTuple):
    """A row that passed, with its images encoded and decoded."""

    sample: Sample
    payloads: list[bytes]
    opened: list[Image.Image]


@dataclass(frozen=True)
class RowsJob:
    """One partition to be done: plain values that travel to another process or machine."""

    recipe: Recipe
    source: int
    partition: Partition
    limit: int | None
    wanted: Needs
    stem: str


def run_partition(job: RowsJob) -> dict[str, Any]:
    """Write the files of one partition; returns rows read, rows kept, and rejects by "stage: reason"."""
    load_tasks(job.recipe.custom_tasks)  # in another process or machine they are not known yet
    stem = Path(job.stem)
    spec = job.recipe.sources[job.source]
    counts: Counter[str] = Counter()
    with ExitStack() as stack:
        paths = [
            stack.enter_context(atomic_path(stem.with_name(stem.name + suffix)))
            for suffix in (".parquet", ".rejects.jsonl", ".features.parquet")
        ]
        writer = stack.enter_context(SampleWriter(paths[0]))
        features = stack.enter_context(FeatureWriter(paths[2], job.wanted))
        # JSON knows the escape of what UTF-8 cannot hold, half of a surrogate pair.
        rejects = stack.enter_context(
            paths[1].open("w", encoding="utf-8", newline="\n", errors="backslashreplace")
        )
        for outcome in _outcomes(job, spec):
            counts["read"] += 1
            if isinstance(outcome, Kept):
                try:
                    writer.add(outcome.sample)
                except ValueError as error:
                    field = str(error).split(" ", 1)[0]
                    outcome = Reject("normalise", field, str(error), spec.name, "", outcome.sample.id)
                else:
                    features.add(*outcome)
            if isinstance(outcome, Reject):
                counts[f"{outcome.stage}: {outcome.reason}"] += 1
                rejects.write(json.dumps(outcome._asdict(), ensure_ascii=False) + "\n")
    result = {"kept": writer.count, **{name: counts[name] for name in sorted(counts)}}
    with atomic_path(stem.with_name(stem.name + ".json")) as temporary:
        temporary.write_text(json.dumps(result))
    return result


def _outcomes(job: RowsJob, spec: SourceSpec) -> Iterator[Kept | Reject]:
    source, base = _source(spec, job.recipe.base), job.recipe.base
    for number, (place, raw) in enumerate(source.read(job.partition)):
        if job.limit is not None and number >= job.limit:
            return
        home = base / spec.image_folder if spec.image_folder is not None else source.home(place) or base
        yield _outcome(job, spec, place, raw, home)


@lru_cache(maxsize=4)
def _opened(spec_json: str, base: Path) -> Source:
    spec = SourceSpec(**json.loads(spec_json))
    return open_source(spec.kind, spec.options, base)


def forget_sources() -> None:
    """Open sources anew: their files may have changed since the last build of this process."""
    _opened.cache_clear()


def _source(spec: SourceSpec, base: Path) -> Source:
    """The source, opened once per process: its index may be large."""
    return _opened(spec.model_dump_json(), base)


def _outcome(
    job: RowsJob, spec: SourceSpec, place: str, raw: dict[str, Any] | Problem, home: Path
) -> Kept | Reject:
    def reject(stage: str, reason: str, detail: object, name: str = "") -> Reject:
        text = str(detail).replace(f"{job.recipe.base}/", "")  # the same wherever the recipe lies
        return Reject(stage, reason, text, spec.name, place, name)

    if isinstance(raw, Problem):
        return reject("source", raw.field, raw.rule)
    try:
        fields = normalised(read_fields(raw, spec, home)[0])
    except ValueError as error:
        return reject("normalise", "fields", error)
    fields["id"] = f"{spec.name}/{fields.get('id', place)}"
    fields.setdefault("source", spec.name)
    sample, problems = parse_row(fields)
    if sample is None:
        return reject("normalise", problems[0].field, problems[0].rule, fields["id"])
    recipe = job.recipe
    try:
        # Once from disk: what is opened, hashed and written is the same.
        sources = tuple(image_bytes(image) for image in sample.images)
        stored = sample.model_copy(update={"images": sources}) if sources else sample
        row = open_row(stored, max_pixels=recipe.max_pixels, clip_boxes=recipe.clip_boxes)
        chat_messages(sample)
    except ImageError as error:
        return reject("check", "image", error, sample.id)
    except RowError as error:
        field, rule = error.problems[0]
        return reject("check", "image" if field.startswith("images") else field, rule, sample.id)
    except ValueError as error:
        return reject("check", "messages", error, sample.id)
    payloads = [image_payload(image) for image in sources]
    sample = _with_pixels(row, payloads)
    rejected = _filtered(recipe.filters, Row(sample, [image.size for image in row.images]))
    if rejected is not None:
        return reject("filter", *rejected, sample.id)
    return Kept(sample, payloads, row.images)


def _with_pixels(row: OpenedRow, payloads: list[bytes]) -> Sample:
    """Images as bytes, their size where there is one, boxes in its pixels."""
    sample = row.sample
    update: dict[str, Any] = {"images": tuple(payloads)} if payloads else {}
    if len(row.images) == 1 and sample.image_size is None:
        update["image_size"] = row.images[0].size
    size = update.get("image_size", sample.image_size)
    if sample.boxes and sample.frame != "pixels" and size is not None:
        update["answer"] = tuple(convert(box, sample.frame, "pixels", size) for box in sample.boxes)
        update["frame"] = "pixels"
    return sample.model_copy(update=update) if update else sample


def _filtered(filters: tuple[Filter, ...], row: Row) -> tuple[str, str] | None:
    """(name, detail) of the first filter that drops ``row``."""
    for rule in filters:
        if rule.applies(row.sample):
            detail = rule.reason(row)
            if detail is not None:
                return rule.name, detail
    return None
