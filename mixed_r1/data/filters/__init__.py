"""Rules that drop rows. ``open_filter`` finds one by the ``name`` in a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mixed_r1.config import ConfigError
from mixed_r1.data.filters.answers import AnswerForm, AnswerLength, Options
from mixed_r1.data.filters.base import Filter, Row
from mixed_r1.data.filters.boxes import Boxes
from mixed_r1.data.filters.images import ImageCount, ImageSize
from mixed_r1.data.filters.text import Language, QuestionLength
from mixed_r1.loading import load_object

__all__ = ["FILTERS", "Filter", "Row", "open_filter"]

FILTERS: dict[str, type[Filter]] = {
    "answer_length": AnswerLength,
    "answer_form": AnswerForm,
    "options": Options,
    "image_count": ImageCount,
    "image_size": ImageSize,
    "boxes": Boxes,
    "question_length": QuestionLength,
    "language": Language,
}


def open_filter(settings: Mapping[str, Any]) -> Filter:
    """The filter of ``settings["name"]``: a key of FILTERS, or ``package.module:ClassName`` of a user's own.

    Raises:
        ConfigError: an unknown name, or settings that do not fit it.
    """
    name = settings.get("name")
    found: Any = FILTERS.get(str(name))
    if found is None:
        found = load_object(str(name), what="filter name", among=FILTERS)
        if not (isinstance(found, type) and issubclass(found, Filter)):
            raise ConfigError(f"filter name must name a Filter, got {name!r}")
    return found.from_mapping(settings)
