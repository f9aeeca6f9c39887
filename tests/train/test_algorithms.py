"""Losses and advantages against TRL's and Liger's own code on the same tensors, and what shapes a batch:
the overlong penalty and mask, redrawn groups."""

from __future__ import annotations

import json
from collections import defaultdict
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from accelerate import Accelerator
from liger_kernel.chunked_loss.grpo_loss import LigerFusedLinearGRPOFunction, LigerFusedLinearGRPOLoss
from trl.trainer.grpo_trainer import GRPOTrainer
from trl.trainer.utils import nanstd

from mixed_r1.config import ConfigError
from mixed_r1.train import train
from mixed_r1.train.loss import LOSSES, importance_weights, overlong_penalty, policy_loss, token_weights
from mixed_r1_kernels import TaskEma, group_advantages, token_logprobs
from tests.train.runs import settings_from

LOW, HIGH, BETA, MAX_NEW, CAP = 0.2, 0.28, 0.04, 12, 1.5
LENGTHS = (5, 1, 12, 7, 3, 9)


def padded_batch(seed=0):
    """[K, T] log-probs under policy, sampler, server and reference; mask; advantages [K]."""
    generator = torch.Generator().manual_seed(seed)
    K, T = len(LENGTHS), max(LENGTHS)
    old = -3 * torch.rand(K, T, generator=generator, dtype=torch.float64)
    new, server, reference = (
        old + spread * torch.randn(K, T, generator=generator, dtype=torch.float64)
        for spread in (0.4, 0.3, 0.1)
    )
    mask = (torch.arange(T) < torch.tensor(LENGTHS)[:, None]).double()
    advantages = torch.tensor([1.3, -0.7, 0.0, -1.1, 0.5, 2.0], dtype=torch.float64)
    return new, old, server, reference, mask, advantages


def our_loss(*arguments):
    return our_policy_loss(*arguments)[0]


def our_policy_loss(kind, new, old, server, reference, mask, advantages, beta):
    """The packed form of the same tokens: the loss and its statistics."""
    chosen = mask.bool()
    rows = torch.arange(len(LENGTHS))[:, None].expand_as(chosen)[chosen]
    lengths = torch.tensor(LENGTHS)
    weights = token_weights(
        kind, lengths, num_completions=len(LENGTHS), num_tokens=int(lengths.sum()), max_new_tokens=MAX_NEW
    )
    importance = None if server is None else importance_weights(old[chosen], server[chosen], cap=CAP)
    return policy_loss(
        new[chosen],
        old[chosen],
        advantages,
        weights,
        rows,
        kind=kind,
        clip_low=LOW,
        clip_high=HIGH,
        beta=beta,
        reference_logprobs=reference[chosen] if beta else None,
        importance=importance,
    )


def trl_loss(*arguments):
    return trl_policy_loss(*arguments)[0]


def trl_policy_loss(kind, new, old, server, reference, mask, advantages, beta):
    """``GRPOTrainer._compute_loss`` itself, and what it logs; only the model's forward pass is replaced by
    its result.
    """
    arguments = SimpleNamespace(delta=None, use_bias_correction_kl=False, steps_per_generation=1)
    trainer = SimpleNamespace(
        _get_per_token_logps_and_entropies=lambda *_, **__: (new, torch.zeros_like(new), None),
        **{"top_entropy_quantile": 1.0, "off_policy_mask_threshold": None, "aux_loss_enabled": False},
        **{"_entropy_bonus_enabled": False, "use_adaptive_entropy": False, "tools": None},
        importance_sampling_level="sequence" if kind == "gspo" else "token",
        loss_type="grpo" if kind == "gspo" else kind,
        beta=beta,
        args=arguments,
        epsilon_low=LOW,
        epsilon_high=1 + HIGH if kind == "cispo" else HIGH,  # for CISPO the bound itself
        use_vllm=server is not None,
        vllm_importance_sampling_correction=True,
        model=SimpleNamespace(training=True),
        current_gradient_accumulation_steps=1,
        max_completion_length=MAX_NEW,
        accelerator=Accelerator(cpu=True),
        _metrics={"train": defaultdict(list)},
    )
    inputs = {
        "prompt_ids": torch.zeros(len(LENGTHS), 1),
        "prompt_mask": torch.ones(len(LENGTHS), 1),
        "completion_ids": torch.zeros_like(mask),
        "completion_mask": mask,
        "advantages": advantages,
        "old_per_token_logps": old,
        "ref_per_token_logps": reference,
        "num_items_in_batch": mask.sum(),
    }
    if server is not None:
        inputs["importance_sampling_ratio"] = (old - server).exp().clamp(max=CAP)
    loss = GRPOTrainer._compute_loss(trainer, None, inputs)
    return loss, {name: values[-1] for name, values in trainer._metrics["train"].items()}


