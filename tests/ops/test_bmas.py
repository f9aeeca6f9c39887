"""bmas and similarity_matrix through the public API: values, edges, invariances, bad input."""

from __future__ import annotations

import math
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mixed_r1_kernels import EmbeddingTable, ImplUnavailable, bmas, similarity_matrix

IMPLS = ("reference", "native")
# float32 dot products of unit rows err by about sqrt(d) * 2**-24; averages of them by less.
TOLERANCE = {"reference": 1e-12, "native": 5e-7}


def rows_of(dtype: str, num_rows: int, dim: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal((num_rows, dim)).astype(np.float32)
    if dtype == "bfloat16":
        return (rows.view(np.uint32) >> 16).astype(np.uint16)
    return rows.astype(dtype)


def values_of(rows: np.ndarray, dtype: str) -> list[list[float]]:
    if dtype == "bfloat16":
        rows = (rows.astype(np.uint32) << 16).view(np.float32)
    return rows.astype(float).tolist()


def oracle(completion: list[int], reference: list[int], values: list[list[float]]) -> tuple[float, float]:
    """Precision and recall by scalar loops over Python floats."""
    if not completion or not reference:
        return 0.0, 0.0

    def cosine(a: int, b: int) -> float:
        norms = math.hypot(*values[a]) * math.hypot(*values[b])
        if norms == 0.0:
            return 0.0
        return (
            1.0
            if a == b
            else max(
                -1.0, min(1.0, math.fsum(x * y for x, y in zip(values[a], values[b], strict=True)) / norms)
            )
        )

    precision = math.fsum(max(cosine(c, r) for r in reference) for c in completion) / len(completion)
    recall = math.fsum(max(cosine(c, r) for c in completion) for r in reference) / len(reference)
    return precision, recall


def ragged(rng: np.random.Generator, count: int, num_rows: int, longest: int) -> list[np.ndarray]:
    return [rng.integers(0, num_rows, rng.integers(0, longest)) for _ in range(count)]


@pytest.mark.parametrize("impl", IMPLS)
def test_values_worked_by_hand(impl: str) -> None:
    # Rows: east, north, north-east, west, nothing.
    table = EmbeddingTable(np.array([[2, 0], [0, 3], [1, 1], [-1, 0], [0, 0]], np.float32))
    half = math.sqrt(0.5)
    pairs = [
        ([0], [0], 1.0, 1.0),
        ([0], [1], 0.0, 0.0),
        ([0], [3], -1.0, -1.0),
        ([2], [0], half, half),
        ([0, 1], [2], half, half),
        ([0, 0, 1], [0], 2 / 3, 1.0),
        ([0], [0, 1, 1, 1], 1.0, 0.25),
        ([4], [0], 0.0, 0.0),
        ([4], [4], 0.0, 0.0),
        ([3, 4], [0], -0.5, 0.0),
        ([], [0], 0.0, 0.0),
        ([0], [], 0.0, 0.0),
        ([], [], 0.0, 0.0),
    ]
    scores = bmas([pair[0] for pair in pairs], [pair[1] for pair in pairs], table, impl=impl)
    np.testing.assert_allclose(scores.precision, [pair[2] for pair in pairs], atol=1e-7)
    np.testing.assert_allclose(scores.recall, [pair[3] for pair in pairs], atol=1e-7)
    np.testing.assert_array_equal(scores.score, (scores.precision + scores.recall) / 2)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
@pytest.mark.parametrize("dim", [1, 2, 31, 32, 33, 129])
def test_equal_to_scalar_loops(impl: str, dtype: str, dim: int) -> None:
    rng = np.random.default_rng(dim)
    rows = rows_of(dtype, 40, dim, seed=dim)
    rows[5] = 0
    completions, references = ragged(rng, 20, 40, 40), ragged(rng, 5, 40, 50)
    reference_of = rng.integers(0, 5, 20)
    scores = bmas(
        completions, references, EmbeddingTable(rows, dtype=dtype), reference_of=reference_of, impl=impl
    )
    values = values_of(rows, dtype)
    expected = [
        oracle(c.tolist(), references[r].tolist(), values)
        for c, r in zip(completions, reference_of, strict=True)
    ]
    np.testing.assert_allclose(np.stack(scores[:2], axis=1), expected, rtol=0, atol=TOLERANCE[impl])


@pytest.mark.parametrize("num_columns", [1, 15, 16, 17, 48, 64, 65, 80, 96, 112, 130])
@pytest.mark.parametrize("num_rows", [1, 2, 5, 6, 7, 31, 32, 33, 191, 192, 193])
def test_every_tile_edge(num_rows: int, num_columns: int) -> None:
    """Distinct ids on both sides, so that the counts are those the kernels see."""
    table = EmbeddingTable(rows_of("bfloat16", 400, 34), dtype="bfloat16")
    completion, reference = [np.arange(num_rows)], [np.arange(399, 399 - num_columns, -1)]
    expected = bmas(completion, reference, table, impl="reference")
    np.testing.assert_allclose(bmas(completion, reference, table, impl="native"), expected, rtol=0, atol=5e-7)


@pytest.mark.parametrize("impl", IMPLS)
def test_a_wide_group_spans_column_blocks(impl: str) -> None:
    """More packed columns than the cache block holds, so columns are visited in several blocks."""
    dim, num_columns = 4096, 200
    rows = rows_of("float32", 300, dim)
    scores = bmas([np.arange(100, 300)], [np.arange(num_columns)], EmbeddingTable(rows), impl=impl)
    cosines = rows.astype(float) / np.linalg.norm(rows.astype(float), axis=1)[:, None]
    cosines = np.clip(cosines[100:] @ cosines[:num_columns].T, -1, 1)
    np.testing.assert_allclose(scores.precision, cosines.max(1).mean(), atol=5e-7)
    np.testing.assert_allclose(scores.recall, cosines.max(0).mean(), atol=5e-7)


@pytest.mark.parametrize("impl", IMPLS)
def test_equal_ids_score_exactly_one(impl: str) -> None:
    table = EmbeddingTable(rows_of("float32", 50, 37) * np.float32(1e-3))
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    scores = bmas([ids, ids[::-1], ids * 3], [ids] * 3, table, impl=impl)
    assert scores.precision.tolist() == scores.recall.tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("impl", IMPLS)
def test_negative_similarities_are_not_clipped_by_empty_maxima(impl: str) -> None:
    rows = np.abs(rows_of("float32", 20, 8))
    rows[10:] *= -1
    scores = bmas([[0, 1, 2]], [[12, 15]], EmbeddingTable(rows), impl=impl)
    assert scores.precision[0] < -0.1 and scores.recall[0] < -0.1


@pytest.mark.parametrize("scale", [2.0**-39, 2.0**59])
def test_extreme_norms(scale: float) -> None:
    rows = rows_of("float32", 30, 64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    mixed = rows.copy()
    mixed[::2] *= np.float32(scale)
    ids = [np.arange(15)], [np.arange(15, 30)]
    native = bmas(*ids, EmbeddingTable(mixed), impl="native")
    np.testing.assert_allclose(native, bmas(*ids, EmbeddingTable(rows), impl="reference"), atol=5e-7)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_native_is_the_reference_and_bit_equal_under_any_batching(data: st.DataObject) -> None:
    num_rows, dim = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 70))
    dtype = data.draw(st.sampled_from(["float32", "float16", "bfloat16"]))
    rows = rows_of(dtype, num_rows, dim, seed=data.draw(st.integers(0, 99)))
    rows[data.draw(st.integers(0, num_rows - 1))] = 0
    table = EmbeddingTable(rows, dtype=dtype)
    ids = st.lists(st.integers(0, num_rows - 1), max_size=40)
    references = data.draw(st.lists(ids, min_size=1, max_size=5))
    completions = data.draw(st.lists(ids, max_size=12))
    reference_of = [data.draw(st.integers(0, len(references) - 1)) for _ in completions]
    scores = np.stack(
        bmas(completions, references, table, reference_of=reference_of, impl="native", num_threads=1)
    )
    expected = np.stack(bmas(completions, references, table, reference_of=reference_of, impl="reference"))
    np.testing.assert_allclose(scores, expected, rtol=0, atol=5e-7)
    assert np.isfinite(scores).all() and (np.abs(scores) <= 1).all()

    order = data.draw(st.permutations(range(len(completions))))
    permuted = bmas(
        [completions[i] for i in order],
        references,
        table,
        reference_of=[reference_of[i] for i in order],
        impl="native",
        num_threads=2,
    )
    np.testing.assert_array_equal(np.stack(permuted), scores[:, list(order)])
    aligned = [references[r] for r in reference_of]
    np.testing.assert_array_equal(np.stack(bmas(completions, aligned, table, impl="native")), scores)
    for i, completion in enumerate(completions):
        alone = bmas([completion], [references[reference_of[i]]], table, impl="native")
        np.testing.assert_array_equal(np.concatenate(alone), scores[:, i])


