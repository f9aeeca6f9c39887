"""Real prose as token ids: the manual that ships with Python and scikit-learn's data set descriptions,
byte-pair encoded by a tokenizer trained on them. Token counts follow the text, so they are Zipf-like as a
model's are."""

from __future__ import annotations

import pydoc_data.topics
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["VOCABULARY", "Batch", "batch", "table_bits", "tokenised_sentences"]

VOCABULARY = 32768


class Batch(NamedTuple):
    """P prompts x G completions; ``reference_of[i]`` is the prompt of completion i."""

    completions: list[list[int]]
    references: list[list[int]]
    reference_of: np.ndarray

    def distinct(self) -> tuple[int, int]:
        """Distinct ids of the completions and of the references, summed over the groups."""
        rows = columns = 0
        for prompt, reference in enumerate(self.references):
            members = np.flatnonzero(self.reference_of == prompt)
            rows += len(set().union(*(self.completions[i] for i in members)))
            columns += len(set(reference))
        return rows, columns


@cache
def tokenised_sentences() -> list[list[list[int]]]:
    """Documents of at least 80 sentences, each sentence as token ids below VOCABULARY."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    documents = [str(text) for text in pydoc_data.topics.topics.values()]
    try:
        import sklearn.datasets

        folder = Path(sklearn.datasets.__file__).parent / "descr"
        documents += [path.read_text(encoding="utf-8") for path in sorted(folder.glob("*.rst"))]
    except ImportError:
        pass
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(documents, trainer)
    sentences = [[part for part in re.split(r"(?<=[.!?:])\s+", text) if len(part) > 20] for text in documents]
    long = [parts for parts in sentences if len(parts) >= 80]
    return [[encoding.ids for encoding in tokenizer.encode_batch(parts)] for parts in long]


def batch(num_prompts: int, num_completions: int, length: int, reference_length: int, seed: int = 0) -> Batch:
    """Each prompt draws a passage of one document; its completions are sentences of that passage in any
    order, cut to lengths uniform in [length / 5, 9 length / 5], and its reference is another
    ``reference_length`` tokens of it."""
    rng = np.random.default_rng(seed)
    documents = tokenised_sentences()
    completions, references = [], []
    for _ in range(num_prompts):
        document = documents[rng.integers(len(documents))]
        start = int(rng.integers(len(document) - 79))
        passage = document[start : start + 80]

        def draw(count: int, passage: list[list[int]] = passage) -> list[int]:
            ids: list[int] = []
            while len(ids) < count:
                ids += passage[rng.integers(len(passage))]
            return ids[:count]

        references.append(draw(reference_length))
        lengths = rng.integers(max(1, length // 5), length * 9 // 5 + 1, num_completions)
        completions += [draw(int(count)) for count in lengths]
    return Batch(completions, references, np.repeat(np.arange(num_prompts), num_completions))


def table_bits(dim: int) -> np.ndarray:
    """A bfloat16 table [VOCABULARY, dim] as uint16 bits: rows share a direction, as trained embeddings do."""
    rng = np.random.default_rng(0)
    shared = rng.standard_normal(dim, np.float32)
    bits = np.empty((VOCABULARY, dim), np.uint16)
    for begin in range(0, VOCABULARY, 4096):
        rows = rng.standard_normal((4096, dim), np.float32) * np.float32(0.02) + np.float32(0.01) * shared
        bits[begin : begin + 4096] = rows.view(np.uint32) >> 16
    return bits
