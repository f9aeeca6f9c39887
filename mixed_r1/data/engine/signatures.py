"""MinHash signatures of texts: datasketch's, for many texts at once.

Over the 5-character shingles s of a text, signature_p = min_s (a_p mix(h(s)) + b_p) mod 2^32 for 64
permutations p of datasketch's scheme affine32, seed 1. h is a polynomial in the shingle's code points, mix
MurmurHash3's finalizer as in datasketch; the expected share of equal entries is the Jaccard similarity.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache

import numpy as np

__all__ = ["NUM_PERMUTATIONS", "shingle_hash", "text_signatures"]

NUM_PERMUTATIONS = 64
_SHINGLE = 5
_MAX_CHARS = 4096
_BLOCK = 2048  # characters permuted together: half a MiB of hashes, which stays in the cache
_PRIME = np.uint32(0x9E3779B1)


def text_signatures(texts: Sequence[str]) -> np.ndarray:
    """[N, 64] uint32. Of a long text the first 4,096 characters count; one shorter than a shingle is one.

    Raises:
        ImportError: datasketch is not installed.
    """
    cut = [text[:_MAX_CHARS].ljust(_SHINGLE, "\0") for text in texts]
    blocks = [_block_signatures(block) for block in _blocks(cut)]
    return np.concatenate(blocks) if blocks else np.empty((0, NUM_PERMUTATIONS), dtype=np.uint32)


def shingle_hash(shingle: bytes) -> int:
    """h of one shingle in UTF-8: with it as ``hashfunc``, datasketch's MinHash is the same signature."""
    text = shingle.decode("utf-8", "surrogatepass").ljust(_SHINGLE, "\0")
    return int(_polynomial(_code_points(text))[0])


def _blocks(texts: list[str]) -> Iterator[list[str]]:
    block: list[str] = []
    chars = 0
    for text in texts:
        if block and chars + len(text) > _BLOCK:
            yield block
            block = []
            chars = 0
        block.append(text)
        chars += len(text)
    if block:
        yield block


def _block_signatures(texts: list[str]) -> np.ndarray:
    codes = _code_points("".join(texts))
    ends = np.cumsum([len(text) for text in texts])
    starts_shingle = np.ones(len(codes), dtype=bool)
    for back in range(1, _SHINGLE):  # none starts in a text's last characters
        starts_shingle[ends - back] = False
    hashes = _mixed(_polynomial(codes)[starts_shingle[: len(codes) - _SHINGLE + 1]])
    first = ends - (_SHINGLE - 1) * np.arange(1, len(texts) + 1)  # shingles up to and with each text's
    multipliers, offsets = _permutations()
    permuted = hashes[:, None] * multipliers + offsets
    return np.minimum.reduceat(permuted, np.concatenate([[0], first[:-1]]), axis=0)


def _code_points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype="<u4")


def _polynomial(codes: np.ndarray) -> np.ndarray:
    """h of the shingle that starts at each of the codes but the last four."""
    count = len(codes) - _SHINGLE + 1
    hashes = codes[:count].astype(np.uint32)
    for j in range(1, _SHINGLE):
        hashes = hashes * _PRIME + codes[j : j + count]
    return hashes


def _mixed(hashes: np.ndarray) -> np.ndarray:
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


@cache
def _permutations() -> tuple[np.ndarray, np.ndarray]:
    try:
        from datasketch import MinHash
    except ImportError as error:
        raise ImportError("text_similarity must have datasketch: pip install 'mixed-r1[data]'") from error
    multipliers, offsets = MinHash(num_perm=NUM_PERMUTATIONS, seed=1, scheme="affine32").permutations
    return multipliers.astype(np.uint32), offsets.astype(np.uint32)