@pytest.mark.parametrize("num_threads", [1, 2, 3, 8, 64])
def test_thread_count_changes_no_bit(num_threads: int) -> None:
    rng = np.random.default_rng(7)
    table = EmbeddingTable(rows_of("bfloat16", 2000, 96), dtype="bfloat16")
    completions, references = ragged(rng, 120, 2000, 300), ragged(rng, 12, 2000, 200)
    reference_of = np.repeat(np.arange(12), 10)
    once = bmas(completions, references, table, reference_of=reference_of, impl="native", num_threads=1)
    again = bmas(
        completions, references, table, reference_of=reference_of, impl="native", num_threads=num_threads
    )
    np.testing.assert_array_equal(np.stack(once), np.stack(again))


def test_calls_from_several_python_threads() -> None:
    rng = np.random.default_rng(8)
    table = EmbeddingTable(rows_of("float32", 500, 64))
    batches = [(ragged(rng, 30, 500, 80), ragged(rng, 30, 500, 80)) for _ in range(4)]
    expected = [np.stack(bmas(*batch, table, impl="native", num_threads=1)) for batch in batches]
    wrong: list[int] = []

    def work(index: int) -> None:
        for _ in range(20):
            if not np.array_equal(
                np.stack(bmas(*batches[index], table, impl="native", num_threads=2)), expected[index]
            ):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not wrong and not any(thread.is_alive() for thread in threads)


