"""Policy losses as pure functions on log-probs.

Shapes: N target tokens of one pack, K completions of the batch. ``completion_of_target`` [N] says which
completion a token belongs to.

A batch is cut into packs, and packs are spread over ranks. So every loss is a *sum* over its tokens, with
weights that already hold the normaliser of the whole batch: the losses of the packs (and their gradients) add
up to the batch's, whatever the cut.

With r_t = exp(logprob_t - old_logprob_t) and A the completion's advantage, per token:

- ``grpo``     -min(r A, clip(r, 1 - low, 1 + high) A), mean over a completion's tokens, then over completions
               (DeepSeekMath, arXiv 2402.03300).
- ``dapo``     the same, mean over all tokens of the global batch (DAPO, arXiv 2503.14476).
- ``dr_grpo``  the same, sum over tokens / (completions x max_new_tokens) (Dr. GRPO, arXiv 2503.20783).
- ``gspo``     r is the completion's geometric mean ratio; normalised like grpo (GSPO, arXiv 2507.18071).
- ``cispo``    -stop_gradient(min(r, 1 + high)) A logprob, mean over all tokens (MiniMax-M1, arXiv
               2506.13585).

The KL penalty is k3, exp(d) - d - 1 with d = reference - logprob, weighted like the loss's tokens. Above
d = 5 it is linear, so that no token's gradient grows beyond all others.

Where another program drew the tokens, its distribution is not quite the policy's. Each token's loss (not its
KL) is then weighted by min(exp(old_logprob - sampling_logprob), cap): truncated importance sampling.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import get_args

import numpy as np
import torch
from torch import Tensor

from mixed_r1.train_config import LossName

__all__ = [
    "LOSSES",
    "TokenStats",
    "importance_weights",
    "k3",
    "overlong_penalty",
    "policy_loss",
    "token_weights",
]

MAX_LOG_RATIO = 5.0  # nats up to which k3 is exact: a ratio of 148

LOSSES: tuple[LossName, ...] = get_args(LossName)


@dataclass(frozen=True)
class TokenStats:
    """Sums over tokens, without gradient; they add over packs and ranks."""

    tokens: Tensor  # how many
    clipped: Tensor  # tokens where clipping stopped the gradient; cispo: made it smaller where A > 0
    kl: Tensor  # k3 against the reference, 0 where there is none
    old_kl: Tensor  # k3 against the sampling policy: how far the update has moved
    importance: Tensor  # importance weights, 1 each where there are none


def token_weights(
    kind: LossName, lengths: Tensor, *, num_completions: int, num_tokens: int, max_new_tokens: int
) -> Tensor:
    """The weight of one token of each completion, [K] float32.

    Args:
        lengths: [K] tokens of each completion.
        num_completions, num_tokens: totals over the global batch (all packs and ranks), zero-advantage
            completions counted.
    """
    if kind in ("grpo", "gspo"):
        return 1.0 / (lengths.clamp(min=1).float() * max(num_completions, 1))
    if kind in ("dapo", "cispo"):
        return torch.full_like(lengths, 1.0 / max(num_tokens, 1), dtype=torch.float32)
    if kind == "dr_grpo":
        return torch.full_like(lengths, 1.0 / (max(num_completions, 1) * max_new_tokens), dtype=torch.float32)
    raise ValueError(f"kind must be one of {LOSSES}, got {kind!r}")


def importance_weights(old_logprobs: Tensor, sampling_logprobs: Tensor, *, cap: float) -> Tensor:
    """min(exp(old - sampling), cap) [N], without gradient: how much likelier the policy was to draw a token
    than the program that drew it. ``cap`` bounds the variance at the price of a bias."""
    return (old_logprobs - sampling_logprobs).exp().clamp(max=cap).detach()


def overlong_penalty(lengths: np.ndarray, *, max_new_tokens: int, margin: int) -> np.ndarray:
    """What is added to a completion's reward: 0 up to ``max_new_tokens - margin`` tokens, then falling
    linearly to -1 at ``max_new_tokens`` (DAPO, arXiv 2503.14476, section 3.4). [N] float64."""
    return np.clip((max_new_tokens - margin - lengths) / margin, -1.0, 0.0)


def policy_loss(
    logprobs: Tensor,
    old_logprobs: Tensor,
    advantages: Tensor,
    weights: Tensor,
    completion_of_target: Tensor,
    *,
    kind: LossName = "grpo",
    clip_low: float = 0.2,
    clip_high: float = 0.2,
    beta: float = 0.0,
    reference_logprobs: Tensor | None = None,
    importance: Tensor | None = None,
) -> tuple[Tensor, TokenStats]:
    """The pack's share of the batch's loss, a float32 scalar with gradient to ``logprobs``, and its
    statistics.

    Args:
        logprobs: [N] under the policy. old_logprobs: [N] when sampled. reference_logprobs: [N], needed iff
            beta > 0.
        advantages, weights: [K]; ``weights`` from ``token_weights``.
        completion_of_target: [N] int64 into K. All tokens of a completion are in one pack.
        importance: [N] from ``importance_weights``, where another program drew the tokens.
    """
    log_ratio = logprobs - old_logprobs
    advantage = advantages[completion_of_target].float()
    weight = weights[completion_of_target]
    if kind == "gspo":
        zeros = log_ratio.new_zeros(weights.shape)
        counts = zeros.index_add(0, completion_of_target, torch.ones_like(log_ratio)).clamp(min=1)
        means = zeros.index_add(0, completion_of_target, log_ratio) / counts
        log_ratio = means[completion_of_target]
    ratio = log_ratio.exp()
    if kind == "cispo":
        clipped = (ratio.detach() > 1 + clip_high) & (advantage > 0)
        per_token = -ratio.detach().clamp(max=1 + clip_high) * advantage * logprobs
    else:
        clamped = ratio.clamp(1 - clip_low, 1 + clip_high)
        per_token = -torch.minimum(ratio * advantage, clamped * advantage)
        clipped = clamped * advantage < ratio * advantage
    if importance is not None:
        per_token = per_token * importance
    kl = torch.zeros_like(logprobs)
    if beta > 0:
        if reference_logprobs is None:
            raise ValueError("reference_logprobs must be given where beta > 0, got None")
        kl = k3(reference_logprobs - logprobs)
        per_token = per_token + beta * kl
    with torch.no_grad():
        stats = TokenStats(
            tokens=torch.tensor(float(logprobs.numel()), device=logprobs.device),
            clipped=clipped.float().sum(),
            kl=kl.detach().sum(),
            old_kl=k3(old_logprobs - logprobs.detach()).sum(),
            importance=(torch.ones_like(logprobs) if importance is None else importance).sum(),
        )
    return (weight * per_token).sum(), stats


def k3(difference: Tensor) -> Tensor:
    """exp(d) - d - 1 [N], at least 0, with d = log p - log q at tokens drawn from q: its mean is KL(q || p)
    (Schulman, http://joschu.net/blog/kl-approx.html).

    Above ``MAX_LOG_RATIO`` it goes on as its tangent: a token that p makes e^88 times likelier would have a
    gradient of 1e38, and be all that the step is about.
    """
    near = difference.clamp(max=MAX_LOG_RATIO)
    beyond = (difference - near) * (math.exp(MAX_LOG_RATIO) - 1)
    return near.exp() - near - 1 + beyond
