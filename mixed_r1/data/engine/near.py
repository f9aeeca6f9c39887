"""Pairs that are near each other, without comparing all pairs: bands of hashes and signatures.

Hamming distance at most d: of d + 1 bands of the 64 bits one must be equal (pigeonhole), so no pair is
missed. Jaccard similarity at least t: bands of r MinHash values, r the largest that finds a pair at t with
probability 0.99 or more: 1 - (1 - t^r)^(64 / r).
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mixed_r1.data.engine.signatures import NUM_PERMUTATIONS

__all__ = ["hamming", "hamming_bands", "mix", "runs", "same_colours", "signature_bands"]

# By so much of 255 a field of an image may differ that was scaled, or saved anew as JPEG. Measured were at
# most 6 for photographs down to quality 20, 13 for shapes of one colour, and 45 or more for other colours.
COLOUR_DISTANCE = 20

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)


def mix(a: np.ndarray, b: np.ndarray | np.uint64) -> np.ndarray:
    """One well-spread uint64 from two."""
    x = (a ^ (a >> np.uint64(32))) * _MULTIPLIER + b
    x = (x ^ (x >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return x ^ (x >> np.uint64(32))


def hamming(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Bits that differ, elementwise."""
    x = a ^ b  # np.bitwise_count needs NumPy 2
    x = x - ((x >> np.uint64(1)) & np.uint64(0x5555555555555555))
    x = (x & np.uint64(0x3333333333333333)) + ((x >> np.uint64(2)) & np.uint64(0x3333333333333333))
    x = (x + (x >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (x * np.uint64(0x0101010101010101)) >> np.uint64(56)


def hamming_bands(values: np.ndarray, distance: int) -> list[np.ndarray]:
    """Keys of ``values`` (uint64): two within ``distance`` share at least one."""
    edges = np.linspace(0, 64, distance + 2).astype(int)
    keys = []
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        mask = np.uint64((1 << int(high - low)) - 1)
        keys.append((values >> np.uint64(low)) & mask)
    return keys


def signature_bands(signatures: np.ndarray, similarity: float) -> list[np.ndarray]:
    """Keys of MinHash ``signatures`` [N, P]: two at ``similarity`` share one with probability 0.99."""
    rows = max(
        r
        for r in (1, 2, 4, 8, 16, 32, 64)
        if r == 1 or (1 - (1 - similarity**r) ** (NUM_PERMUTATIONS // r)) >= 0.99
    )
    keys = []
    for start in range(0, NUM_PERMUTATIONS, rows):
        key = np.zeros(len(signatures), dtype=np.uint64)
        for column in range(start, start + rows):
            key = mix(key, signatures[:, column].astype(np.uint64))
        keys.append(key)
    return keys


def same_colours(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """[N] whether the fields of ``a`` and ``b`` [N, fields], uint8, have about the same colours."""
    difference = np.abs(a.astype(np.int16) - b.astype(np.int16))
    return difference.max(axis=1, initial=0) <= COLOUR_DISTANCE


def runs(key: np.ndarray, members: np.ndarray) -> Iterator[np.ndarray]:
    """Groups of two or more of ``members`` (ascending) with equal keys; ``key`` has one for each member."""
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    starts = (
        np.flatnonzero(np.concatenate([[True], ordered[1:] != ordered[:-1]]))
        if len(key)
        else np.zeros(0, int)
    )
    ends = np.append(starts[1:], len(key))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield members[order[start:end]]
