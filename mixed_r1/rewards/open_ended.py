"""The open-ended reward: BMAS of answers and references, tokenised and scored in one call each."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.config import OpenEndedConfig
from mixed_r1_kernels import EmbeddingTable, Reason, bmas

__all__ = ["OpenEndedScorer"]

MAX_CACHED_REFERENCES = 1 << 16


class Scores(NamedTuple):
    values: NDArray[np.float64]
    reasons: NDArray[np.uint8]


class OpenEndedScorer:
    """BMAS on ``table`` [V, d] with the ids of ``tokenizer`` (Hugging Face, or the tokenizers library's own).

    Raises:
        ValueError: the tokenizer has more ids than the table has rows.
    """

    def __init__(self, table: EmbeddingTable, tokenizer: Any) -> None:
        self.table, self.tokenizer = table, tokenizer
        size = tokenizer.get_vocab_size() if hasattr(tokenizer, "get_vocab_size") else len(tokenizer)
        if size > len(table):
            raise ValueError(
                f"table must have a row for each of the tokenizer's {size} ids, got {len(table)}"
            )
        self._references: OrderedDict[str, list[int]] = OrderedDict()

    def token_ids(self, texts: Sequence[str]) -> list[list[int]]:
        """Ids without special tokens, one batched call."""
        if not texts:
            return []
        if hasattr(self.tokenizer, "encode_batch"):
            return [e.ids for e in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return list(self.tokenizer(list(texts), add_special_tokens=False)["input_ids"])

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each id as readable text."""
        return [self.tokenizer.decode([token]) for token in ids]

    def score(
        self, answers: Sequence[str], references: Sequence[str], configs: Sequence[OpenEndedConfig]
    ) -> Scores:
        """One value in [0, 1] and a reason for each answer; EMPTY where a side has no tokens."""
        N = len(answers)
        too_long = np.array(
            [len(a) > c.max_answer_bytes for a, c in zip(answers, configs, strict=True)], bool
        )
        answer_ids = self.token_ids(["" if cut else a for a, cut in zip(answers, too_long, strict=True)])
        index: dict[str, int] = {}
        reference_of = [index.setdefault(text, len(index)) for text in references]
        reference_ids = self._reference_ids(list(index))
        if not N:
            return Scores(np.zeros(0), np.zeros(0, np.uint8))
        raw = bmas(answer_ids, reference_ids, self.table, reference_of=reference_of)
        lengths = np.array([len(ids) for ids in answer_ids])
        reference_lengths = np.array([len(reference_ids[r]) for r in reference_of])
        values = np.clip(raw.score, 0.0, 1.0)
        for i in range(N):
            if configs[i] != _PLAIN:
                values[i] = _shaped(values[i], answer_ids[i], int(reference_lengths[i]), configs[i])
        reasons = np.full(N, Reason.OK, np.uint8)
        reasons[self._all_zero_norm(answer_ids)] = Reason.DEGENERATE
        reasons[(lengths == 0) | (reference_lengths == 0)] = Reason.EMPTY
        reasons[too_long] = Reason.TOO_LONG
        return Scores(np.where(reasons == Reason.OK, values, 0.0), reasons)

    def _reference_ids(self, texts: Sequence[str]) -> list[list[int]]:
        new = [text for text in texts if text not in self._references]
        self._references.update(zip(new, self.token_ids(new), strict=True))
        found = [self._references[text] for text in texts]
        while len(self._references) > MAX_CACHED_REFERENCES:
            self._references.popitem(last=False)
        return found

    def _all_zero_norm(self, sequences: Sequence[Sequence[int]]) -> NDArray[np.bool_]:
        """Whether a sequence has only tokens whose row has no direction."""
        inverse_norms = np.asarray(self.table.to("cpu").inverse_norms)
        return np.array([not inverse_norms[np.asarray(ids, np.int64)].any() for ids in sequences], bool)


_PLAIN = OpenEndedConfig()


def _shaped(value: float, ids: Sequence[int], reference_length: int, config: OpenEndedConfig) -> float:
    if config.baseline is not None:
        value = max(0.0, (value - config.baseline) / (1.0 - config.baseline))
    if not ids or not reference_length:
        return 0.0
    if config.length_penalty is not None:
        lo, hi = config.length_penalty
        ratio = len(ids) / reference_length
        value *= min(1.0, ratio / lo, hi / ratio)
    if config.repetition_penalty is not None:
        n = min(config.repetition_penalty, len(ids))
        grams = list(zip(*(ids[k:] for k in range(n)), strict=False))
        value *= len(set(grams)) / len(grams)
    return value
