"""Group advantages of 16,384 rewards, in equal and in ragged groups, beside the formulas of TRL and verl.

TRL's views need equal groups; beside ragged groups they are timed on as many rewards in equal ones. verl
(0.9.1) names a group by a string per row, so it finds the groups first; it takes rewards per token [N, L] and
gives advantages per token. Its vectorised form is here as it is called, with 1024 tokens, which the bar of
300 is about; and, to show where that time goes, its arithmetic on [N] rewards alone, with the strings and
with integer labels. Its loop is on [N].
"""

from __future__ import annotations

import argparse
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.bars import Bar, errs_by, times_faster
from benchmarks.harness import Case, Contender
from mixed_r1_kernels import group_advantages

THREADS = (1, 2)
TOKENS = 1024  # of a completion, where verl's function is called
TRL_EQUAL = "TRL's formula, views, equal groups"
VERL = f"verl's function, {TOKENS} tokens"
STANDARD = [(16384, 16, 1)]
SCALING = [
    *((count, 16, 1) for count in (256, 4096, 65536)),
    *((16384, group, 1) for group in (2, 64)),
    (16384, 16, 4),
]
CALLS = 20  # a timing is of so many calls


def cases(options: argparse.Namespace) -> Iterator[Case]:
    for count, group, num_rewards in SCALING if options.scaling else STANDARD:
        rng = np.random.default_rng(0)
        rewards = rng.random((count, num_rewards)).astype(np.float32)
        rewards = rewards[:, 0] if num_rewards == 1 else rewards
        for sizes in (np.full(count // group, group), _ragged_sizes(rng, count, group)):
            yield _case(rewards, sizes, group, options)


def _ragged_sizes(rng: np.random.Generator, count: int, mean: int) -> np.ndarray:
    ends = np.unique(np.append(rng.integers(1, count, count // mean - 1), count))
    return np.diff(ends, prepend=0)


def _case(rewards: np.ndarray, sizes: np.ndarray, group: int, options: argparse.Namespace) -> Case:
    expected = group_advantages(rewards, sizes, impl="reference")
    is_equal = bool((sizes == sizes[0]).all())

    def error(result: Any) -> float:
        return float(np.abs(np.asarray(result, dtype=np.float64) - expected).max())

    contenders = [
        Contender(
            f"mixed_r1 {impl}",
            lambda impl=impl: _repeat(lambda: group_advantages(rewards, sizes, impl=impl)),
            tolerance=1e-12,
        )
        for impl in options.impl
    ]
    if options.peers and rewards.ndim == 1:
        contenders += [
            Contender(name, lambda call=call: _repeat(call), is_peer=True)
            for name, call in peers(rewards, sizes, options.threads)
        ]
        if not is_equal:
            contenders += _equal_groups(rewards, group)
    judged = options.peers and not options.scaling and options.threads == 1 and "native" in options.impl
    shape = f"{len(sizes)} equal groups" if is_equal else f"{len(sizes)} ragged groups (1 to {sizes.max()})"
    return Case(
        name=f"{len(rewards)} x {rewards[0].size} rewards, {shape}, {CALLS} calls",
        contenders=contenders,
        error=error,
        work=CALLS * (rewards.nbytes + 8.0 * len(rewards)),
        unit="GB/s",
        formula="rewards read + float64 advantages written",
        parameters={"rewards": list(rewards.shape), "groups": len(sizes), "equal": is_equal, "calls": CALLS},
        bars=_bars(is_equal) if judged else (),
    )


def _bars(is_equal: bool) -> list[Bar]:
    own = "mixed_r1 native"
    largest = float(np.abs(group_advantages(np.full(12, 0.7, np.float32), 12)).max())
    return [
        times_faster(own, "TRL's formula, views" if is_equal else TRL_EQUAL, 1),
        times_faster(own, VERL, 300),
        errs_by(own, 1e-12),
        Bar("largest advantage of 12 rewards of 0.7", lambda _: largest, at_most=0),
    ]


def _equal_groups(rewards: np.ndarray, group: int) -> Iterator[Contender]:
    """TRL's formula on the rewards of a ragged case, in equal groups."""
    try:
        import torch
    except ImportError:
        return
    scores = torch.from_numpy(rewards)
    expected = group_advantages(rewards, group, impl="reference")

    def error(result: Any) -> float:
        return float(np.abs(result.numpy() - expected).max())

    yield Contender(TRL_EQUAL, lambda: _repeat(lambda: _trl(scores, group)), is_peer=True, error=error)


def _repeat(call: Callable[[], Any]) -> Any:
    for _ in range(CALLS - 1):
        call()
    return call()


def peers(rewards: np.ndarray, sizes: np.ndarray, threads: int) -> Iterator[tuple[str, Callable[[], Any]]]:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)
    scores = torch.from_numpy(rewards)
    if (sizes == sizes[0]).all():
        yield "TRL's formula, views", lambda: _trl(scores, int(sizes[0]))
    rng = random.Random(0)
    names = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in sizes]  # as verl names its groups
    labels = np.repeat(np.array(names, dtype=object), sizes)
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    yield "verl's formula, no tokens, integers", lambda: _verl_vectorised(scores, torch.from_numpy(numbers))
    yield (
        "verl's formula, no tokens",
        lambda: _verl_vectorised(scores, torch.from_numpy(np.unique(labels, return_inverse=True)[1])),
    )
    token_rewards = torch.zeros(len(rewards), TOKENS)
    token_rewards[:, -1] = scores
    mask = torch.ones_like(token_rewards)
    yield (
        VERL,
        lambda: _verl_tokens(token_rewards, mask, labels)[:, 0],
    )
    yield "verl's loop, no tokens", lambda: _verl_loop(scores, labels)


def _trl(scores: Any, group: int) -> Any:
    """Mean and std of a [groups, G] view, repeated to the rows."""
    view = scores.view(-1, group)
    mean = view.mean(dim=1).repeat_interleave(group)
    std = view.std(dim=1).repeat_interleave(group)
    return (scores - mean) / (std + 1e-6)


def _verl_vectorised(scores: Any, group_of: Any) -> Any:
    """Counts, sums and sums of squares by indexed addition; the variance is their difference."""
    import torch

    num_groups = int(group_of.max()) + 1

    def summed(values: Any) -> Any:
        return torch.zeros(num_groups).index_add_(0, group_of, values)

    counts, sums, squares = summed(torch.ones_like(scores)), summed(scores), summed(scores * scores)
    mean = sums / counts
    variance = (squares - sums * mean) / (counts - 1).clamp(min=1)
    std = variance.clamp(min=0).sqrt()
    mean, std = torch.where(counts > 1, mean, 0), torch.where(counts > 1, std, 1)
    return (scores - mean[group_of]) / (std[group_of] + 1e-6)


def _verl_tokens(token_rewards: Any, mask: Any, labels: np.ndarray) -> Any:
    """Rewards [N, L] in, advantages [N, L] out."""
    import torch

    group_of = torch.from_numpy(np.unique(labels, return_inverse=True)[1])
    return _verl_vectorised(token_rewards.sum(dim=1), group_of)[:, None] * mask


def _verl_loop(scores: Any, labels: np.ndarray) -> Any:
    """One tensor operation for each row."""
    import torch

    members = defaultdict(list)
    for label, score in zip(labels, scores, strict=True):
        members[label].append(score)
    statistics = {}
    for label, values in members.items():
        stacked = torch.stack(values)
        statistics[label] = (stacked.mean(), stacked.std() if len(values) > 1 else torch.tensor(1.0))
    advantages = scores.clone()
    for i, label in enumerate(labels):
        mean, std = statistics[label]
        advantages[i] = (scores[i] - mean) / (std + 1e-6)
    return advantages
