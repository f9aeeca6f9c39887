"""The token similarities behind an open-ended reward: what BMAS averages, and which token matched which."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mixed_r1.report.run_files import Run

__all__ = ["HeatMap", "SimilarityReader"]

MAX_TOKENS = 40  # shown of each side; the means are those of the whole texts


@dataclass(frozen=True)
class HeatMap:
    """What BMAS averages for one answer: the cosines of its tokens (rows) and the reference's (columns),
    with the maximum of each row and column.
    """

    answer: str
    rows: list[str]
    columns: list[str]
    cells: list[list[float]]
    row_best: list[float]
    column_best: list[float]
    precision: float
    recall: float
    score: float
    note: str


class SimilarityReader:
    """Embedding table and tokenizer of a run, opened at the first heat map.

    BMAS is computed with the table that the run started from; where that model is gone the newest checkpoint
    stands in, and the note of the map says so.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._opened: tuple[Any, Any, str] | None = None
        self._tried = False

    def heat_map(self, answer: str, reference: str) -> HeatMap | None:
        """The map of two texts; None where the run has no readable embedding table and tokenizer."""
        if not self._tried:
            self._tried = True
            self._opened = self._open()
        if self._opened is None:
            return None
        table, tokenizer, note = self._opened
        return _heat_map(table, tokenizer, answer, reference, note)

    def _open(self) -> tuple[Any, Any, str] | None:
        from tokenizers import Tokenizer

        from mixed_r1_kernels.embedding_table import EmbeddingTable

        stand_in = "Embeddings of the newest checkpoint, not of the starting model."
        for path, note in ((self._run.start_dir, ""), (self._run.model_dir, stand_in)):
            if path is not None and (path / "tokenizer.json").is_file():
                try:
                    table = EmbeddingTable.from_pretrained(path)
                    return table, Tokenizer.from_file(str(path / "tokenizer.json")), note
                except (OSError, ValueError, KeyError):
                    continue
        return None


def _heat_map(table: Any, tokenizer: Any, answer: str, reference: str, note: str) -> HeatMap | None:
    from mixed_r1_kernels.bmas import bmas, similarity_matrix

    row_ids, rows = _tokens(tokenizer, answer)
    column_ids, columns = _tokens(tokenizer, reference)
    if not row_ids or not column_ids:
        return None
    scores = bmas([row_ids], [column_ids], table)
    cells = similarity_matrix(row_ids, column_ids, table).cosines
    if len(rows) > MAX_TOKENS or len(columns) > MAX_TOKENS:
        note = f"First {MAX_TOKENS} tokens of each side; the means are over all of them. {note}".strip()
    return HeatMap(
        answer=answer,
        rows=rows[:MAX_TOKENS],
        columns=columns[:MAX_TOKENS],
        cells=np.round(cells[:MAX_TOKENS, :MAX_TOKENS], 3).tolist(),
        row_best=np.round(cells.max(axis=1)[:MAX_TOKENS], 3).tolist(),
        column_best=np.round(cells.max(axis=0)[:MAX_TOKENS], 3).tolist(),
        precision=float(scores.precision[0]),
        recall=float(scores.recall[0]),
        score=float(scores.score[0]),
        note=note,
    )


def _tokens(tokenizer: Any, text: str) -> tuple[list[int], list[str]]:
    """Ids without special tokens, and the text each covers (one token may be part of a character)."""
    encoding = tokenizer.encode(text, add_special_tokens=False)
    return list(encoding.ids), [text[start:end].strip() or "\u2423" for start, end in encoding.offsets]
