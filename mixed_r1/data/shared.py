"""Rows that two files share: the same question about the same images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from mixed_r1.chat import chat_messages
from mixed_r1.data.storage import hash64
from mixed_r1.images import ImageError, image_bytes
from mixed_r1.schema import Sample

__all__ = ["asked_text", "shared_rows"]


def shared_rows(train: Iterable[Sample], held: Sequence[Sample]) -> Iterator[tuple[Sample, Sample]]:
    """Each row of ``held`` that ``train`` has too, with the first such row of ``train``.

    Texts are compared without regard to case and spaces, images by their bytes. Only images of rows whose
    texts are equal are read.
    """
    by_text: dict[Any, list[Sample]] = {}
    for sample in held:
        by_text.setdefault(_text_key(sample), []).append(sample)
    found: dict[int, tuple[Sample, Sample]] = {}
    images: dict[int, Any] = {}
    for sample in train:
        for other in by_text.get(_text_key(sample), ()):
            if id(other) in found:
                continue
            if id(other) not in images:
                images[id(other)] = _image_key(other)
            if images[id(other)] is not None and images[id(other)] == _image_key(sample):
                found[id(other)] = (other, sample)
    yield from found.values()


def asked_text(sample: Sample) -> str:
    """What a row asks, without its options, case and spaces evened; the row's own texts where it cannot be
    asked.
    """
    try:
        messages = chat_messages(sample.model_copy(update={"options": None}))
    except ValueError:
        return " ".join(str(sample.messages or sample.question).casefold().split())
    parts = (part.get("text", "") for message in messages for part in message["content"])
    return " ".join(" ".join(parts).casefold().split())


def _text_key(sample: Sample) -> Any:
    return asked_text(sample), sample.options, len(sample.images)


def _image_key(sample: Sample) -> tuple[int, ...] | None:
    try:
        return tuple(hash64(image_bytes(image)) for image in sample.images)
    except ImageError:
        return None
