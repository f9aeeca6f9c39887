"""10^5 batches of rewards leave memory, descriptors and threads as they were."""

from __future__ import annotations

import gc
import random
from itertools import count

import numpy as np
import psutil
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mixed_r1.rewards import MixedReward
from mixed_r1.schema import Sample
from mixed_r1_kernels import EmbeddingTable

MIB = 1 << 20
ALLOWED = 4 * MIB
CACHED = 1 << 16  # rows, and reference texts, that MixedReward keeps
VOCABULARY = ["[UNK]", *"a hill of the over in".split()]
TASKS = ["yes_no", "multiple_choice", "chart", "math", "grounding", "open_ended"]


@pytest.fixture
def reward():
    tokenizer = Tokenizer(models.WordLevel({w: i for i, w in enumerate(VOCABULARY)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    table = EmbeddingTable(np.random.default_rng(0).normal(size=(len(VOCABULARY), 16)).astype(np.float32))
    return MixedReward(table, tokenizer)


def row(task, i):
    """A row no other is equal to."""
    answer = {
        "yes_no": "yes",
        "multiple_choice": "B",
        "chart": str(i),
        "math": f"\\frac{{{i}}}{{7}}",
        "grounding": [[i % 50, i % 60, i % 50 + 20, i % 60 + 20]],
        "open_ended": f"a hill of {i}",
    }[task]
    options = ("x", f"y{i}") if task == "multiple_choice" else None
    return Sample(id=f"{task}-{i}", task=task, question=f"q{i}", answer=answer, options=options)


def completions(rng, rows):
    """Right, wrong and broken, none seen before."""
    i, texts = rng.randrange(10**12), []
    for sample in rows:
        answer = rng.choice([str(sample.answer), f"{i}/7", f"over the hill {i}"])
        texts.append(f"<think>{i}</think><answer>{answer}</answer>")
    texts[i % len(rows)] = rng.choice(["", f"<answer>{i}", "<answer>" * 3 + str(i), f"\ud800{i}"])
    return texts


def used():
    gc.collect()
    process = psutil.Process()
    return process.memory_info().rss, (process.num_fds(), process.num_threads())


def assert_flat(reward, batches, number, *, before=1_000):
    rng = random.Random(0)
    for _ in range(before):
        rows = next(batches)
        reward(completions(rng, rows), rows)
    memory, others = used()
    total = 0.0
    for _ in range(number):
        rows = next(batches)
        total += reward(completions(rng, rows), rows).total.mean()
    assert 0.1 < total / number < 0.9
    after, others_after = used()
    assert others_after == others
    grown = after - memory
    print(f"{number} batches: {grown / MIB:+.2f} MiB, (descriptors, threads) {others_after}")
    assert grown < ALLOWED


@pytest.mark.parametrize("number", [2_000, pytest.param(100_000, marks=pytest.mark.slow)])
def test_batches_of_a_data_set_leave_nothing_behind(reward, number):
    rng, pool = random.Random(1), {task: [row(task, i) for i in range(50)] for task in TASKS}
    batches = ([rng.choice(pool[task]) for task in TASKS] for _ in count())
    assert_flat(reward, batches, number)


@pytest.mark.slow
def test_rows_that_never_come_back_are_forgotten(reward):
    """Once what is kept of rows (anew after 65,536) and of references has been through its bounds."""
    for first in range(0, CACHED + 1_000, 1_000):
        rows = [row("open_ended", -1 - i) for i in range(first, first + 1_000)]
        reward([f"<think>x</think><answer>{i}</answer>" for i in range(1_000)], rows)
    numbers = count()
    assert_flat(
        reward, ([row(task, next(numbers)) for task in TASKS] for _ in count()), 20_000, before=40_000
    )