def test_one_poisoned_sample_leaves_the_others() -> None:
    """A zero-norm token or an endless repetition in one completion changes no other score."""
    rows = rows_of("float32", 100, 24)
    rows[99] = 0
    table = EmbeddingTable(rows)
    rng = np.random.default_rng(3)
    completions, reference = ragged(rng, 9, 99, 30), [rng.integers(0, 99, 40)]
    clean = np.stack(bmas(completions, reference, table, reference_of=[0] * 9, impl="native"))
    for position in range(9):
        for poison in ([99] * 5, [1] * 20000, []):
            batch = [*completions[:position], poison, *completions[position + 1 :]]
            scores = np.stack(bmas(batch, reference, table, reference_of=[0] * 9, impl="native"))
            others = np.arange(9) != position
            np.testing.assert_array_equal(scores[:, others], clean[:, others])


@pytest.mark.parametrize("impl", IMPLS)
def test_kinds_of_sequences(impl: str) -> None:
    table = EmbeddingTable(rows_of("float32", 20, 8))
    expected = bmas([[1, 2, 3]], [[4, 5]], table, impl=impl)
    wide = np.arange(12)
    sequences = [
        ((1, 2, 3), (4, 5)),
        (np.array([1, 2, 3], np.uint8), np.array([4, 5], np.int16)),
        (torch.tensor([1, 2, 3]), torch.tensor([4, 5], dtype=torch.int32)),
        (wide[1:4], wide[8:12][::-1][-2:][::-1] - 4),
        (
            np.frombuffer(b"\x00" + np.array([1, 2, 3], "<i8").tobytes(), "<i8", offset=1),
            np.array([4, 5], ">i4"),
        ),
        (range(1, 4), range(4, 6)),
    ]
    for completion, reference in sequences:
        np.testing.assert_array_equal(bmas([completion], [reference], table, impl=impl), expected)
    assert bmas([], [], table, impl=impl).score.shape == (0,)
    assert bmas(torch.tensor([[1, 2, 3]]), np.array([[4, 5]]), table, impl=impl).score == expected.score


