"""BMAS by its definition: one pair at a time, float64. Every other implementation is held against this
one."""

from __future__ import annotations

import numpy as np

from mixed_r1_kernels.embedding_table import MIN_NORM, EmbeddingTable


def similarity(completion: np.ndarray, reference: np.ndarray, table: EmbeddingTable) -> np.ndarray:
    """S[m, n]: cosines of the rows of ``completion`` [m] and ``reference`` [n]; equal ids 1, zero-norm rows
    0, in [-1, 1]."""
    units, known = [], []
    for ids in (completion, reference):
        rows = table.float64_rows(ids)
        norms = np.sqrt(np.einsum("nd,nd->n", rows, rows))
        nonzero = (norms >= MIN_NORM) & table.has_direction(ids)
        units.append(rows / np.where(nonzero, norms, np.inf)[:, None])
        known.append(nonzero)
    cosines = np.clip(units[0] @ units[1].T, -1.0, 1.0)
    same = completion[:, None] == reference[None, :]
    return np.where(same & known[0][:, None], 1.0, cosines)


def bmas(
    completions: list[np.ndarray],
    references: list[np.ndarray],
    reference_of: np.ndarray,
    table: EmbeddingTable,
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [N] float64; a pair with an empty side scores 0."""
    precision, recall = np.zeros(len(completions)), np.zeros(len(completions))
    for i, completion in enumerate(completions):
        reference = references[reference_of[i]]
        if completion.size and reference.size:
            cosines = similarity(completion, reference, table)
            precision[i] = cosines.max(axis=1).mean()
            recall[i] = cosines.max(axis=0).mean()
    return precision, recall
