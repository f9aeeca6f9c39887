"""BMAS: the public functions, their checks, and the choice of implementation."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from mixed_r1_kernels._arrays import from_sequence
from mixed_r1_kernels._impl import missing, native, resolve, thread_count
from mixed_r1_kernels.bmas import reference as float64
from mixed_r1_kernels.embedding_table import EmbeddingTable

_IMPLEMENTED = ("reference", "native", "triton", "cuda")


class BmasScores(NamedTuple):
    """One float64 [N] array each; ``score`` = (precision + recall) / 2."""

    precision: np.ndarray
    recall: np.ndarray
    score: np.ndarray


class Similarity(NamedTuple):
    """The matrix behind one BMAS score. Indices are -1 where the other side is empty."""

    cosines: np.ndarray  # [m, n] float64
    best_reference: np.ndarray  # [m] int64: argmax over the reference, the first of equals
    best_completion: np.ndarray  # [n] int64: argmax over the completion


def bmas(
    completions: Sequence[Any],
    references: Sequence[Any],
    table: EmbeddingTable,
    *,
    reference_of: Any = None,
    impl: str = "auto",
    num_threads: int | None = None,
) -> BmasScores:
    """Bidirectional Max-Average Similarity of token sequences.

        S_ij = <e(c_i), e(r_j)> / (|e(c_i)| |e(r_j)|)     e: rows of the table, c: completion, r: reference
        precision = mean_i max_j S_ij     recall = mean_j max_i S_ij     score = (precision + recall) / 2

    S is clamped to [-1, 1]; equal ids have S = 1 exactly; a zero-norm row has S = 0 with every row, itself
    included. A pair with an empty side has precision = recall = score = 0. No input gives NaN. Scores are not
    clamped at 0 here.

    A score depends on its own pair alone: it is bit-equal for any batch order, batch size and number of
    threads. "native", "triton" and "cuda" compute S in float32 from the raw rows and average in float64;
    they are within 5e-7 of "reference" (float64). The latter two run where ``table`` is:
    ``table.to("cuda")``.

    Args:
        completions: N integer sequences (lists, 1-D ndarrays or tensors), ragged, empty ones allowed.
        references: R integer sequences.
        table: the embedding table; ids index its rows.
        reference_of: [N] integers in [0, R), the reference of each completion. None: N == R, pairs in order.
        impl: "auto", "reference", "native", "triton" or "cuda".
        num_threads: at most this many on the CPU. None: OMP_NUM_THREADS where it is set, else the cores of
            this process.

    Raises:
        TypeError: a sequence that is not of integers, or ``table`` is no EmbeddingTable.
        ValueError: an id outside the table (named, with V), ``reference_of`` out of range or of the wrong
            length.
        ImplUnavailable: see ``mixed_r1_kernels.ImplUnavailable``.

    The paper (arXiv 2505.24164) names the measure and its inputs; the equal weight of precision and recall,
    the cosine and the edge cases are this project's reading.
    """
    if not isinstance(table, EmbeddingTable):
        raise TypeError(f"table must be an EmbeddingTable, got {type(table).__name__}")
    completion_ids, completion_offsets = _flatten(completions, "completions", len(table))
    reference_ids, reference_offsets = _flatten(references, "references", len(table))
    pairs = _checked_reference_of(reference_of, len(completion_offsets) - 1, len(reference_offsets) - 1)
    device = "cpu" if table.device == "cpu" else "cuda"
    chosen = resolve(impl, op="bmas", implemented=_IMPLEMENTED, device=device)
    sides = (completion_ids, completion_offsets), (reference_ids, reference_offsets)
    if chosen == "native":
        precision, recall = native().bmas(
            table.native_rows(),
            table.dtype,
            table.inverse_norms,
            *sides[0],
            *sides[1],
            pairs,
            thread_count(num_threads),
        )
    elif chosen == "triton":
        from mixed_r1_kernels.bmas import triton_kernel

        precision, recall = triton_kernel.bmas(*sides, pairs, table, thread_count(num_threads))
    elif chosen == "cuda":
        precision, recall = _torch_op(*sides, pairs, table, thread_count(num_threads))
    else:
        precision, recall = float64.bmas(_split(*sides[0]), _split(*sides[1]), pairs, table)
    return BmasScores(precision, recall, (precision + recall) / 2)


def _torch_op(
    completions: tuple[np.ndarray, np.ndarray],
    references: tuple[np.ndarray, np.ndarray],
    reference_of: np.ndarray,
    table: EmbeddingTable,
    num_threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """``torch.ops.mixed_r1.bmas`` on the device of ``table``."""
    import torch

    import mixed_r1_kernels.ops  # noqa: F401 (registers the op)

    plan = (torch.from_numpy(array) for array in (*completions, *references, reference_of))
    precision, recall = torch.ops.mixed_r1.bmas(*table.tensors(), *plan, num_threads)
    return precision.cpu().numpy(), recall.cpu().numpy()


def similarity_matrix(completion: Any, reference: Any, table: EmbeddingTable) -> Similarity:
    """The cosines S [m, n] of one completion [m] and one reference [n], float64, and each token's best
    partner.

    ``bmas`` averages the row and column maxima of this matrix. For explanations and plots; made on the CPU by
    the reference.

    Raises:
        TypeError, ValueError: as ``bmas``.
    """
    rows = _flatten([completion], "completion", len(table))[0]
    columns = _flatten([reference], "reference", len(table))[0]
    cosines = float64.similarity(rows, columns, table)
    if not cosines.size:
        return Similarity(cosines, np.full(rows.size, -1, np.int64), np.full(columns.size, -1, np.int64))
    return Similarity(cosines, cosines.argmax(axis=1), cosines.argmax(axis=0))


def _flatten(sequences: Sequence[Any], argument: str, num_rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Ragged ids as (ids int32 [T], offsets int64 [N + 1]), each id checked to be in [0, num_rows)."""
    flat = (
        native().flatten_lists(sequences)
        if missing("native") is None and isinstance(sequences, list)
        else None
    )
    if flat is not None:
        ids, offsets = flat
    else:
        arrays = [_integers(sequence, argument) for sequence in _fetched(sequences)]
        offsets = np.zeros(len(arrays) + 1, np.int64)
        np.cumsum([array.size for array in arrays], out=offsets[1:])
        ids = np.concatenate(arrays) if arrays else np.zeros(0, np.int64)
    if ids.size and (ids.min() < 0 or ids.max() >= num_rows):
        position = int(np.flatnonzero((ids < 0) | (ids >= num_rows))[0])
        where = int(np.searchsorted(offsets, position, side="right")) - 1
        raise ValueError(
            f"{argument} must hold ids in [0, V) with V = {num_rows}, got {ids[position]} in sequence {where}"
        )
    return ids.astype(np.int32, copy=False), offsets