def liger_loss(kind, new, old, server, reference, mask, advantages, beta):
    loss, _ = LigerFusedLinearGRPOFunction.ppo_loss_fn(
        new,
        mask,
        advantages,
        mask,
        ref_per_token_logps=reference,
        old_per_token_logps=old,
        epsilon_low=LOW,
        epsilon_high=1 + HIGH if kind == "cispo" else HIGH,
        beta=beta,
        loss_type="grpo" if kind == "gspo" else kind,
        max_completion_length=MAX_NEW,
        importance_sampling_level="sequence" if kind == "gspo" else "token",
        vllm_is_ratio=None if server is None else (old - server).exp().clamp(max=CAP),
    )
    return loss


@pytest.mark.parametrize("peer", [trl_loss, liger_loss], ids=["trl", "liger"])
@pytest.mark.parametrize("beta", [0.0, BETA])
@pytest.mark.parametrize("by_server", [False, True])
@pytest.mark.parametrize("kind", LOSSES)
def test_losses_and_gradients_are_those_of_the_peers(kind, by_server, beta, peer):
    new, old, server, reference, mask, advantages = padded_batch()
    results = []
    for compute in (our_loss, peer):
        leaf = new.clone().requires_grad_()
        loss = compute(kind, leaf, old, server if by_server else None, reference, mask, advantages, beta)
        loss.backward()
        results.append((loss.detach().double(), leaf.grad * mask))
    (ours, our_gradient), (theirs, their_gradient) = results
    # Our weights are float32: 2^-24 relative, a sum of 37 terms of size 1 / 37 and below.
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-6, atol=1e-8)
    assert our_gradient.abs().max() > 0


@pytest.mark.parametrize(
    ("kind", "logged"), [("dapo", "clip_ratio/region_mean"), ("cispo", "cispo_clip_ratio")]
)
def test_as_many_tokens_are_clipped_as_trl_counts(kind, logged):
    new, old, _, reference, mask, advantages = padded_batch()
    _, stats = our_policy_loss(kind, new, old, None, reference, mask, advantages, 0.0)
    _, theirs = trl_policy_loss(kind, new, old, None, reference, mask, advantages, 0.0)
    assert float(stats.clipped / stats.tokens) == pytest.approx(theirs[logged], rel=1e-6)
    assert stats.clipped > 0


