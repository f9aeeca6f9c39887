"""What a source of rows is: something cut into partitions, each readable by itself on any machine.

A user's own source is a subclass of ListSource: ``records`` lists what there is, ``row`` turns one of them
into the fields of a Sample. A recipe names it ``kind: package.module:ClassName``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from mixed_r1.config import Config
from mixed_r1.opened import Problem

__all__ = ["ListSource", "Partition", "RawRow", "Source", "cut"]


class Partition(NamedTuple):
    """Rows of a source that are read together; what ``start`` and ``stop`` count is the source's business."""

    file: str
    start: int
    stop: int
    first: int  # rows of the file before this partition
    rows: int  # how many there are, at most


def cut(total: int, rows: int) -> list[Partition]:
    """``total`` numbered rows in partitions of ``rows``."""
    return [Partition("", i, min(i + rows, total), i, min(rows, total - i)) for i in range(0, total, rows)]


# Where the row comes from ("rows.jsonl:12"; its id where it brings none), and its fields or what is wrong.
RawRow: TypeAlias = "tuple[str, dict[str, Any] | Problem]"


class Source(Config):
    """Options of a source, and how it is cut and read. Fields of type Path are relative to the recipe."""

    def inputs(self) -> list[Path]:
        """The files whose change makes the rows stale."""
        raise NotImplementedError

    def home(self, place: str) -> Path | None:
        """The folder in which relative image paths of the row at ``place`` start; None: the recipe's."""
        return None

    def partitions(self, rows: int) -> list[Partition]:
        """Cut into partitions of about ``rows`` rows; the same files give the same partitions."""
        raise NotImplementedError

    def read(self, partition: Partition) -> Iterator[RawRow]:
        """The rows of one partition, in order."""
        raise NotImplementedError

    def stored(self, partition: Partition) -> Iterator[RawRow]:
        """The same, with images left where they are, as StoredImage, where the layout allows it."""
        return self.read(partition)


class ListSource(Source):
    """A source whose index fits in memory: annotations, a folder listing, a table."""

    def records(self) -> Sequence[Any]:
        """Everything there is, in a fixed order; one record becomes one row, a Problem a row that is none."""
        raise NotImplementedError

    def row(self, record: Any) -> dict[str, Any]:
        """The fields of a Sample; raise ValueError for a record that is none."""
        raise NotImplementedError

    @cached_property
    def _index(self) -> Sequence[Any]:
        return self.records()

    def partitions(self, rows: int) -> list[Partition]:
        return cut(len(self._index), rows)

    def read(self, partition: Partition) -> Iterator[RawRow]:
        for i in range(partition.start, partition.stop):
            record = self._index[i]
            if isinstance(record, Problem):
                yield str(i), record
                continue
            try:
                yield str(i), self.row(record)
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                yield str(i), Problem("row", f"must be complete, got {type(error).__name__}: {error}")