@pytest.mark.parametrize(
    ("completions", "references", "options", "error", "message"),
    [
        (
            [[1, 20]],
            [[0]],
            {},
            ValueError,
            r"completions must hold ids in \[0, V\) with V = 20, got 20 in sequence 0",
        ),
        ([[1], [2, -1]], [[0]] * 2, {}, ValueError, "V = 20, got -1 in sequence 1"),
        ([[1]], [[2**40]], {}, ValueError, "references must hold ids .* got 1099511627776"),
        ([[1]], [[2**70]], {}, TypeError, "references must hold"),
        ([[1.0]], [[0]], {}, TypeError, "completions must hold 1-D sequences of integers, got .*float64"),
        ([[True]], [[0]], {}, TypeError, "bool"),
        (["text"], [[0]], {}, TypeError, "completions must hold"),
        ([[[1]]], [[0]], {}, TypeError, r"shape \[1, 1\]"),
        ([[[1], [2, 3]]], [[0]], {}, TypeError, "completions must hold sequences of integers"),
        ([3], [[0]], {}, TypeError, r"shape \[\]"),
        ([[1]], [[0], [1]], {}, ValueError, "references must align with completions"),
        (
            [[1]],
            [[0], [1]],
            {"reference_of": [2]},
            ValueError,
            r"reference_of must be in \[0, R\) with R = 2, got 2",
        ),
        ([[1]], [[0], [1]], {"reference_of": [-1]}, ValueError, "reference_of must be in"),
        (
            [[1]],
            [[0], [1]],
            {"reference_of": [0, 1]},
            ValueError,
            "one entry for each of 1 completions, got 2",
        ),
        ([[1]], [[0]], {"reference_of": [0.0]}, TypeError, "reference_of must hold"),
        ([[1]], [[0]], {"num_threads": 0}, ValueError, "num_threads must be a positive integer, got 0"),
        ([[1]], [[0]], {"impl": "fast"}, ValueError, "impl must be one of"),
        ([[1]], [[0]], {"impl": "chunked"}, ImplUnavailable, "for bmas, got 'chunked'"),
        ([[1]], [[0]], {"impl": "cuda"}, ImplUnavailable, "impl='cuda' cannot run bmas"),
    ],
)
def test_bad_input_is_named(
    completions: list, references: list, options: dict, error: type[Exception], message: str
) -> None:
    table = EmbeddingTable(rows_of("float32", 20, 8))
    with pytest.raises(error, match=message):
        bmas(completions, references, table, **({"impl": "native"} | options))


def test_table_must_be_a_table() -> None:
    with pytest.raises(TypeError, match="table must be an EmbeddingTable, got ndarray"):
        bmas([[1]], [[0]], np.ones((3, 3), np.float32))  # type: ignore[arg-type]


def test_the_compiled_function_checks_what_memory_safety_needs() -> None:
    from mixed_r1_kernels import _native

    rows, norms = np.ones((4, 3), np.float32), np.ones(4, np.float32)
    ids, offsets, pairs = np.array([0, 3], np.int32), np.array([0, 2]), np.array([0])

    def call(**changes: object) -> object:
        values = {
            "rows": rows,
            "dtype": "float32",
            "inverse_norms": norms,
            "completion_ids": ids,
            "completion_offsets": offsets,
            "reference_ids": ids,
            "reference_offsets": offsets,
            "reference_of": pairs,
            "num_threads": 1,
        }
        return _native.bmas(**(values | changes))

    assert call()[0].tolist() == [1.0]
    bad = [
        {"completion_ids": np.array([0, 4], np.int32)},
        {"completion_ids": np.array([-1, 0], np.int32)},
        {"completion_offsets": np.array([0, 3])},
        {"completion_offsets": np.array([0, 3, 2])},
        {"completion_offsets": np.array([], np.int64)},
        {"reference_of": np.array([1])},
        {"reference_of": np.array([], np.int64)},
        {"inverse_norms": norms[:3]},
        {"num_threads": 0},
        {"dtype": "bfloat16"},
        {"rows": rows.astype(np.float64)},
        {"rows": np.asfortranarray(rows)},
        {"rows": rows[::2]},
        {"completion_ids": ids.astype(np.int64)},
    ]
    for change in bad:
        with pytest.raises((TypeError, ValueError)):
            call(**change)


def test_similarity_matrix_is_what_bmas_averages() -> None:
    table = EmbeddingTable(rows_of("float32", 20, 8))
    completion, reference = [1, 2, 3, 2], [3, 9, 1]
    cosines, best_reference, best_completion = similarity_matrix(completion, reference, table)
    scores = bmas([completion], [reference], table, impl="reference")
    assert cosines.shape == (4, 3)
    assert cosines[np.arange(4), best_reference].mean() == scores.precision[0]
    assert cosines[best_completion, np.arange(3)].mean() == scores.recall[0]
    assert best_reference[0] == 2 and best_reference[2] == 0 and best_completion[0] == 2
    empty = similarity_matrix([], reference, table)
    assert empty.cosines.shape == (0, 3) and empty.best_completion.tolist() == [-1] * 3
    assert similarity_matrix(completion, [], table).best_reference.tolist() == [-1] * 4
    with pytest.raises(ValueError, match="reference must hold ids"):
        similarity_matrix(completion, [20], table)
