"""The open-ended reward: BMAS of answers and references, tokenised and scored in one call each."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mixed_r1.rewards.config import OpenEndedConfig
from mixed_r1_kernels import EmbeddingTable, Reason, bmas

__all__ = ["Calibration", "CalibrationError", "OpenEndedScorer"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Ids = list[list[int]]

MAX_CACHED_REFERENCES = 1 << 16
MAX_CALIBRATION_PAIRS = 1024
PLAIN = OpenEndedConfig()


class CalibrationError(ValueError):
    """Settings that need ``MixedReward.calibrate``, which was not called."""


class Scores(NamedTuple):
    values: Floats
    reasons: NDArray[np.uint8]


class Pairs(NamedTuple):
    """Answers with the reference of each."""

    answers: Ids
    references: Ids
    reference_of: Ints

    def subset(self, rows: Sequence[int]) -> Pairs:
        return Pairs([self.answers[i] for i in rows], self.references, self.reference_of[list(rows)])

    def answer_arrays(self) -> list[Ints]:
        return [np.array(ids, np.int64) for ids in self.answers]

    def empty(self) -> NDArray[np.bool_]:
        without = np.array([not ids for ids in self.references], bool)
        return np.array([not ids for ids in self.answers], bool) | without[self.reference_of]


class Calibration(NamedTuple):
    """What a data set's references say of tokens and of unrelated text.

    ``idf`` [V]: log((M + 1) / (df + 1)) over M references. ``baseline``: the mean score of unrelated pairs of
    references, for each (combine, idf) of OpenEndedConfig.
    """

    idf: Floats
    baseline: dict[tuple[str, bool], float]


class OpenEndedScorer:
    """BMAS on ``table`` [V, d] with the ids of ``tokenizer`` (Hugging Face, or the tokenizers library's own).

    The tokenizer is copied: padding and truncation, which checkpoints and trainers set on theirs, would make
    a text's ids depend on its neighbours. A token for what it does not know (``[UNK]``) is similar to
    nothing: it stands for different texts, so that one emoji would be as good as any other.

    Raises:
        ValueError: the tokenizer has more ids than the table has rows.
    """

    def __init__(self, table: EmbeddingTable, tokenizer: Any) -> None:
        self.tokenizer = _own(tokenizer)
        self.calibration: Calibration | None = None
        sized = self.tokenizer
        size = sized.get_vocab_size() if hasattr(sized, "get_vocab_size") else len(sized)
        if size > len(table):
            raise ValueError(
                f"table must have a row for each of the tokenizer's {size} ids, got {len(table)}"
            )
        unknown = _unknown_id(self.tokenizer)
        self.table = table if unknown is None else table.without([unknown])
        self._references: OrderedDict[str, list[int]] = OrderedDict()
        self._has_direction = np.asarray(self.table.to("cpu").inverse_norms) > 0

    def token_ids(self, texts: Sequence[str]) -> Ids:
        """Ids without special tokens, one batched call."""
        if not texts:
            return []
        if hasattr(self.tokenizer, "encode_batch"):
            return [e.ids for e in self.tokenizer.encode_batch(list(texts), add_special_tokens=False)]
        return list(self.tokenizer(list(texts), add_special_tokens=False)["input_ids"])

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """Each id as readable text."""
        return [self.tokenizer.decode([token], skip_special_tokens=False) for token in ids]

    def calibrate(self, references: Sequence[str]) -> None:
        """Measure ``Calibration`` on the distinct texts of ``references``, the same for the same texts.

        Raises ValueError for less than two texts with tokens.
        """
        texts = sorted(set(references))
        ids = [row for row in self.token_ids(texts) if row]
        M = len(ids)
        if M < 2:
            raise ValueError(f"references must hold two different texts or more to calibrate on, got {M}")
        df = np.zeros(len(self.table))
        for row in ids:
            df[np.unique(row)] += 1.0
        idf = np.log((M + 1.0) / (df + 1.0))
        chosen = np.random.default_rng(0).permutation(M)[:MAX_CALIBRATION_PAIRS]
        others = (chosen + 1 + np.arange(len(chosen)) % (M - 1)) % M  # any text but itself
        pairs = Pairs([ids[i] for i in chosen], ids, others)
        baseline = {}
        for weighted, sides in ((False, self._sides(pairs)), (True, self._weighted_sides(pairs, idf))):
            for combine in ("mean", "min"):
                baseline[combine, weighted] = float(_combined(*sides, np.array(combine == "min")).mean())
        self.calibration = Calibration(idf, baseline)

    def score(
        self, answers: Sequence[str], references: Sequence[str], configs: Sequence[OpenEndedConfig]
    ) -> Scores:
        """One value in [0, 1] and a reason for each answer.

        EMPTY where a side has no tokens, TOO_LONG beyond ``max_answer_bytes``, DEGENERATE where no token of
        the answer has a direction (or, with ``idf``, a weight).

        Raises CalibrationError where a setting asks for a calibration that was not made.
        """
        if not len(answers):
            return Scores(np.zeros(0), np.zeros(0, np.uint8))
        too_long = np.array(
            [len(a.encode()) > c.max_answer_bytes for a, c in zip(answers, configs, strict=True)], bool
        )
        index: dict[str, int] = {}
        reference_of = np.array([index.setdefault(text, len(index)) for text in references], np.int64)
        kept = ["" if cut else answer for answer, cut in zip(answers, too_long, strict=True)]
        pairs = Pairs(self.token_ids(kept), self._reference_ids(list(index)), reference_of)
        values, meaningful = self._values(pairs, configs)
        reasons = np.full(len(answers), Reason.OK, np.uint8)
        reasons[~meaningful] = Reason.DEGENERATE
        reasons[pairs.empty()] = Reason.EMPTY
        reasons[too_long] = Reason.TOO_LONG
        return Scores(np.where(reasons == Reason.OK, values, 0.0), reasons)

    def _values(self, pairs: Pairs, configs: Sequence[OpenEndedConfig]) -> tuple[Floats, NDArray[np.bool_]]:
        """The scores, and whether the answer says anything: has a token with a direction and a weight."""
        precision, recall = self._sides(pairs)
        meaningful = np.array([bool(self._has_direction[ids].any()) for ids in pairs.answer_arrays()], bool)
        if all(config == PLAIN for config in {id(config): config for config in configs}.values()):
            return _combined(precision, recall, np.array(False)), meaningful
        weighted = [i for i, config in enumerate(configs) if config.idf]
        if weighted:
            chosen, idf = pairs.subset(weighted), self._calibrated().idf
            precision[weighted], recall[weighted] = self._weighted_sides(chosen, idf)
            meaningful[weighted] &= [bool((idf[ids] > 0).any()) for ids in chosen.answer_arrays()]
        values = _combined(precision, recall, np.array([config.combine == "min" for config in configs]))
        for i, config in enumerate(configs):
            length = len(pairs.references[pairs.reference_of[i]])
            values[i] = _shaped(values[i], pairs.answers[i], length, config, self._baseline(config))
        return values, meaningful

    def _sides(self, pairs: Pairs) -> tuple[Floats, Floats]:
        found = bmas(pairs.answers, pairs.references, self.table, reference_of=pairs.reference_of)
        return found.precision, found.recall

    def _weighted_sides(self, pairs: Pairs, idf: Floats) -> tuple[Floats, Floats]:
        """precision = sum_i w_i max_j S_ij / sum_i w_i, recall likewise, w = idf; 0 where the weights are
        all 0.

        The precision of a text of one token is that token's maximum, so BMAS of single tokens gives them all.
        """
        answers, references = pairs.answer_arrays(), [np.array(ids, np.int64) for ids in pairs.references]
        targets = [references[r] for r in pairs.reference_of.tolist()]
        every = np.arange(len(answers))
        one = self._token_maxima(answers, references, pairs.reference_of)
        other = self._token_maxima(targets, answers, every)
        return _weighted_means(answers, one, idf), _weighted_means(targets, other, idf)

    def _token_maxima(self, texts: Sequence[Ints], others: Sequence[Ints], other_of: Ints) -> Floats:
        """max_j S_ij of each token i of each text [sum of lengths], j over ``others[other_of[text]]``."""
        lengths = np.array([len(ids) for ids in texts], np.int64)
        tokens = np.concatenate(texts) if texts else np.zeros(0, np.int64)
        singles = list(tokens.reshape(-1, 1))
        return bmas(singles, others, self.table, reference_of=np.repeat(other_of, lengths)).precision

    def _calibrated(self) -> Calibration:
        if self.calibration is None:
            raise CalibrationError(
                "idf and a measured baseline must be calibrated: call MixedReward.calibrate(samples) first"
            )
        return self.calibration

    def _baseline(self, config: OpenEndedConfig) -> float | None:
        if config.baseline != "measured":
            return config.baseline
        return self._calibrated().baseline[config.combine, config.idf]

    def _reference_ids(self, texts: Sequence[str]) -> Ids:
        new = [text for text in texts if text not in self._references]
        self._references.update(zip(new, self.token_ids(new), strict=True))
        found = [self._references[text] for text in texts]
        while len(self._references) > MAX_CACHED_REFERENCES:
            self._references.popitem(last=False)
        return found


def _own(tokenizer: Any) -> Any:
    """A copy that neither pads nor truncates; a tokenizer without a Rust core is taken as it is."""
    core = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(core, "to_str"):
        return tokenizer
    own = type(core).from_str(core.to_str())
    own.no_padding()
    own.no_truncation()
    return own


def _unknown_id(tokenizer: Any) -> int | None:
    """The id of every text that the tokenizer has no token for, where there is one."""
    core = getattr(tokenizer, "backend_tokenizer", tokenizer)
    if not hasattr(core, "to_str"):
        return getattr(tokenizer, "unk_token_id", None)
    model = json.loads(core.to_str())["model"]
    token = model.get("unk_token")
    found: int | None = model.get("unk_id") if token is None else core.token_to_id(token)
    return found


def _combined(precision: Floats, recall: Floats, smallest: NDArray[np.bool_]) -> Floats:
    return np.clip(np.where(smallest, np.minimum(precision, recall), (precision + recall) / 2), 0.0, 1.0)


def _weighted_means(texts: Sequence[Ints], maxima: Floats, idf: Floats) -> Floats:
    """The idf-weighted mean of each text's part of ``maxima``."""
    ends = np.cumsum([len(ids) for ids in texts])
    means = np.zeros(len(texts))
    for i, (ids, end) in enumerate(zip(texts, ends.tolist(), strict=True)):
        weights = idf[ids]
        total = math.fsum(weights.tolist())  # exact sums: no bit depends on where in a batch a text stands
        if total > 0:
            means[i] = math.fsum((weights * maxima[end - len(ids) : end]).tolist()) / total
    return means


def _shaped(
    value: float, ids: Sequence[int], reference_length: int, config: OpenEndedConfig, baseline: float | None
) -> float:
    if not ids or not reference_length:
        return 0.0
    if baseline is not None:
        value = max(0.0, (value - baseline) / (1.0 - baseline))
    if config.length_penalty is not None:
        lo, hi = config.length_penalty
        ratio = len(ids) / reference_length
        value *= min(1.0, ratio / lo, hi / ratio)
    if config.repetition_penalty is not None:
        n = min(config.repetition_penalty, len(ids))
        grams = list(zip(*(ids[k:] for k in range(n)), strict=False))
        value *= len(set(grams)) / len(grams)
    return value
