"""Rows that repeat an earlier one: equal ids, or near-equal images together with a near-equal question.

Being a duplicate is taken as transitive: of a chain of near-equal rows the first one stays.
"""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mixed_r1.data.engine.near import hamming, hamming_bands, mix, runs, signature_bands
from mixed_r1.data.engine.table import Drops, FeatureTable, Ragged
from mixed_r1.data.recipe import Dedup

__all__ = ["components", "find_duplicates"]

# Inside one band's group a row is compared with at most this many rows that differ from each other.
_MAX_REPRESENTATIVES = 512


def find_duplicates(table: FeatureTable, spec: Dedup | None) -> Drops:
    """Rows to drop of all rows of ``table``: repeated ids always, near-equal rows if ``spec`` is given."""
    ids = table.column("id")
    codes = ids.dictionary_encode().indices.to_numpy(zero_copy_only=False)
    _, first = np.unique(codes, return_index=True)
    alive = np.zeros(len(table), dtype=bool)
    alive[first] = True
    dropped = {int(i): ("id", "repeats an id") for i in np.flatnonzero(~alive)}
    if spec is not None:
        for i, kept in _near_duplicates(table, np.flatnonzero(alive), spec):
            dropped[i] = ("duplicate", f"of {ids[kept].as_py()}")
    rows = sorted(dropped)
    return Drops(
        np.asarray(rows, dtype=np.int64), [dropped[i][0] for i in rows], [dropped[i][1] for i in rows]
    )


def _near_duplicates(table: FeatureTable, members: np.ndarray, spec: Dedup) -> list[tuple[int, int]]:
    """(row, the earlier row it repeats)."""
    near = _Near(table, spec)
    edges = []
    for text_key in near.text_keys():
        for image_key in near.image_keys():
            key = mix(text_key[members], image_key[members])
            for group in runs(key, members):
                edges.extend(near.edges(group))
    if not edges:
        return []
    labels = components(len(table), np.asarray(edges, dtype=np.int64))
    _, first, inverse = np.unique(labels, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[inverse] != np.arange(len(table)))
    return [(int(i), int(first[inverse[i]])) for i in repeated]


def components(size: int, edges: np.ndarray) -> np.ndarray:
    """A label per node 0..size-1, equal for connected ones; ``edges`` is [E, 2]."""
    if not len(edges):
        return np.arange(size)
    graph = coo_matrix((np.ones(len(edges), dtype=np.int8), (edges[:, 0], edges[:, 1])), shape=(size, size))
    return connected_components(graph, directed=False)[1]


class _Near:
    """When two rows count as equal, and keys that equal rows share."""

    def __init__(self, table: FeatureTable, spec: Dedup) -> None:
        self._spec = spec
        self._text = table.numbers("text")
        self._signatures = table.signatures() if spec.text_similarity < 1 else None
        self._images: Ragged = table.ragged("images" if spec.image_distance is None else "perceptual")
        self._counts = self._images.counts()

    def text_keys(self) -> list[np.ndarray]:
        if self._signatures is None:
            return [self._text]
        return signature_bands(self._signatures, self._spec.text_similarity)

    def image_keys(self) -> list[np.ndarray]:
        firsts, counts = self._images.firsts(), self._counts.astype(np.uint64)
        distance = self._spec.image_distance
        bands = [firsts] if distance is None else hamming_bands(firsts, distance)
        return [mix(band, counts) for band in bands]

    def edges(self, group: np.ndarray) -> list[tuple[int, int]]:
        """(representative, member) for the members of ``group`` that equal an earlier one of it."""
        representatives: list[int] = []
        found = []
        for i in (int(v) for v in group):
            match = self._match(i, representatives)
            if match is not None:
                found.append((match, i))
            elif len(representatives) < _MAX_REPRESENTATIVES:
                representatives.append(i)
        return found

    def _match(self, i: int, candidates: list[int]) -> int | None:
        if not candidates:
            return None
        others = np.asarray(candidates)
        if self._signatures is None:
            same = self._text[others] == self._text[i]
        else:
            similarity = (self._signatures[others] == self._signatures[i]).mean(axis=1)
            same = similarity >= self._spec.text_similarity
        for j in others[same]:
            if self._counts[i] == self._counts[j] and self._same_images(i, int(j)):
                return int(j)
        return None

    def _same_images(self, i: int, j: int) -> bool:
        mine, theirs = self._images.of(i), self._images.of(j)
        limit = self._spec.image_distance or 0
        return bool((hamming(mine, theirs) <= limit).all())
