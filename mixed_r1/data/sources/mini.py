"""The rows of the embedded mini set, drawn as they are read."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from pydantic import Field

from mixed_r1.data.mini import mini_plan, mini_row
from mixed_r1.data.mini_material import SPLITS, Material, load_material
from mixed_r1.data.sources.base import Partition, RawRow, Source

__all__ = ["Mini"]


class Mini(Source):
    """``size`` rows of all splits together, of ``image_size`` pixels; ``metadata.split`` is the split."""

    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal rows."""
    size: int = Field(default=5000, ge=1)
    """Rows of all splits together."""
    image_size: int = Field(default=48, ge=12, multiple_of=3)
    """Side of the images in pixels."""

    def inputs(self) -> list[Path]:
        return []  # the packages that hold the material are pinned by the installation

    @cached_property
    def _material(self) -> dict[str, Material]:
        return load_material(self.seed)

    def partitions(self, rows: int) -> list[Partition]:
        return [
            Partition(split, i, min(i + rows, total), i, min(rows, total - i))
            for split in SPLITS
            for total in [len(mini_plan(split, seed=self.seed, size=self.size))]
            for i in range(0, total, rows)
        ]

    def read(self, partition: Partition) -> Iterator[RawRow]:
        split = partition.file
        plan = mini_plan(split, seed=self.seed, size=self.size)
        for kind, number in plan[partition.start : partition.stop]:
            yield (
                f"{split}-{kind}-{number}",
                mini_row(
                    self._material[split],
                    kind,
                    number,
                    split=split,
                    seed=self.seed,
                    image_size=self.image_size,
                ),
            )
