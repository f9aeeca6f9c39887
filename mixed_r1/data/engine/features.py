"""What later stages need to know of a row, computed once while its images are open.

Perceptual hashes are imagehash's 64-bit DCT hash, which sees no colour; beside them stands the image in 8 x 8
fields of colour. Text signatures are those of :mod:`.signatures` over the case-folded question and options.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image
from typing_extensions import Self

from mixed_r1.data.engine.signatures import NUM_PERMUTATIONS, text_signatures
from mixed_r1.data.parquet import table_writer
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.stats import short_gold
from mixed_r1.data.storage import hash64
from mixed_r1.schema import CLOSED_TASKS, Sample

__all__ = ["COLOURS", "FeatureWriter", "Needs", "feature_schema", "needs"]

_GROUP = 1024  # rows written together
GRID = 8  # fields of an image, each way, whose colours are kept
COLOURS = 3 * GRID * GRID  # bytes
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*")


class Needs(NamedTuple):
    """Which of the costly features a recipe uses."""

    perceptual: bool
    signature: bool
    group: str | None
    split_field: str | None


def needs(recipe: Recipe) -> Needs:
    dedup, contamination, split = recipe.dedup, recipe.contamination, recipe.split
    distances = [
        dedup.image_distance if dedup else None,
        contamination.image_distance if contamination else None,
        split.image_distance if split.shares else None,
    ]
    similar = (dedup is not None and dedup.text_similarity < 1) or (
        contamination is not None and contamination.text_similarity is not None
    )
    return Needs(any(d is not None for d in distances), similar, split.group, split.field)


def feature_schema() -> pa.Schema:
    hashes, sizes = pa.list_(pa.uint64()), pa.list_(pa.int32())
    return pa.schema(
        [
            *((name, pa.string()) for name in ("id", "task", "source", "split")),
            ("gold", pa.string()),  # where it is a short text
            ("kind", pa.string()),  # metadata.kind
            ("choice", pa.string()),  # where golds are few: those of one choice are evened out
            ("images", hashes),  # of the bytes
            ("perceptual", hashes),  # of shapes in grey
            ("colours", pa.list_(pa.binary(COLOURS))),  # what shapes in grey do not tell apart
            ("text", pa.uint64()),  # of question and options
            ("numbers", pa.uint64()),  # of the numbers in them
            ("answer", pa.uint64()),  # of the gold, whatever it is
            ("words", pa.int32()),
            ("signature", pa.binary(4 * NUM_PERMUTATIONS)),  # uint32, where wanted
            ("groups", hashes),
            ("widths", sizes),
            ("heights", sizes),
            *((name, pa.int32()) for name in ("question_chars", "answer_chars", "num_boxes")),
            ("difficulty", pa.float64()),
        ]
    )


class FeatureWriter:
    """Writes the features of samples to a Parquet file; ``count`` is the number written."""

    def __init__(self, path: Path, wanted: Needs) -> None:
        self._writer = table_writer(path, feature_schema())
        self._wanted = wanted
        self._rows: list[dict[str, Any]] = []
        self._texts: list[str] = []
        self.count = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is None:
            self._flush()
        self._writer.close()

    def add(self, sample: Sample, payloads: Sequence[bytes], opened: Sequence[Image.Image]) -> None:
        """One row, with its images encoded and decoded."""
        text = question_key(sample)
        self._texts.append(text)
        self._rows.append(_feature_row(sample, text, payloads, opened, self._wanted))
        self.count += 1
        if len(self._rows) == _GROUP:
            self._flush()

    def _flush(self) -> None:
        if not self._rows:
            return
        if self._wanted.signature:
            for row, signature in zip(self._rows, text_signatures(self._texts), strict=True):
                row["signature"] = signature.astype("<u4").tobytes()
        self._writer.write_table(pa.Table.from_pylist(self._rows, schema=feature_schema()))
        self._rows, self._texts = [], []


def _feature_row(
    sample: Sample, text: str, payloads: Sequence[bytes], opened: Sequence[Image.Image], wanted: Needs
) -> dict[str, Any]:
    group = sample.metadata.get(wanted.group) if wanted.group else None
    groups = group if isinstance(group, (list, tuple)) else [] if group is None else [group]
    split = sample.metadata.get(wanted.split_field) if wanted.split_field else None
    return {
        "id": sample.id,
        "task": sample.task,
        "source": sample.source,
        "gold": short_gold(sample),
        "kind": None if sample.metadata.get("kind") is None else str(sample.metadata["kind"]),
        "choice": _choice(sample),
        "split": str(split) if split is not None else None,
        "images": [hash64(payload) for payload in payloads],
        "perceptual": [_perceptual(image) for image in opened] if wanted.perceptual else [],
        "colours": [_colours(image) for image in opened] if wanted.perceptual else [],
        "text": hash64(text.encode("utf-8", "surrogatepass")),
        "numbers": hash64(" ".join(sorted(_NUMBER.findall(text))).encode()),
        "answer": hash64(repr((sample.task, sample.answer, sample.frame)).encode("utf-8", "surrogatepass")),
        "words": len(text.split()),
        "groups": [hash64(str(value).encode()) for value in groups],
        "widths": [image.width for image in opened],
        "heights": [image.height for image in opened],
        "question_chars": len(sample.question),
        "answer_chars": len(sample.answer) if isinstance(sample.answer, str) else 0,
        "num_boxes": len(sample.boxes),
        "difficulty": sample.difficulty,
    }


def _choice(sample: Sample) -> str | None:
    if sample.task not in CLOSED_TASKS:
        return None
    kind = sample.metadata.get("kind", "")
    return json.dumps([sample.source, str(kind), sample.task, len(sample.options or ())])


def question_key(sample: Sample) -> str:
    """What is asked: question and options (or the last message), with case and spaces evened."""
    asked = sample.question or str((sample.messages or ({},))[-1].get("content", ""))
    return " ".join(" ".join([asked, *(sample.options or ())]).casefold().split())


def _colours(image: Image.Image) -> bytes:
    """The mean colour of each of 8 x 8 fields: two photos whose shapes are alike in grey differ here."""
    return image.resize((GRID, GRID), Image.Resampling.BOX).tobytes()


def _perceptual(image: Image.Image) -> int:
    try:
        import imagehash
    except ImportError as error:
        raise ImportError("image_distance must have imagehash: pip install 'mixed-r1[data]'") from error
    return int.from_bytes(np.packbits(imagehash.phash(image).hash.ravel()).tobytes(), "big")