@pytest.mark.parametrize("kind", ["grpo", "dapo", "dr_grpo"])
def test_from_hidden_states_on_it_is_ligers_fused_loss(kind):
    """Head, log-softmax at a temperature, loss: gradients of hidden states and head."""
    _, old, _, _, mask, advantages = (tensor.float() for tensor in padded_batch())
    (K, T), d, V = mask.shape, 16, 50
    generator = torch.Generator().manual_seed(1)
    hidden = torch.randn(K, T, d, generator=generator)
    head = torch.randn(V, d, generator=generator) / 4
    targets = torch.randint(0, V, (K, T), generator=generator)
    old = torch.log_softmax(hidden @ head.T / 0.7, -1).gather(-1, targets[..., None])[..., 0] + 0.1 * old
    results = []
    for ours in (True, False):
        h, w = hidden.clone().requires_grad_(), head.clone().requires_grad_()
        if ours:
            logprobs = token_logprobs(h.flatten(0, 1), w, targets.flatten(), temperature=0.7).view(K, T)
            loss = our_loss(kind, logprobs, old, None, None, mask, advantages, 0.0)
        else:
            fused = LigerFusedLinearGRPOLoss(
                **{"beta": 0.0, "compiled": False, "use_ref_model": False, "temperature": 0.7},
                **{"epsilon_low": LOW, "epsilon_high": HIGH, "loss_type": kind},
                max_completion_length=MAX_NEW,
            )
            loss, _ = fused(h, w, targets, mask, advantages, old_per_token_logps=old)
        loss.backward()
        results.append((loss.detach(), h.grad, w.grad))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-6)


def test_importance_weights_are_capped_and_without_gradient():
    old = torch.tensor([-1.0, -1.0, -1.0], requires_grad=True)
    weights = importance_weights(old, torch.tensor([-1.0, -3.0, -0.5]), cap=2.0)
    torch.testing.assert_close(weights, torch.tensor([1.0, 2.0, float(np.exp(-0.5))]))
    assert not weights.requires_grad


def rewards_batch(seed=0, groups=6, G=4):
    values = np.random.default_rng(seed).choice([0.0, 0.25, 0.5, 1.0], (groups * G, 2))
    values[:G] = 0.5  # a group that teaches nothing
    return torch.from_numpy(values), G


def grouped(values, G):
    """Mean and std of each row's group: [N] each."""
    groups = values.view(-1, G)
    return groups.mean(1).repeat_interleave(G), nanstd(groups, dim=1).repeat_interleave(G)


@pytest.mark.parametrize("method", ["group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema"])
def test_advantages_are_those_of_the_peers_formulas(method):
    """TRL 1.16's statements (its ``nanstd``, its epsilon); what TRL lacks, by the papers' formulas."""
    columns, G = rewards_batch()
    eps, weights = 1e-4, torch.tensor([1.0, 0.5], dtype=torch.float64)
    total = columns @ weights
    mean, std = grouped(total, G)
    tasks = np.arange(len(total)) // G % 2
    if method == "gdpo":
        parts = [(column - grouped(column, G)[0]) / (grouped(column, G)[1] + eps) for column in columns.T]
        summed = torch.stack(parts, 1) @ weights
        expected = (summed - summed.mean()) / (nanstd(summed) + eps)
    elif method == "rloo":
        expected = total - (mean * G - total) / (G - 1)
    elif method == "maxrl":
        expected = torch.where(mean > 0, (total - mean) / (mean + eps), 0.0)
    elif method == "task_ema":
        spread = np.array([total.numpy()[tasks == task].std(ddof=1) for task in (0, 1)])  # first batch
        expected = (total - mean) / torch.from_numpy(spread[tasks] + eps)
    else:
        divisor = {"group": std + eps, "batch": nanstd(total) + eps, "mean_only": 1.0}[method]
        expected = (total - mean) / divisor
    state = TaskEma() if method == "task_ema" else None
    task_ids = tasks if method == "task_ema" else None
    rewards = columns if method == "gdpo" else total
    found = group_advantages(
        rewards,
        G,
        weights=weights if method == "gdpo" else None,
        method=method,
        eps=eps,
        task_ids=task_ids,
        state=state,
    )
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)  # nanstd counts in float32
    assert (found[:G] == 0).all()


@pytest.mark.parametrize(
    ("length", "penalty"), [(0, 0.0), (60, 0.0), (80, 0.0), (85, -0.25), (90, -0.5), (99, -0.95), (100, -1.0)]
)
def test_the_soft_overlong_penalty(length, penalty):
    """DAPO, equation 13, with L_max = 100 and L_cache = 20."""
    assert overlong_penalty(np.array([length]), max_new_tokens=100, margin=20)[0] == pytest.approx(penalty)


