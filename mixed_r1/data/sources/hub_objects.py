"""Detection sets in the layout of Hugging Face ``datasets``: an image, and a column of its objects."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Any, Literal

from pydantic import Field

from mixed_r1.data.sources.base import Partition, RawRow, cut
from mixed_r1.data.sources.coco import Mode, objects_row
from mixed_r1.data.sources.hub import HubDataset
from mixed_r1.opened import Problem

__all__ = ["HubObjects"]

_BLOCK = 1024  # images whose objects are read together


class HubObjects(HubDataset):
    """One row per image and category, as ``coco`` makes them, from a data set named as for ``hub``.

    ``objects`` is a column of structs of lists, or of lists of structs, with ``boxes`` and ``categories``.
    Categories are texts, numbers of the column's ClassLabel, or numbers of ``names``.
    """

    mode: Mode = "detection"
    """detection: all boxes of a category; grounding: of one object; counting: how many there are."""
    image: str = "image"
    """Column of the image."""
    objects: str = "objects"
    """Column of the objects."""
    boxes: str = "bbox"
    """Key of the boxes in an object."""
    categories: str = "category"
    """Key of the categories in an object."""
    names: tuple[str, ...] | None = Field(None, examples=["[cat, dog]"])
    """Names of the numbers of categories; none: those of the column."""
    box_format: Literal["xywh", "xyxy"] = "xywh"
    """xywh: corner, width and height; xyxy: two corners; pixels."""
    question: str | None = Field(None, examples=["Where is the {name}?"])
    """What every row asks, {name} being the category; none: as the mode has it."""

    @cached_property
    def _index(self) -> list[tuple[int, str, list[Any] | Problem]]:
        """(image, category, its boxes or what is wrong with them); only the objects are read."""
        names = self.names or _class_names(self._data.features[self.objects], self.categories)
        found: list[tuple[int, str, list[Any] | Problem]] = []
        for i, objects in enumerate(self._all_objects()):
            groups: dict[str, list[Any]] = {}
            try:
                for category, box in self._pairs(objects):
                    name = names[category] if names and isinstance(category, int) else str(category)
                    groups.setdefault(name, []).append(box)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                rule = f"must hold {self.boxes} and {self.categories} of equal length, got {error}"
                found.append((i, "", Problem(self.objects, rule)))
                continue
            found.extend((i, name, boxes) for name, boxes in sorted(groups.items()))
        single = self.mode == "grounding"
        return [item for item in found if not single or isinstance(item[2], Problem) or len(item[2]) == 1]

    def _all_objects(self) -> Iterator[Any]:
        data = self._data.select_columns([self.objects])
        for start in range(0, len(data), _BLOCK):
            yield from data[start : start + _BLOCK].column(0).to_pylist()

    def _pairs(self, objects: Any) -> Iterator[tuple[Any, Any]]:
        if isinstance(objects, dict):
            yield from zip(objects[self.categories], objects[self.boxes], strict=True)
        else:
            yield from ((item[self.categories], item[self.boxes]) for item in objects or ())

    def partitions(self, rows: int) -> list[Partition]:
        return cut(len(self._index), rows)

    def read(self, partition: Partition) -> Iterator[RawRow]:
        last, picture = -1, None
        for i, name, boxes in self._index[partition.start : partition.stop]:
            if i != last:
                last, picture = i, self._data[i : i + 1][self.image][0].as_py()
            place = f"{i}-{name}"
            if isinstance(boxes, Problem):
                yield place, boxes
                continue
            try:
                corners = [tuple(box) if self.box_format == "xyxy" else _corners(*box) for box in boxes]
                yield place, objects_row(place, self.mode, self.question, name, picture, corners)
            except (TypeError, ValueError) as error:
                yield place, Problem(self.objects, f"must hold boxes of four numbers, got {error}")


def _corners(x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
    return x, y, x + width, y + height


def _class_names(feature: Any, field: str) -> list[str] | None:
    """The names of the ClassLabel ``field`` somewhere below ``feature``."""
    inner = getattr(feature, "feature", feature)
    inner = inner.get(field) if isinstance(inner, dict) else None
    inner = getattr(inner, "feature", inner)
    return getattr(inner, "names", None)
