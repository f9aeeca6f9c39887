"""Group advantages of 16,384 rewards, in equal and in ragged groups, beside the formulas of TRL and verl.

TRL's views need equal groups. verl names a group by a string per row, so it finds the groups first, and works
on rewards per token: its vectorised form is here without tokens (also with integer labels, which it takes as
they are) and with 1024 of them, as it is called; its loop without.
"""

from __future__ import annotations

import argparse
import random
import uuid
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.harness import Case, Contender
from mixed_r1_kernels import group_advantages

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
        equal = np.full(count // group, group)
        yield _case(rewards, equal, options, with_peers=num_rewards == 1)
        yield _case(rewards, _ragged_sizes(rng, count, group), options, with_peers=num_rewards == 1)


def _ragged_sizes(rng: np.random.Generator, count: int, mean: int) -> np.ndarray:
    ends = np.unique(np.append(rng.integers(1, count, count // mean - 1), count))
    return np.diff(ends, prepend=0)


def _case(rewards: np.ndarray, sizes: np.ndarray, options: argparse.Namespace, *, with_peers: bool) -> Case:
    expected = group_advantages(rewards, sizes, impl="reference")

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
    if options.peers and with_peers:
        contenders += [
            Contender(name, lambda call=call: _repeat(call), is_peer=True)
            for name, call in peers(rewards, sizes)
        ]
    is_equal = bool((sizes == sizes[0]).all())
    shape = f"{len(sizes)} equal groups" if is_equal else f"{len(sizes)} ragged groups (1 to {sizes.max()})"
    return Case(
        name=f"{len(rewards)} x {rewards[0].size} rewards, {shape}, {CALLS} calls",
        contenders=contenders,
        error=error,
        work=CALLS * (rewards.nbytes + 8.0 * len(rewards)),
        unit="GB/s",
        formula="rewards read + float64 advantages written",
        parameters={"rewards": list(rewards.shape), "groups": len(sizes), "equal": is_equal, "calls": CALLS},
    )


def _repeat(call: Callable[[], Any]) -> Any:
    for _ in range(CALLS - 1):
        call()
    return call()


def peers(rewards: np.ndarray, sizes: np.ndarray) -> Iterator[tuple[str, Callable[[], Any]]]:
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(1)
    scores = torch.from_numpy(rewards)
    if (sizes == sizes[0]).all():
        yield "TRL's formula, views", lambda: _trl(scores, int(sizes[0]))
    rng = random.Random(0)
    names = [str(uuid.UUID(int=rng.getrandbits(128), version=4)) for _ in sizes]  # as verl names its groups
    labels = np.repeat(np.array(names, dtype=object), sizes)
    numbers = np.repeat(np.arange(len(sizes)), sizes)
    yield "verl's formula, integer labels", lambda: _verl_vectorised(scores, torch.from_numpy(numbers))
    yield (
        "verl's formula, vectorised",
        lambda: _verl_vectorised(scores, torch.from_numpy(np.unique(labels, return_inverse=True)[1])),
    )
    token_rewards = torch.zeros(len(rewards), 1024)
    token_rewards[:, -1] = scores
    mask = torch.ones_like(token_rewards)
    yield (
        "verl's function, 1024 tokens",
        lambda: _verl_tokens(token_rewards, mask, labels)[:, 0],
    )
    yield "verl's formula, loop", lambda: _verl_loop(scores, labels)


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
    std = variance.clamp(min=1e-6).sqrt()
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
