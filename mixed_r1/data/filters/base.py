"""What a filter is: settings, and a rule that says why a row is dropped."""

from __future__ import annotations

from typing import NamedTuple

from pydantic import Field

from mixed_r1.config import Config
from mixed_r1.schema import Sample
from mixed_r1.tasks import TaskName

__all__ = ["Filter", "Row"]


class Row(NamedTuple):
    """A checked row: boxes in pixels, and the (width, height) of each image."""

    sample: Sample
    sizes: list[tuple[int, int]]


class Filter(Config):
    """A rule for the rows of ``tasks`` and ``sources`` (None: of all).

    A user's own filter is a subclass with its settings as fields, named ``package.module:ClassName`` in a
    recipe.
    """

    name: str = Field(examples=["answer_length"])
    """The filter: a name of this list, or package.module:ClassName of your own."""
    tasks: tuple[TaskName, ...] | None = Field(None, examples=["[chart, math]"])
    """Tasks whose rows it sees; none: all."""
    sources: tuple[str, ...] | None = Field(None, examples=["[coco]"])
    """Sources whose rows it sees, by name; none: all."""

    def applies(self, sample: Sample) -> bool:
        return (self.tasks is None or sample.task in self.tasks) and (
            self.sources is None or sample.source in self.sources
        )

    def reason(self, row: Row) -> str | None:
        """Why ``row`` is dropped, or None to keep it."""
        raise NotImplementedError
