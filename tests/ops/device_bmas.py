"""bmas of tables on a GPU, or in Triton's interpreter. Not collected by name: test_triton_interpreter.py runs
it where there is no GPU, benchmarks/gpu_check.py where there is one."""

from __future__ import annotations

import importlib
import os

import numpy as np
import pytest
import torch

from mixed_r1_kernels import EmbeddingTable, bmas
from mixed_r1_kernels._impl import missing

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# On a GPU one that is not built fails; the interpreter has no CUDA.
IMPLS = [impl for impl in ("triton", "cuda") if DEVICE == "cuda" or missing(impl, DEVICE) is None]
BLOCK = 64  # of rows and of columns, in every launch
# The bound for every impl: float32 dot products of unit rows and their averages.
TOLERANCE = 5e-7


def tolerance_of(dim: int) -> float:
    """TOLERANCE, or more for long rows whose products have one sign: tensor cores cut off each of their 4
    additions a block of 64 (2^-23 each), and the sums of the dim / 64 blocks are rounded, to either side."""
    return max(TOLERANCE, 2.0**-23 * (4 + (dim / 64) ** 0.5))


pytestmark = pytest.mark.parametrize("impl", IMPLS)


def rows_of(dtype: str, num_rows: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((num_rows, dim)).astype(np.float32)
    rows[num_rows // 2] = 0
    if dtype == "bfloat16":
        return (rows.view(np.uint32) >> 16).astype(np.uint16)
    return rows.astype(dtype)


def table_of(dtype: str, num_rows: int, dim: int, seed: int = 0) -> EmbeddingTable:
    return EmbeddingTable(rows_of(dtype, num_rows, dim, seed), dtype=dtype)


def ragged(rng: np.random.Generator, count: int, num_rows: int, longest: int) -> list[np.ndarray]:
    return [rng.integers(0, num_rows, rng.integers(0, longest)) for _ in range(count)]


def assert_equal_to_the_reference(impl: str, completions, references, table, reference_of=None) -> np.ndarray:
    expected = bmas(completions, references, table, reference_of=reference_of, impl="reference")
    found = bmas(completions, references, table.to(DEVICE), reference_of=reference_of, impl=impl)
    np.testing.assert_allclose(np.stack(found), np.stack(expected), rtol=0, atol=tolerance_of(table.dim))
    assert all(scores.dtype == np.float64 for scores in found)
    return np.stack(found)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dim", [1, 31, 64, 144])
def test_values(impl: str, dtype: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    table = table_of(dtype, 90, dim)
    references = [rng.integers(0, 90, 60), [], rng.integers(0, 90, 3)]
    assert_equal_to_the_reference(impl, ragged(rng, 7, 90, 80), references, table, rng.integers(0, 3, 7))


@pytest.mark.parametrize(
    ("num_rows", "num_columns"),
    [(1, 1), (1, 129), (BLOCK - 1, BLOCK + 1), (BLOCK, BLOCK), (BLOCK + 1, BLOCK - 1), (129, 1), (129, 129)],
)
def test_every_tile_edge(impl: str, num_rows: int, num_columns: int) -> None:
    """Distinct ids, so that the counts are those the kernels see."""
    table = table_of("bfloat16", 300, 32)
    completion, reference = np.arange(num_rows), np.arange(299, 299 - num_columns, -1)
    assert_equal_to_the_reference(impl, [completion], [reference], table)


@pytest.mark.parametrize(
    ("completions", "references"), [([], []), ([[]], [[]]), ([[], [1]], [[1], []]), ([[2]], [[2]])]
)
def test_nothing_to_compare(impl: str, completions: list, references: list) -> None:
    assert_equal_to_the_reference(impl, completions, references, table_of("float32", 5, 16))


def test_values_worked_by_hand(impl: str) -> None:
    # Rows: east, north, north-east, west, nothing.
    table = EmbeddingTable(np.array([[2, 0], [0, 3], [1, 1], [-1, 0], [0, 0]], np.float32)).to(DEVICE)
    half = np.sqrt(0.5)
    pairs = [
        ([0, 0, 1], [0], 2 / 3, 1.0),
        ([0], [0, 1, 1, 1], 1.0, 0.25),
        ([0], [3], -1.0, -1.0),
        ([0, 1], [2], half, half),
        ([4], [4], 0.0, 0.0),
        ([3, 4], [0], -0.5, 0.0),
    ]
    scores = bmas([pair[0] for pair in pairs], [pair[1] for pair in pairs], table, impl=impl)
    np.testing.assert_allclose(scores.precision, [pair[2] for pair in pairs], atol=1e-7)
    np.testing.assert_allclose(scores.recall, [pair[3] for pair in pairs], atol=1e-7)


def test_equal_ids_score_exactly_one(impl: str) -> None:
    table = EmbeddingTable(rows_of("float32", 50, 37) * np.float32(1e-3)).to(DEVICE)
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    scores = bmas([ids, ids[::-1], ids * 30], [ids] * 3, table, impl=impl)
    assert scores.precision.tolist() == scores.recall.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_batch_order_and_size_change_no_bit(impl: str, dtype: str) -> None:
    rng = np.random.default_rng(5)
    table = table_of(dtype, 200, 80).to(DEVICE)
    completions, references = ragged(rng, 9, 200, 150), ragged(rng, 3, 200, 100)
    reference_of = rng.integers(0, 3, 9)
    scores = np.stack(bmas(completions, references, table, reference_of=reference_of, impl=impl))
    order = rng.permutation(9)
    permuted = bmas(
        [completions[i] for i in order], references, table, reference_of=reference_of[order], impl=impl
    )
    np.testing.assert_array_equal(np.stack(permuted), scores[:, order])
    aligned = bmas(completions, [references[r] for r in reference_of], table, impl=impl)
    np.testing.assert_array_equal(np.stack(aligned), scores)
    for i in range(3):
        alone = bmas([completions[i]], [references[reference_of[i]]], table, impl=impl)
        np.testing.assert_array_equal(np.concatenate(alone), scores[:, i])


def test_groups_that_do_not_fit_at_once(impl: str, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    table = table_of("float32", 60, 16)
    completions, references = ragged(rng, 12, 60, 70), ragged(rng, 6, 60, 40)
    reference_of = np.repeat(np.arange(6), 2)
    once = assert_equal_to_the_reference(impl, completions, references, table, reference_of)
    module = importlib.import_module("mixed_r1_kernels.bmas.triton_kernel")
    monkeypatch.setattr(module, "WAVE_COSINES", 3000)
    waves = assert_equal_to_the_reference(impl, completions, references, table, reference_of)
    np.testing.assert_array_equal(waves, once)


def test_extreme_norms(impl: str) -> None:
    rows = np.random.default_rng(0).standard_normal((30, 64)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for scale in (2.0**-39, 2.0**59):
        mixed = rows.copy()
        mixed[::2] *= np.float32(scale)
        assert_equal_to_the_reference(impl, [np.arange(15)], [np.arange(15, 30)], EmbeddingTable(mixed))


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: ids that are there")
def test_ids_on_the_gpu(impl: str) -> None:
    table = table_of("float32", 40, 16).to(DEVICE)
    completions, references = [[1, 2, 3], [], [4, 4]], [[3, 5], [6], [4]]
    expected = bmas(completions, references, table, impl=impl)
    on_gpu = [
        [torch.tensor(ids, dtype=torch.long, device=DEVICE) for ids in side]
        for side in (completions, references)
    ]
    np.testing.assert_array_equal(np.stack(bmas(*on_gpu, table, impl=impl)), np.stack(expected))


@pytest.mark.skipif(DEVICE == "cpu", reason="needs a GPU: sizes of a real model")
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_size_of_a_model(impl: str, dtype: str) -> None:
    """Rows that share a direction, as trained embeddings do: sums of many products of one sign."""
    rng = np.random.default_rng(9)
    rows = rng.standard_normal((5000, 3584)).astype(np.float32) + 2 * rng.standard_normal(3584).astype(
        np.float32
    )
    bits = (rows.view(np.uint32) >> 16).astype(np.uint16)
    table = EmbeddingTable(bits if dtype == "bfloat16" else rows.astype(dtype), dtype=dtype)
    completions, references = ragged(rng, 64, 5000, 900), ragged(rng, 8, 5000, 300)
    assert_equal_to_the_reference(impl, completions, references, table, np.repeat(np.arange(8), 8))
