"""Losses against plain loops over completions and tokens, in float64."""

from __future__ import annotations

import math

import pytest
import torch

from mixed_r1.train.loss import LOSSES, policy_loss, token_weights

LOW, HIGH, BETA, MAX_NEW = 0.2, 0.28, 0.04, 16


def batch(seed=0, lengths=(3, 1, 7, 16, 2), spread=0.4):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.cat([torch.full((n,), i) for i, n in enumerate(lengths)])
    N = rows.numel()
    old = -torch.rand(N, generator=generator).double() * 3
    new = old + spread * torch.randn(N, generator=generator).double()
    reference = old + 0.1 * torch.randn(N, generator=generator).double()
    advantages = torch.tensor([1.3, -0.7, 0.0, -1.1, 0.5]).double()
    return rows, old, new, reference, advantages, torch.tensor(lengths)


def oracle(kind, rows, old, new, reference, advantages, lengths, beta):
    """The formulas of the papers, one token at a time."""
    K, total = len(lengths), 0.0
    for i in range(K):
        tokens = [t for t in range(rows.numel()) if rows[t] == i]
        ratios = [math.exp(new[t] - old[t]) for t in tokens]
        if kind == "gspo":
            ratios = [math.prod(ratios) ** (1 / len(ratios))] * len(tokens)
        A = float(advantages[i])
        for t, r in zip(tokens, ratios, strict=True):
            if kind == "cispo":
                value = -min(r, 1 + HIGH) * A * float(new[t])
            else:
                value = -min(r * A, min(max(r, 1 - LOW), 1 + HIGH) * A)
            d = float(reference[t] - new[t])
            value += beta * (math.exp(d) - d - 1)
            if kind in ("grpo", "gspo"):
                total += value / len(tokens) / K
            elif kind == "dr_grpo":
                total += value / (K * MAX_NEW)
            else:
                total += value / rows.numel()
    return total


def loss_of(kind, rows, old, new, reference, advantages, lengths, beta, chosen=slice(None)):
    weights = token_weights(
        kind, lengths, num_completions=len(lengths), num_tokens=int(lengths.sum()), max_new_tokens=MAX_NEW
    ).double()
    return policy_loss(
        new[chosen],
        old[chosen],
        advantages,
        weights,
        rows[chosen],
        kind=kind,
        clip_low=LOW,
        clip_high=HIGH,
        beta=beta,
        reference_logprobs=reference[chosen],
    )


@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("kind", LOSSES)
def test_value_is_the_formula(kind, beta):
    data = batch()
    loss, _ = loss_of(kind, *data, beta)
    assert float(loss) == pytest.approx(oracle(kind, *data, beta), abs=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_gradient_is_the_derivative(kind):
    """Central differences of the oracle; CISPO's ratio is a constant, so its gradient is the oracle's with it
    held."""
    rows, old, new, reference, advantages, lengths = batch(spread=0.2)
    new = new.clone().requires_grad_(True)
    loss, _ = loss_of(kind, rows, old, new, reference, advantages, lengths, BETA)
    loss.backward()
    h = 1e-6
    for t in range(rows.numel()):
        if kind == "cispo":
            r = min(math.exp(float(new[t].detach() - old[t])), 1 + HIGH)
            d = float(reference[t] - new[t].detach())
            expected = (-r * float(advantages[rows[t]]) + BETA * (1 - math.exp(d))) / rows.numel()
        else:
            up, down = new.detach().clone(), new.detach().clone()
            up[t] += h
            down[t] -= h
            expected = (
                oracle(kind, rows, old, up, reference, advantages, lengths, BETA)
                - oracle(kind, rows, old, down, reference, advantages, lengths, BETA)
            ) / (2 * h)
        assert float(new.grad[t]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("kind", LOSSES)
def test_packs_add_up_to_the_batch(kind):
    data = batch()
    whole, stats = loss_of(kind, *data, BETA)
    rows = data[0]
    parts = [
        loss_of(kind, *data, BETA, chosen=torch.isin(rows, torch.tensor(ids))) for ids in ([0, 3], [1, 2, 4])
    ]
    assert float(sum(loss for loss, _ in parts)) == pytest.approx(float(whole), abs=1e-9)
    for name in ("tokens", "clipped", "kl", "old_kl"):
        assert float(sum(getattr(s, name) for _, s in parts)) == pytest.approx(
            float(getattr(stats, name)), abs=1e-5
        )


@pytest.mark.parametrize("kind", LOSSES)
def test_on_policy_gradient_is_the_policy_gradient(kind):
    """At ratio 1 every loss has the gradient -A times its token weight."""
    rows, old, _, reference, advantages, lengths = batch()
    new = old.clone().requires_grad_(True)
    loss, stats = loss_of(kind, rows, old, new, reference, advantages, lengths, 0.0)
    loss.backward()
    weights = token_weights(
        kind, lengths, num_completions=5, num_tokens=int(lengths.sum()), max_new_tokens=MAX_NEW
    )
    torch.testing.assert_close(new.grad, -(advantages * weights)[rows], atol=1e-7, rtol=1e-6)
    assert float(stats.clipped) == 0 and float(stats.old_kl) == 0


def test_clipping_counts_where_the_gradient_stops():
    rows = torch.tensor([0, 0, 1, 1])
    old = torch.zeros(4)
    new = torch.tensor([0.5, -0.5, 0.5, -0.5], requires_grad=True)
    advantages, weights = torch.tensor([1.0, -1.0]), torch.ones(2)
    loss, stats = policy_loss(new, old, advantages, weights, rows, clip_low=LOW, clip_high=HIGH)
    loss.backward()
    assert (new.grad == 0).tolist() == [True, False, False, True]
    assert float(stats.clipped) == 2


def test_bad_arguments_are_named():
    rows, old, new, _, advantages, lengths = batch()
    with pytest.raises(ValueError, match="kind must be one of"):
        token_weights("ppo", lengths, num_completions=5, num_tokens=1, max_new_tokens=1)
    with pytest.raises(ValueError, match="reference_logprobs must be given where beta > 0, got None"):
        policy_loss(new, old, advantages, torch.ones(5).double(), rows, beta=0.1)
