"""What a set of rows is read from, and how: the same settings in a training run and in a recipe."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator
from typing_extensions import Self

from mixed_r1.config import Config, ConfigError
from mixed_r1.data.sources import source_options

__all__ = ["Name", "SourceSpec"]

Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]


class SourceSpec(Config):
    """One source, and how its columns become a sample's fields.

    ``kind`` is a layout (see ``mixed_r1.data.sources``); ``files`` reads JSONL, JSON, CSV, TSV, Parquet and
    saved ``datasets`` by their names. ``options`` are those of the kind; they may also stand beside the
    other keys: ``{kind: coco, annotations: boxes.json, images: photos}``.

    ``columns`` maps a sample's field to a column: a path with dots ("reward_model.answer", "label.0"), a text
    with {column} in it, or a list of columns (images, options). "image?" may be missing from a row. Columns
    that it does not name are taken by their own names, where these are known. ``fields`` is the same map, and
    takes no column beside those it names. ``convert`` names what is done to a field after that, in the order
    given; ``task`` and ``constants`` are set last. ``image_folder`` is where relative image paths start, if
    not beside the file that names them.
    """

    name: Name = Field("data", examples=["charts"])
    """Of the source, in mixtures and reports."""
    kind: str = Field("files", examples=["coco"])
    """The layout; files: JSONL, JSON, CSV, TSV, Parquet and saved data sets, by their names."""
    options: dict[str, Any] = Field({}, examples=["{path: rows.csv}"])
    """Settings of the kind; they may also stand beside the other keys."""
    columns: dict[str, str | tuple[str, ...]] = Field({}, examples=["{answer: label, images: picture}"])
    """Which column each field of a row is, ours: theirs."""
    fields: dict[str, str | tuple[str, ...]] = Field({}, examples=["{question: prompt, answer: label}"])
    """The same, and no column beside those that it names."""
    convert: dict[str, str | tuple[str, ...]] = Field({}, examples=["{answer: index_to_letter}"])
    """What is done to a field after it is read: names of conversions."""
    task: str | None = Field(None, examples=["chart"])
    """The task of every row."""
    constants: dict[str, Any] = Field({}, examples=["{system_prompt: Answer in one word.}"])
    """Fields that are the same in every row."""
    image_folder: Path | None = Field(None, examples=["photos"])
    """Where relative image paths start; none: beside the file that names them."""
    limit: int | None = Field(default=None, ge=1, examples=[1000])
    """Rows that are read, at most."""

    @model_validator(mode="before")
    @classmethod
    def _options_beside(cls, values: Any) -> Any:
        return _flat(values) if isinstance(values, Mapping) else values

    @model_validator(mode="after")
    def _check(self) -> SourceSpec:
        if self.columns and self.fields:
            raise ValueError("columns must be left out where fields are given, got both")
        return self

    @classmethod
    def from_mapping(cls, values: Mapping[str, Any]) -> Self:
        try:
            flat = _flat(values)
        except ValueError as error:
            raise ConfigError(str(error)) from None
        return super().from_mapping(flat)

    @classmethod
    def of(cls, given: str | os.PathLike[str] | Mapping[str, Any] | SourceSpec) -> SourceSpec:
        """The settings of what is given: themselves, their mapping, or the path of files."""
        if isinstance(given, SourceSpec):
            return given
        if isinstance(given, Mapping):
            return cls.from_mapping(given)
        return cls(options={"path": os.fspath(given)})


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Options of the kind that stand beside the other keys, moved into ``options``."""
    found = dict(values)
    names = source_options(found.get("kind", "files")) - set(SourceSpec.model_fields)
    beside = {key: found.pop(key) for key in list(found) if key in names}
    if beside:
        found["options"] = {**beside, **(found.get("options") or {})}
    return found
