"""Rows that share an image with an evaluation set, or a question where neither has an image.

Questions about images are templates: "Is there a red shape?" of another image is another question, so a row
with images is contaminated only where its image is. Shapes are compared in grey, then colours.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mixed_r1.data.engine.features import FeatureWriter, Needs
from mixed_r1.data.engine.near import hamming, hamming_bands, same_colours, signature_bands
from mixed_r1.data.engine.table import Drops, FeatureTable
from mixed_r1.data.loaders import read_samples
from mixed_r1.data.recipe import Contamination
from mixed_r1.data.storage import image_payload
from mixed_r1.files import atomic_path
from mixed_r1.images import ImageError, open_image

__all__ = ["evaluation_features", "find_contaminated"]


class _Match(NamedTuple):
    row: int
    kind: str
    other: int


def evaluation_features(path: Path, stem: Path) -> FeatureTable:
    """Features of the evaluation set ``path``, kept at ``stem``. Rows that cannot be used are left out: no
    evaluation asks them either.

    Raises:
        DataError: the set cannot be read at all.
    """
    file = stem.with_name(stem.name + ".features.parquet")
    if not file.is_file():
        wanted = Needs(perceptual=True, signature=True, group=None, split_field=None)
        with atomic_path(file) as temporary, FeatureWriter(temporary, wanted) as writer:
            for sample in read_samples(path).samples:
                try:
                    payloads = [image_payload(image) for image in sample.images]
                    opened = [open_image(payload) for payload in payloads]
                except ImageError:
                    continue
                writer.add(sample, payloads, opened)
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
    my_colours, their_colours = table.colours(), other.colours()
    bands = zip(
        hamming_bands(mine.values, spec.image_distance),
        hamming_bands(theirs.values, spec.image_distance),
        strict=True,
    )
    for my_key, their_key in bands:
        for a, bs in _joined(my_key, their_key):
            near = bs[hamming(mine.values[a], theirs.values[bs]) <= spec.image_distance]
            near = near[same_colours(my_colours[a][None], their_colours[near])]
            if len(near):
                yield _Match(int(my_rows[a]), "image", int(their_rows[near[0]]))


def _same_texts(table: FeatureTable, other: FeatureTable, spec: Contamination) -> Iterator[_Match]:
    """Long questions without images that are nearly alike and have the same numbers: two sums of one template
    are two questions.
    """
    if spec.text_similarity is None:
        return
    long, their_long = _long_texts(table, spec), _long_texts(other, spec)
    numbers, their_numbers = table.numbers("numbers"), other.numbers("numbers")[their_long]
    theirs = other.signatures(their_long)
    their_keys = signature_bands(theirs, spec.text_similarity)
    for start, part in zip(table.starts, table.signature_parts(), strict=False):
        here = long[(long >= start) & (long < start + len(part))]
        mine = part[here - start]
        for my_key, their_key in zip(signature_bands(mine, spec.text_similarity), their_keys, strict=True):
            for a, bs in _joined(my_key, their_key):
                near = (theirs[bs] == mine[a]).mean(axis=1) >= spec.text_similarity
                near = bs[near & (their_numbers[bs] == numbers[here[a]])]
                if len(near):
                    yield _Match(int(here[a]), "text", int(their_long[near[0]]))


def _long_texts(table: FeatureTable, spec: Contamination) -> np.ndarray:
    """The rows without images whose question has enough words to be told from others."""
    has_none = table.ragged("images").counts() == 0
    return np.flatnonzero((table.numbers("words") >= spec.min_words) & has_none)


def _joined(left: np.ndarray, right: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """(index in ``left``, indices of its equals in ``right``) for every left key that has some."""
    order = np.argsort(right, kind="stable")
    ordered = right[order]
    low, high = np.searchsorted(ordered, left, "left"), np.searchsorted(ordered, left, "right")
    for a in np.flatnonzero(high > low):
        yield int(a), np.sort(order[low[a] : high[a]])
