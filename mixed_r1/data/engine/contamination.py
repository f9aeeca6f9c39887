"""Rows that share an image or a question with an evaluation set."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixed_r1.data.engine.features import FeatureWriter, Needs
from mixed_r1.data.engine.near import hamming, hamming_bands, signature_bands
from mixed_r1.data.engine.table import Drops, FeatureTable
from mixed_r1.data.loaders import iter_samples
from mixed_r1.data.recipe import Contamination
from mixed_r1.data.storage import image_payload
from mixed_r1.files import atomic_path
from mixed_r1.images import open_image

__all__ = ["evaluation_features", "find_contaminated"]


class _Match(NamedTuple):
    row: int
    kind: str
    other: int


def evaluation_features(path: Path, stem: Path) -> FeatureTable:
    """Features of the evaluation set ``path``, kept at ``stem``.

    Raises:
        DataError or ImageError: a row of the evaluation set that cannot be used.
    """
    file = stem.with_name(stem.name + ".features.parquet")
    if not file.is_file():
        wanted = Needs(perceptual=True, signature=True, group=None, split_field=None)
        with atomic_path(file) as temporary, FeatureWriter(temporary, wanted) as writer:
            for sample in iter_samples(path):
                payloads = [image_payload(image) for image in sample.images]
                writer.add(sample, payloads, [open_image(payload) for payload in payloads])
    return FeatureTable.of_file(stem)


def find_contaminated(
    table: FeatureTable, alive: np.ndarray, evaluations: dict[str, FeatureTable], spec: Contamination
) -> Drops:
    """Living rows of ``table`` that match a row of ``evaluations`` (name -> features)."""
    found: dict[int, tuple[str, str]] = {}
    for name, other in evaluations.items():
        ids = other.column("id").to_pylist()
        for match in (*_same_images(table, other, spec), *_same_texts(table, other, spec)):
            if alive[match.row]:
                found.setdefault(match.row, (f"contaminated {match.kind}", f"{name}: {ids[match.other]}"))
    rows = sorted(found)
    return Drops(np.asarray(rows, dtype=np.int64), [found[i][0] for i in rows], [found[i][1] for i in rows])


def _same_images(table: FeatureTable, other: FeatureTable, spec: Contamination) -> Iterator[_Match]:
    if spec.image_distance is None:
        return
    mine, theirs = table.ragged("perceptual"), other.ragged("perceptual")
    my_rows, their_rows = mine.owners(), theirs.owners()
    bands = zip(
        hamming_bands(mine.values, spec.image_distance),
        hamming_bands(theirs.values, spec.image_distance),
        strict=True,
    )
    for my_key, their_key in bands:
        for a, bs in _joined(my_key, their_key):
            near = bs[hamming(mine.values[a], theirs.values[bs]) <= spec.image_distance]
            if len(near):
                yield _Match(int(my_rows[a]), "image", int(their_rows[near[0]]))


def _same_texts(table: FeatureTable, other: FeatureTable, spec: Contamination) -> Iterator[_Match]:
    if spec.text_similarity is None:
        return
    long = np.flatnonzero(table.numbers("words") >= spec.min_words)
    their_long = np.flatnonzero(other.numbers("words") >= spec.min_words)
    theirs = other.signatures(their_long)
    their_keys = signature_bands(theirs, spec.text_similarity)
    for start, part in zip(table.starts, table.signature_parts(), strict=False):
        here = long[(long >= start) & (long < start + len(part))]
        mine = part[here - start]
        for my_key, their_key in zip(signature_bands(mine, spec.text_similarity), their_keys, strict=True):
            for a, bs in _joined(my_key, their_key):
                near = bs[(theirs[bs] == mine[a]).mean(axis=1) >= spec.text_similarity]
                if len(near):
                    yield _Match(int(here[a]), "text", int(their_long[near[0]]))


def _joined(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(index in ``left``, indices of its equals in ``right``) for every left key that has some."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low, high = np.searchsorted(ordered, left, "left"), np.searchsorted(ordered, left, "right")
    for a in np.flatnonzero(high > low):
        yield int(a), np.sort(order[low[a] : high[a]])
