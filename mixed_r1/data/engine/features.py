"""What later stages need to know of a row, computed once while its images are open.

Perceptual hashes are imagehash's 64-bit DCT hash; text signatures are datasketch's MinHash with 64
permutations over 5-character shingles of the case-folded question and options.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from PIL import Image

from mixed_r1.data.recipe import Recipe
from mixed_r1.data.storage import hash64
from mixed_r1.schema import Sample

__all__ = ["NUM_PERMUTATIONS", "Needs", "feature_row", "feature_schema", "needs"]

NUM_PERMUTATIONS = 64
_SHINGLE = 5
_MAX_SHINGLES = 4096


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
            ("images", hashes),  # of the bytes
            ("perceptual", hashes),
            ("text", pa.uint64()),  # of question and options
            ("words", pa.int32()),
            ("signature", pa.binary()),  # NUM_PERMUTATIONS uint32, or empty
            ("groups", hashes),
            ("widths", sizes),
            ("heights", sizes),
            *((name, pa.int32()) for name in ("question_chars", "answer_chars", "num_boxes")),
            ("difficulty", pa.float64()),
        ]
    )


def feature_row(
    sample: Sample, payloads: Sequence[bytes], opened: Sequence[Image.Image], wanted: Needs
) -> dict[str, Any]:
    text = question_key(sample)
    group = sample.metadata.get(wanted.group) if wanted.group else None
    groups = group if isinstance(group, (list, tuple)) else [] if group is None else [group]
    split = sample.metadata.get(wanted.split_field) if wanted.split_field else None
    return {
        "id": sample.id,
        "task": sample.task,
        "source": sample.source,
        "split": str(split) if split is not None else None,
        "images": [hash64(payload) for payload in payloads],
        "perceptual": [_perceptual(image) for image in opened] if wanted.perceptual else [],
        "text": hash64(text.encode()),
        "words": len(text.split()),
        "signature": _signature(text) if wanted.signature else b"",
        "groups": [hash64(str(value).encode()) for value in groups],
        "widths": [image.width for image in opened],
        "heights": [image.height for image in opened],
        "question_chars": len(sample.question),
        "answer_chars": len(sample.answer) if isinstance(sample.answer, str) else 0,
        "num_boxes": len(sample.answer) if sample.task == "grounding" else 0,
        "difficulty": sample.difficulty,
    }


def question_key(sample: Sample) -> str:
    """What is asked: question and options (or the last message), with case and spaces evened."""
    asked = sample.question or str((sample.messages or ({},))[-1].get("content", ""))
    return " ".join(" ".join([asked, *(sample.options or ())]).casefold().split())


def _perceptual(image: Image.Image) -> int:
    try:
        import imagehash
    except ImportError as error:
        raise ImportError("image_distance must have imagehash: pip install 'mixed-r1[data]'") from error
    return int.from_bytes(np.packbits(imagehash.phash(image).hash.ravel()).tobytes(), "big")


@lru_cache(maxsize=65536)  # templates repeat
def _signature(text: str) -> bytes:
    shingles = {text[i : i + _SHINGLE] for i in range(max(1, len(text) - _SHINGLE + 1))}
    minhash = _empty_minhash().copy()
    minhash.update_batch([shingle.encode() for shingle in sorted(shingles)[:_MAX_SHINGLES]])
    return np.asarray(minhash.hashvalues, dtype="<u4").tobytes()


@cache
def _empty_minhash() -> Any:
    try:
        import xxhash
        from datasketch import MinHash
    except ImportError as error:
        raise ImportError(
            "text_similarity must have datasketch and xxhash: pip install 'mixed-r1[data]'"
        ) from error
    return MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme="affine32", hashfunc=xxhash.xxh32_intdigest)
