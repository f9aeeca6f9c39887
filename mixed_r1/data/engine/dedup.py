"""Rows that repeat an earlier one: equal ids, or near-equal images together with a near-equal question, the
same numbers in it and an equal gold.

Two rows with another gold are two rows, however alike they look. Being a duplicate is taken as transitive: of
a chain of near-equal rows the first one stays.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from mixed_r1.data.engine.near import hamming, hamming_bands, mix, same_colours, signature_bands
from mixed_r1.data.engine.signatures import NUM_PERMUTATIONS
from mixed_r1.data.engine.table import Drops, FeatureTable, Ragged
from mixed_r1.data.recipe import Dedup

__all__ = ["components", "find_duplicates"]

# Rows that share a band are a group. In a group of up to _ALL_PAIRS rows all pairs are compared. In a larger
# group at most _MAX_REPRESENTATIVES rows, which differ from each other, are compared with the rest.
_ALL_PAIRS = 8
_MAX_REPRESENTATIVES = 512
_BLOCK = 65536  # pairs compared together


def find_duplicates(table: FeatureTable, spec: Dedup | None) -> Drops:
    """Rows to drop of all rows of ``table``: repeated ids always, near-equal rows if ``spec`` is given."""
    ids = table.column("id")
    _, first, inverse = np.unique(table.ranks(0), return_index=True, return_inverse=True)
    earlier = first[inverse]  # the first row with an equal hash of the id
    repeats = [int(i) for i in np.flatnonzero(earlier < np.arange(len(table))) if ids[i] == ids[earlier[i]]]
    alive = np.ones(len(table), dtype=bool)
    alive[repeats] = False
    dropped = {i: ("id", "repeats an id") for i in repeats}
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
    found = [edges for key in near.keys(members) for edges in near.edges(key, members)]
    if not found:
        return []
    labels = components(len(table), np.concatenate(found))
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
    """Tells when two rows count as equal, and gives keys of which equal rows share one."""

    def __init__(self, table: FeatureTable, spec: Dedup) -> None:
        self._table = table
        self._spec = spec
        self._text = table.numbers("text")
        self._signatures = table.short_signatures() if spec.text_similarity < 1 else None
        self._images: Ragged = table.ragged("images" if spec.image_distance is None else "perceptual")
        self._counts = self._images.counts()
        self._colours = None if spec.image_distance is None else table.colours()
        # What two equal rows have exactly alike.
        self._exact = mix(table.numbers("answer"), table.numbers("numbers"))

    def keys(self, members: np.ndarray) -> Iterator[np.ndarray]:
        """Keys of ``members``: two equal rows share at least one of them."""
        exact = mix(self._exact, self._counts.astype(np.uint64))
        images = [mix(key, exact)[members] for key in self._image_keys()]
        for text in self._text_keys():
            for image in images:
                yield mix(text[members], image)

    def _text_keys(self) -> list[np.ndarray]:
        similarity = self._spec.text_similarity
        if similarity == 1:
            return [self._text]
        keys: list[np.ndarray] = []
        for start, part in zip(self._table.starts, self._table.signature_parts(), strict=False):
            bands = signature_bands(part, similarity)
            keys = keys or [np.empty(len(self._table), dtype=np.uint64) for _ in bands]
            for key, band in zip(keys, bands, strict=True):
                key[start : start + len(part)] = band
        return keys

    def _image_keys(self) -> list[np.ndarray]:
        firsts = self._images.firsts()
        distance = self._spec.image_distance
        return [firsts] if distance is None else hamming_bands(firsts, distance)

    def edges(self, key: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
        """Equal rows [E, 2] among those of ``members`` (ascending) with an equal ``key``."""
        order = np.argsort(key, kind="stable")
        ordered, rows = key[order], members[order]
        starts = np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        lengths = np.diff(np.append(starts, len(rows)))
        small = np.repeat(lengths <= _ALL_PAIRS, lengths)
        for apart in range(1, _ALL_PAIRS):  # all pairs of small groups
            first = np.flatnonzero((ordered[apart:] == ordered[:-apart]) & small[:-apart])
            if not len(first):
                break
            yield from self._equal(rows[first], rows[first + apart])
        for large in np.flatnonzero(lengths > _ALL_PAIRS):
            yield from self._to_representatives(rows[starts[large] :][: lengths[large]])

    def _to_representatives(self, group: np.ndarray) -> Iterator[np.ndarray]:
        """Compare all rows with the first, then those that differ with the first of them, and so on."""
        for _ in range(_MAX_REPRESENTATIVES):
            first, group = group[:1], group[1:]
            found = list(self._equal(np.broadcast_to(first, group.shape), group))
            yield from found
            group = np.setdiff1d(group, np.concatenate([edges[:, 1] for edges in found]))
            if len(group) < 2:
                return

    def _equal(self, a: np.ndarray, b: np.ndarray) -> Iterator[np.ndarray]:
        """The pairs (a_i, b_i) that are equal, [E, 2], a block of pairs at a time."""
        for start in range(0, len(a), _BLOCK):
            x, y = a[start : start + _BLOCK], b[start : start + _BLOCK]
            same = (self._counts[x] == self._counts[y]) & (self._exact[x] == self._exact[y])
            if self._signatures is None:
                same &= self._text[x] == self._text[y]
            else:
                agreeing = np.count_nonzero(self._signatures[x] == self._signatures[y], axis=1)
                same &= agreeing >= self._spec.text_similarity * NUM_PERMUTATIONS
            x, y = x[same], y[same]
            near = self._same_images(x, y)
            yield np.stack([x[near], y[near]], axis=1)

    def _same_images(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Whether rows with as many images each have the same ones in the same places."""
        same = np.ones(len(x), dtype=bool)
        offsets, values = self._images.offsets, self._images.values
        limit = self._spec.image_distance or 0
        for place in range(int(self._counts[x].max(initial=0))):
            has = np.flatnonzero(self._counts[x] > place)
            mine, theirs = offsets[x[has]] + place, offsets[y[has]] + place
            same[has] &= hamming(values[mine], values[theirs]) <= limit
            if self._colours is not None:
                same[has] &= same_colours(self._colours[mine], self._colours[theirs])
        return same
