"""Mixed-Reward: 10,000 mixed completions without BMAS, captions with BMAS, the worst 1 MiB completions.

The completions are answers as models write them (right, near and wrong, some without their tags) after 30 to
150 words of thought, 8 to a prompt.
"""

from __future__ import annotations

import argparse
import pydoc_data.topics
import random
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Case, Contender
from benchmarks.peers_bmas import peers
from benchmarks.peers_rewards import per_sample_rewards
from benchmarks.text import VOCABULARY, batch, table_bits
from benchmarks.worst_completions import FAMILIES, SIZES, seconds, slope
from mixed_r1.rewards import MixedReward
from mixed_r1.schema import LETTERS, Sample
from mixed_r1_kernels import EmbeddingTable
from mixed_r1_kernels.verify import verify

NUM_COMPLETIONS, GROUP = 10_000, 8
TASKS = ("yes_no", "multiple_choice", "chart", "grounding")
OPTIONS = ("red", "dark blue", "a yellow one", "black")
MEGABYTE = 1 << 20


def cases(options: argparse.Namespace) -> Iterator[Case]:
    yield _mixed(options)
    yield _captions(options)
    yield _worst()


def _mixed(options: argparse.Namespace) -> Case:
    completions, samples = mixed_batch(NUM_COMPLETIONS, GROUP)
    expected = MixedReward(impl="reference")(completions, samples).total
    contenders = []
    for impl in options.impl:
        reward = MixedReward(impl=impl)
        contenders.append(
            Contender(
                f"mixed_r1 {impl}", lambda reward=reward: reward(completions, samples).total, tolerance=0.0
            )
        )
    if options.peers:
        peer = Contender(
            "per sample: re, json, loops", lambda: per_sample_rewards(completions, samples), True
        )
        contenders.append(peer)
    size = sum(map(len, completions))
    return Case(
        f"{NUM_COMPLETIONS} mixed completions, {size // NUM_COMPLETIONS} bytes each, no BMAS",
        contenders,
        lambda result: float(np.abs(result - expected).max()),
        size,
        "GB/s",
        "bytes of the completions",
        {"completions": NUM_COMPLETIONS, "group": GROUP, "bytes": size, "tasks": TASKS},
    )


