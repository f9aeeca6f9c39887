"""Completions as rows of Parquet files: those of a step, and those of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.storage import image_name
from mixed_r1.files import atomic_path
from mixed_r1.images import ImageError, open_image, source_name, thumbnail
from mixed_r1.rewards import RewardBatch
from mixed_r1.rollout import Group
from mixed_r1.run_directory import Column, nullable, score_columns, storable
from mixed_r1.schema import Sample

__all__ = ["CompletionRows", "write_completions"]

SHOWN_SIDE = 1024  # pixels of the longer side of a picture that is copied for a report


class CompletionRows:
    """Makes the rows. ``decode`` makes text of a prompt's tokens; images that are no files of their own are
    copied into the folder ``images``, once each (none: their names alone are kept).
    """

    def __init__(self, decode: Callable[[list[int]], str], images: Path | None) -> None:
        self.decode, self.images = decode, images
        self._shown: dict[tuple[Any, str], str] = {}  # of rows that come again: by split and id

    def __call__(
        self, groups: Sequence[Group], batch: RewardBatch, advantages: np.ndarray | None = None, **shared: Any
    ) -> list[list[dict[str, Any]]]:
        """Per group, one record a completion, its keys those of ``Column``. ``batch`` holds the scores of all
        groups' completions, one after the other; ``shared`` is what all records say.
        """
        rows: list[list[dict[str, Any]]] = []
        n = 0
        for group in groups:
            sample = group.sample
            of_group = {
                **shared,
                Column.SAMPLE_ID: sample.id,
                Column.TASK: sample.task,
                Column.SOURCE: sample.source,
                Column.PROMPT: self.decode(group.prompt.input_ids.tolist()),
            }
            key = (shared.get(Column.SPLIT), sample.id)
            shown = self._shown.get(key) or self._sample_json(sample)
            if advantages is None:
                self._shown[key] = shown
            records = []
            for i, completion in enumerate(group.completions):
                of_step = {} if advantages is None else {Column.ADVANTAGE: nullable(advantages[n])}
                records.append(
                    {
                        **of_group,
                        Column.COMPLETION_INDEX: i,
                        Column.COMPLETION: storable(completion.text),
                        Column.NUM_TOKENS: len(completion),
                        Column.TOTAL: nullable(batch.total[n]),
                        **of_step,
                        Column.SAMPLE: shown,
                        **score_columns(batch.names, batch.values[n], batch.reasons[n]),
                    }
                )
                n += 1
            rows.append(records)
        return rows

    def _sample_json(self, sample: Sample) -> str:
        """The row as JSON, with its images by their paths."""
        paths = tuple(self._image_path(image) for image in sample.images)
        return sample.model_copy(update={"images": paths}).model_dump_json()

    def _image_path(self, image: Any) -> str:
        """Where an image is: its own path, or that of a small copy, from the folder of the run."""
        if isinstance(image, os.PathLike) or (isinstance(image, str) and Path(image).is_file()):
            return str(image)
        folder = self.images
        if folder is None:
            return source_name(image)
        try:
            copy = thumbnail(open_image(image), SHOWN_SIDE)
            target = folder / image_name(copy)
            if not target.is_file():
                folder.mkdir(parents=True, exist_ok=True)
                with atomic_path(target, durable=False) as temporary:
                    temporary.write_bytes(copy)
        except (ImageError, OSError):  # the record matters more than its picture
            return source_name(image)
        return f"{folder.name}/{target.name}"


def write_completions(path: Path, groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """``CompletionRows`` to Parquet, with the number of each group; written whole or not at all."""
    table = pa.Table.from_pylist(
        [{**row, Column.PROMPT_GROUP: g} for g, group in enumerate(groups) for row in group]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)
