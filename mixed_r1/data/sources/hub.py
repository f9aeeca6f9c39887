"""Hugging Face ``datasets``: by hub id, or saved to disk with ``save_to_disk``."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import Field

from mixed_r1.data.arrow import plain_rows
from mixed_r1.data.sources.base import Partition, RawRow, Source, cut

__all__ = ["HubDataset"]


class HubDataset(Source):
    """``id`` (with ``config``, ``split``, ``revision``) on the hub, or ``path`` of a saved dataset.

    Columns keep their names: the recipe's ``fields`` map them to a sample's. Pin ``revision`` to a commit,
    so that a build can be repeated. Loading scripts are never run.
    """

    id: str | None = Field(None, examples=["HuggingFaceM4/ChartQA"])
    """The data set on the hub."""
    path: Path | None = Field(None, examples=["saved/chartqa"])
    """A data set saved with save_to_disk, in place of ``id``."""
    config: str | None = Field(None, examples=["default"])
    """The configuration of the data set."""
    split: str | None = Field(None, examples=["train"])
    """The split; none: the only one, or train."""
    revision: str | None = Field(None, examples=["0123456789abcdef0123456789abcdef01234567"])
    """The commit of the data set."""

    def inputs(self) -> list[Path]:
        return sorted(self.path.rglob("*.arrow")) if self.path is not None else []

    @cached_property
    def _data(self) -> Any:
        import datasets

        if (self.id is None) == (self.path is None):
            raise ValueError(f"id or path must be given, and not both, got id={self.id!r}, path={self.path}")
        if self.path is not None:
            data = datasets.load_from_disk(str(self.path))
            if isinstance(data, datasets.DatasetDict):
                if self.split not in data:
                    raise ValueError(f"split must be one of {sorted(data)}, got {self.split!r}")
                data = data[self.split]
        else:
            data = datasets.load_dataset(
                self.id, self.config, split=self.split or "train", revision=self.revision
            )
        return data.with_format("arrow")  # images as their stored bytes, not decoded

    def partitions(self, rows: int) -> list[Partition]:
        return cut(len(self._data), rows)

    def read(self, partition: Partition) -> Iterator[RawRow]:
        table = self._data[partition.start : partition.stop]
        rows = plain_rows(table, self._data.features.to_dict())
        for i, row in enumerate(rows, start=partition.start):
            yield str(i), row