def mixed_batch(count: int, group: int) -> tuple[list[str], list[Sample]]:
    """Completions and the row of each; rows repeat for a group, as in training."""
    rng = random.Random(0)
    prose = " ".join(map(str, pydoc_data.topics.topics.values())).replace("<", "").split()
    completions, samples = [], []
    for i in range(count // group):
        sample = _sample(rng, i)
        for _ in range(group):
            start = rng.randrange(len(prose) - 200)
            thought = " ".join(prose[start : start + rng.randrange(30, 151)])
            text = f"<think>{thought}</think>\n<answer>{_answer(rng, sample)}</answer>"
            completions.append(text.replace("</think>", "") if rng.random() < 0.05 else text)
            samples.append(sample)
    return completions, samples


def _sample(rng: random.Random, i: int) -> Sample:
    task = TASKS[i % len(TASKS)]
    fields: dict[str, Any] = {"id": str(i), "task": task, "question": "?"}
    if task == "yes_no":
        return Sample(**fields, answer=rng.choice(("yes", "no")))
    if task == "multiple_choice":
        return Sample(**fields, answer=rng.choice(LETTERS[:4]), options=OPTIONS)
    if task == "chart":
        return Sample(
            **fields, answer=rng.choice((str(rng.randrange(3000)), f"{rng.random() * 90:.2f}", "Norway"))
        )
    corners = (sorted(rng.sample(range(1000), 2)) for _ in range(2 * rng.randrange(1, 4)))
    pairs = list(corners)
    return Sample(
        **fields,
        answer=[[x1, y1, x2, y2] for (x1, x2), (y1, y2) in zip(pairs[::2], pairs[1::2], strict=True)],
    )


def _answer(rng: random.Random, sample: Sample) -> str:
    right = rng.random() < 0.5
    if sample.task == "yes_no":
        said = sample.answer if right else rng.choice(("yes", "no"))
        return rng.choice(("{}", "{}.", "{}, it does", "I think {}")).format(said.capitalize())
    if sample.task == "multiple_choice":
        letter = sample.answer if right else rng.choice(LETTERS[:4])
        text = OPTIONS[LETTERS.index(letter)]
        return rng.choice(("{}", "({})", "{}.", "The answer is {}", "{}. " + text, text)).format(letter)
    if sample.task == "chart":
        if sample.answer == "Norway":
            return rng.choice(("Norway", "norway.", "Sweden"))
        value = float(sample.answer) * (1 if right else rng.uniform(0.8, 1.2))
        return rng.choice((f"{value:g}", f"{value:.1f}", f"{value:,.0f}", "about 3"))
    boxes = [[v + (0 if right else rng.randrange(40)) for v in box] for box in sample.answer]
    boxes = [[int(v) for v in box] for box in boxes[: rng.randrange(1, 4)]]
    if rng.random() < 0.5:
        return "[" + ", ".join(f'{{"bbox_2d": {box}, "label": "item"}}' for box in boxes) + "]"
    return str(boxes) if len(boxes) > 1 else f"The item is at {boxes[0]}."


class NumberedTokens:
    """A tokenizer whose texts name their ids ("17 4 923"): what is timed is the scoring of given ids."""

    def __call__(self, texts: list[str], add_special_tokens: bool = False) -> dict[str, list[list[int]]]:
        return {"input_ids": [list(map(int, text.split())) for text in texts]}

    def __len__(self) -> int:
        return VOCABULARY


def _captions(options: argparse.Namespace) -> Case:
    """The shape of the BMAS benchmark's first case, through MixedReward: tags, tokens and scores."""
    data, bits = batch(8, 16, 554, 150), table_bits(2048)
    table = EmbeddingTable(bits, dtype="bfloat16")
    rows = [
        Sample(id=str(i), task="open_ended", question="?", answer=" ".join(map(str, ids)))
        for i, ids in enumerate(data.references)
    ]
    samples = [rows[r] for r in data.reference_of]
    texts = [f"<think>so</think><answer>{' '.join(map(str, ids))}</answer>" for ids in data.completions]
    reward = MixedReward(table, NumberedTokens())
    expected = reward(texts, samples).column("open_ended")

    def error(result: Any) -> float:
        scores = result if isinstance(result, np.ndarray) else np.clip((result[0] + result[1]) / 2, 0, 1)
        return float(np.abs(scores - expected).max())

    contenders = [
        Contender(
            "mixed_r1, text to reward", lambda: reward(texts, samples).column("open_ended"), tolerance=0.0
        )
    ]
    if options.peers:
        contenders += [
            Contender(f"{name}, ids to score", run, True)
            for name, run in peers(data, bits, options.threads, packages=True)
        ]
    tokens = sum(map(len, data.completions))
    return Case(
        f"{len(texts)} captions with BMAS, d=2048, {tokens} tokens",
        contenders,
        error,
        tokens,
        "Gtok/s",
        "tokens of the completions",
        {"completions": len(texts), "tokens": tokens, "dim": 2048},
    )


def _worst() -> Case:
    """Each family as a contender of its own: the time of one completion of 1 MiB, and its slope."""
    slopes = {f.name: slope(SIZES, [seconds(f, size) for size in SIZES]) for f in FAMILIES}
    steepest = max(slopes, key=lambda name: slopes[name])
    print(f"\nlog-log slope of time up to 1 MiB: at most {slopes[steepest]:.2f} ({steepest}); bar 1.15")
    contenders = []
    for family in FAMILIES:
        text = family.make(MEGABYTE)
        contenders.append(Contender(family.name, lambda text=text, gold=family.gold: verify([text], [gold])))
    return Case(
        "one completion of 1 MiB (median must be <= 20 ms)",
        contenders,
        lambda result: 0.0,
        MEGABYTE,
        "GB/s",
        "bytes of the completion",
        {"bytes": MEGABYTE, "families": len(FAMILIES), "slopes": slopes},
    )