def settings(start, out, **changes):
    values = {
        "steps": 2,
        "prompts_per_step": 4,
        "completions_per_prompt": 4,
        "max_new_tokens": 16,
        "completions_every": 1,
        "lr": 3e-4,
    }
    return settings_from(start, out, **{**values, **changes})


def run(config):
    train(config)
    records = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    files = sorted((config.out / "completions").iterdir())
    return records, [row for file in files for row in pq.read_table(file).to_pylist()]


def test_groups_of_equal_rewards_are_redrawn_a_bounded_number_of_times(start, tmp_path):
    plain, _ = run(settings(start, tmp_path / "plain"))
    redrawn, rows = run(settings(start, tmp_path / "redrawn", redraw_rounds=3))
    assert plain[0]["redrawn"] == 0 and plain[0]["zero_variance"] > 0
    assert redrawn[0]["redrawn"] > 0 and redrawn[0]["zero_variance"] < plain[0]["zero_variance"]
    assert len(rows) == 2 * 4 * 4
    # One token is no answer: every reward is 0, and the rounds end.
    hopeless, _ = run(settings(start, tmp_path / "hopeless", redraw_rounds=3, max_new_tokens=1))
    assert [record["redrawn"] for record in hopeless] == [12, 12]
    assert all(record["zero_variance"] == 1 and record["grad_norm"] == 0 for record in hopeless)
    assert all(record[key] is None for record in hopeless for key in ("importance", "sampling_kl", "entropy"))


def test_overlong_completions_are_punished_or_left_out(start, tmp_path):
    records, rows = run(settings(start, tmp_path / "penalty", overlong="penalty", overlong_margin=8))
    lengths = np.array([row["num_tokens"] for row in rows])
    penalty = np.clip((8 - lengths) / 8, -1, 0)
    assert penalty.min() == -1
    for step, record in enumerate(records):
        assert record["length/penalty"] == pytest.approx(penalty.reshape(2, -1)[step].mean())
    for group, shift in zip(np.array_split(np.arange(len(rows)), 8), penalty.reshape(8, -1), strict=True):
        rewards = np.array([rows[i]["total"] for i in group]) + shift
        expected = (rewards - rewards.mean()) / (rewards.std(ddof=1) + 1e-6) if np.ptp(rewards) > 1e-6 else 0
        np.testing.assert_allclose([rows[i]["advantage"] for i in group], expected, atol=1e-6)
    _, rows = run(settings(start, tmp_path / "mask", overlong="mask", steps=1))
    cut = [row["advantage"] is None for row in rows]
    assert any(cut) and [row["num_tokens"] == 16 for row in rows] >= cut
    with pytest.raises(ConfigError, match=r"overlong_margin must be in \[1, max_new_tokens\]"):
        settings(start, tmp_path / "none", overlong="penalty")
    with pytest.raises(ConfigError, match="overlong must be 'score' or 'mask' where advantage is 'maxrl'"):
        settings(start, tmp_path / "none", overlong="penalty", overlong_margin=8, advantage="maxrl")


def test_a_curriculum_by_configuration(start, tmp_path):
    with pytest.raises(ValueError, match="samples must all have a difficulty for order='curriculum'"):
        train(settings(start, tmp_path / "bare", order="curriculum"))
    rows = [json.loads(line) for line in (start / "data" / "train.jsonl").read_text().splitlines()]
    rows = [row for row in rows if not row.get("images")][:40] or rows[:40]
    for i, row in enumerate(rows):
        row["difficulty"] = i / len(rows)
        row["images"] = [str(start / "data" / image) for image in row.get("images", ())]
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    _, completions = run(
        settings(
            start, tmp_path / "run", data=tmp_path / "train.jsonl", order="curriculum", curriculum_spread=0
        )
    )
    ids = [row["id"] for row in rows]
    places = [ids.index(row["sample_id"]) for row in completions]
    assert np.mean(places[:16]) < np.mean(places[16:])
