"""What BMAS is measured against: torch, numkong, bert-score's and torchmetrics' formulas. Each takes and
gives what ours does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np

from benchmarks.text import Batch

Scores = tuple[np.ndarray, np.ndarray]
Peer = tuple[str, Callable[[], Scores]]


class Ids(NamedTuple):
    """A batch as arrays. Peers are timed from these; ours takes the lists as callers have them."""

    completions: list[np.ndarray]
    references: list[np.ndarray]
    members: list[np.ndarray]  # completions of each prompt
    reference_of: np.ndarray


def peers(data: Batch, bits: np.ndarray, threads: int, *, packages: bool) -> Iterator[Peer]:
    """Every peer that is installed; ``packages`` adds bert-score and torchmetrics, which take seconds a call.

    Tables are prepared beforehand: rows normalised and cached where the peer wants that.
    """
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
    prepared = Ids(
        [np.array(ids) for ids in data.completions],
        [np.array(ids) for ids in data.references],
        [np.flatnonzero(data.reference_of == prompt) for prompt in range(len(data.references))],
        data.reference_of,
    )
    rows = torch.from_numpy(bits.view(np.int16)).view(torch.bfloat16)
    unit = torch.nn.functional.normalize(rows.float(), dim=1)
    yield "torch, each pair, f32", lambda: _torch_pairs(prepared, unit)
    yield "torch, deduplicated, f32", lambda: _torch_groups(prepared, unit, None)
    norms = 1 / rows.float().norm(dim=1)
    yield "torch, deduplicated, bf16", lambda: _torch_groups(prepared, rows, norms)
    yield from _numkong(prepared, bits, norms.numpy())
    if packages:
        yield from _bert_score(prepared, unit)
        yield from _torchmetrics(prepared, unit)


def _torch_pairs(data: Ids, unit) -> Scores:  # type: ignore[no-untyped-def]
    import torch

    precision, recall = np.empty(len(data.completions)), np.empty(len(data.completions))
    with torch.inference_mode():
        references = [unit[torch.from_numpy(ids)] for ids in data.references]
        for i, (completion, prompt) in enumerate(zip(data.completions, data.reference_of, strict=True)):
            cosines = unit[torch.from_numpy(completion)] @ references[prompt].T
            precision[i] = cosines.amax(1).mean()
            recall[i] = cosines.amax(0).mean()
    return precision, recall


def _torch_groups(data: Ids, rows, norms) -> Scores:  # type: ignore[no-untyped-def]
    """One product of distinct rows for each group. With ``norms`` the rows are raw bfloat16 and cosines are
    scaled after."""
    import torch

    precision, recall = np.empty(len(data.completions)), np.empty(len(data.completions))
    with torch.inference_mode():
        for members, reference in zip(data.members, data.references, strict=True):
            lengths = [len(data.completions[i]) for i in members]
            joined = torch.from_numpy(np.concatenate([data.completions[i] for i in members]))
            ids, inverse = torch.unique(joined, return_inverse=True)
            columns, counts = torch.unique(torch.from_numpy(reference), return_counts=True)
            cosines = rows[ids] @ rows[columns].T
            if norms is not None:
                cosines = cosines.float() * norms[ids][:, None] * norms[columns]
            cosines = cosines.clamp(-1, 1)
            best = cosines.amax(1)
            for i, index in zip(members, inverse.split(lengths), strict=True):
                precision[i] = best[index].mean()
                recall[i] = (cosines[torch.unique(index)].amax(0) * counts).sum() / len(reference)
    return precision, recall


def _numkong(data: Ids, bits: np.ndarray, inverse_norms: np.ndarray) -> Iterator[Peer]:
    """numkong's packed bfloat16 products with the deduplication of ours in NumPy: by position in a table,
    without sorting."""
    try:
        import numkong
    except ImportError:
        return
    place = np.empty(len(bits), np.int64)

    def distinct(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        place[ids] = np.arange(ids.size)
        ids = ids[place[ids] == np.arange(ids.size)]  # the last occurrence of each
        return ids, np.arange(ids.size)

    def product(rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
        a, b = bits[rows], bits[columns]
        width = bits.shape[1]
        left = numkong.from_pointer(a.ctypes.data, (len(rows), width), "bf16", owner=a)
        right = numkong.from_pointer(b.ctypes.data, (len(columns), width), "bf16", owner=b)
        return np.asarray(numkong.dots_packed(left, numkong.dots_pack(right, dtype="bf16")))

    def run() -> Scores:
        precision, recall = np.empty(len(data.completions)), np.empty(len(data.completions))
        for members, reference in zip(data.members, data.references, strict=True):
            completions = [data.completions[i] for i in members]
            rows, order = distinct(np.concatenate(completions))
            place[rows] = order
            inverses = [place[completion] for completion in completions]
            columns, order = distinct(reference)
            place[columns] = order
            counts = np.bincount(place[reference])
            cosines = product(rows, columns)
            cosines *= inverse_norms[rows][:, None]
            cosines *= inverse_norms[columns]
            np.clip(cosines, -1, 1, out=cosines)
            best = cosines.max(1)
            for i, inverse in zip(members, inverses, strict=True):
                precision[i] = best[inverse].mean(dtype=np.float64)
                present = np.zeros(len(rows), bool)
                present[inverse] = True
                recall[i] = (cosines[present].max(0) * counts).sum(dtype=np.float64) / len(reference)
        return precision, recall

    yield "numkong dots_packed, dedup", run


def _padded(data: Ids, unit):  # type: ignore[no-untyped-def]
    """A prompt's completions and its reference G times as padded rows and masks, as the metric packages batch
    them."""
    import torch

    for members, reference in zip(data.members, data.references, strict=True):
        ids = [torch.from_numpy(data.completions[i]) for i in members]
        padded = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones(len(row)) for row in ids], batch_first=True)
        references = torch.from_numpy(reference).repeat(len(members), 1)
        yield members, unit[padded], mask, unit[references], torch.ones(references.shape)


def _bert_score(data: Ids, unit) -> Iterator[Peer]:  # type: ignore[no-untyped-def]
    try:
        from bert_score.utils import greedy_cos_idf
    except ImportError:
        return
    import torch

    def run() -> Scores:
        precision, recall = np.empty(len(data.completions)), np.empty(len(data.completions))
        with torch.inference_mode():
            for members, hypothesis, mask, reference, ones in _padded(data, unit):
                found = greedy_cos_idf(reference, ones, ones.clone(), hypothesis, mask, mask.clone())
                precision[members], recall[members] = found[0].numpy(), found[1].numpy()
        return precision, recall

    yield "bert-score greedy_cos_idf", run


def _torchmetrics(data: Ids, unit) -> Iterator[Peer]:  # type: ignore[no-untyped-def]
    try:
        from torchmetrics.functional.text.bert import _get_precision_recall_f1
    except ImportError:
        return
    import torch

    def run() -> Scores:
        precision, recall = np.empty(len(data.completions)), np.empty(len(data.completions))
        with torch.inference_mode():
            for members, hypothesis, mask, reference, ones in _padded(data, unit):
                hypothesis *= mask[..., None]  # it masks by zero embeddings
                weights = mask / mask.sum(1, keepdim=True), ones / ones.sum(1, keepdim=True)
                found = _get_precision_recall_f1(hypothesis[:, None], reference[:, None], *weights)
                precision[members], recall[members] = found[0].numpy(), found[1].numpy()
        return precision, recall

    yield "torchmetrics BERTScore", run
