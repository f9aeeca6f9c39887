"""Where rows come from. One small file per layout; ``open_source`` finds it by the ``kind`` in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixed_r1.config import ConfigError
from mixed_r1.data.sources.base import ListSource, Partition, RawRow, Source
from mixed_r1.loading import load_object

__all__ = ["KINDS", "ListSource", "Partition", "RawRow", "Source", "open_source", "source_options"]

KINDS = {
    "files": "mixed_r1.data.sources.files:Files",
    "jsonl": "mixed_r1.data.sources.files:Jsonl",
    "parquet": "mixed_r1.data.sources.files:ParquetFiles",
    "hub": "mixed_r1.data.sources.hub:HubDataset",
    "hub_objects": "mixed_r1.data.sources.hub_objects:HubObjects",
    "coco": "mixed_r1.data.sources.coco:Coco",
    "refcoco": "mixed_r1.data.sources.refcoco:RefCoco",
    "chartqa": "mixed_r1.data.sources.chartqa:ChartQa",
    "choice_csv": "mixed_r1.data.sources.choice_csv:ChoiceCsv",
    "captions": "mixed_r1.data.sources.captions:Captions",
    "mini": "mixed_r1.data.sources.mini:Mini",
}


def open_source(kind: str, options: Mapping[str, Any], base: Path) -> Source:
    """The source of ``kind``: a name of KINDS, or ``package.module:ClassName`` of a user's own.

    Options of type Path are taken relative to ``base``, the folder of the recipe.

    Raises:
        ConfigError: an unknown kind, or options that do not fit it.
    """
    found = _source_class(kind)
    values = dict(options)
    for name, field in found.model_fields.items():
        if field.annotation in (Path, Path | None) and values.get(name) is not None:
            values[name] = base / str(values[name])
    return found.from_mapping(values)


def source_options(kind: Any) -> set[str]:
    """The names of the options of a layout; none for a user's own, whose code is loaded when it is opened."""
    return set(_source_class(kind).model_fields) if kind in KINDS else set()


def _source_class(kind: str) -> type[Source]:
    found = load_object(KINDS.get(kind, kind), what="kind", among=KINDS)
    if not (isinstance(found, type) and issubclass(found, Source)):
        raise ConfigError(f"kind must name a Source, got {kind!r}")
    return found