def _fetched(sequences: Sequence[Any]) -> Sequence[Any]:
    """Tensors that are all on a GPU brought to the CPU by one copy; anything else as it is."""
    torch = sys.modules.get("torch")
    if torch is None or not isinstance(sequences, (list, tuple)) or not sequences:
        return sequences
    if not all(isinstance(one, torch.Tensor) and one.is_cuda and one.ndim == 1 for one in sequences):
        return sequences
    return torch.cat(sequences).cpu().split([one.numel() for one in sequences])


def _integers(sequence: Any, argument: str) -> np.ndarray:
    try:
        array = from_sequence(argument, sequence)
    except (ValueError, OverflowError, TypeError) as error:
        raise TypeError(
            f"{argument} must hold sequences of integers, got {type(sequence).__name__} ({error})"
        ) from None
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise TypeError(
            f"{argument} must hold 1-D sequences of integers, got shape {list(array.shape)}, {array.dtype}"
        )
    return array if array.size else array.astype(np.int64)


def _checked_reference_of(reference_of: Any, num_completions: int, num_references: int) -> np.ndarray:
    if reference_of is None:
        if num_completions != num_references:
            counts = f"{num_references} for {num_completions} completions"
            raise ValueError(
                f"references must align with completions where reference_of is None, got {counts}"
            )
        return np.arange(num_completions, dtype=np.int64)
    pairs = _integers(reference_of, "reference_of").astype(np.int64)
    if pairs.size != num_completions:
        raise ValueError(
            f"reference_of must have one entry for each of {num_completions} completions, got {pairs.size}"
        )
    if pairs.size and (pairs.min() < 0 or pairs.max() >= num_references):
        bad = pairs[(pairs < 0) | (pairs >= num_references)][0]
        raise ValueError(f"reference_of must be in [0, R) with R = {num_references}, got {bad}")
    return pairs


def _split(ids: np.ndarray, offsets: np.ndarray) -> list[np.ndarray]:
    return [ids[begin:end] for begin, end in pairwise(offsets.tolist())]
