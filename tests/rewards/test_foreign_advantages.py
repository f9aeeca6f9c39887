"""Advantages of Mixed-Reward's totals against the trainers' own code.

TRL 1.16: the statements of ``GRPOTrainer`` that turn rewards into advantages are taken from the installed
package and run. verl 0.9.1: its functions, where it is installed (an environment of its own, see
tests/integrations/test_installed_trainers.py). Differences: ``WHY``.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from mixed_r1.rewards import MixedReward, RewardBatch
from mixed_r1_kernels import group_advantages

WHY = {
    "one completion": "verl gives a group of one its own reward as advantage (mean 0, std 1): nothing was "
    "compared, so ours gives 0 and the row teaches nothing",
    "masked": "verl has no masked rows; a NaN reward makes its whole group NaN. TRL leaves rows without any "
    "reward out of the mean and gives them 0, as ours does",
}
G = 4
ANSWERS = {
    "chart": ("41", ["41", "42", "50", "41 or 50"]),
    "yes_no": ("yes", ["yes", "no", "yes", "<think>yes"]),
    "grounding": ([0, 0, 10, 10], ["[0, 0, 10, 10]", "[0, 0, 10, 5]", "[0, 0, 20, 10]", "left"]),
    "math": ("1/2", ["0.5", "0.5", "0.5", "0.5"]),  # a group that teaches nothing
}


def scored() -> RewardBatch:
    """Four groups of four, with and without the format."""
    texts, rows = [], []
    for task, (gold, answers) in ANSWERS.items():
        for i, answer in enumerate(answers):
            texts.append(
                f"<think>so</think><answer>{answer}</answer>" if i != 2 else f"<answer>{answer}</answer>"
            )
            rows.append({"id": task, "task": task, "question": "?", "answer": gold})
    texts[-2] = texts[-1]
    return MixedReward()(texts, rows)


def trl_advantages(columns: torch.Tensor, **settings: Any) -> torch.Tensor:
    """Of rewards [N, K], by the statements of the installed TRL."""
    trainer = pytest.importorskip("trl.trainer.grpo_trainer")
    method = trainer.GRPOTrainer._generate_and_score_completions
    (function,) = ast.parse(textwrap.dedent(inspect.getsource(method))).body
    assert isinstance(function, ast.FunctionDef)
    wanted = ("unscorable_mask = ", "if self.multi_objective_aggregation", "advantages = torch.nan_to_num")
    found = [node for node in function.body if ast.unparse(node).startswith(wanted)]
    assert len(found) == 3
    names: dict[str, Any] = {
        **vars(trainer),
        "self": SimpleNamespace(
            reward_weights=torch.ones(columns.shape[1]), reward_funcs=[None] * columns.shape[1], **settings
        ),
        "rewards_per_func": columns,
        "num_generations": G,
        "device": "cpu",
    }
    exec(compile(ast.Module(found, []), "trl", "exec"), names)
    advantages: torch.Tensor = names["advantages"]
    return advantages


@pytest.mark.parametrize(
    ("method", "aggregation", "scale"),
    [
        ("group", "sum_then_normalize", "group"),
        ("mean_only", "sum_then_normalize", "none"),
        ("batch", "sum_then_normalize", "batch"),
        ("gdpo", "normalize_then_sum", "group"),
    ],
)
@pytest.mark.parametrize("masked", [False, True])
def test_trl(method: str, aggregation: str, scale: str, masked: bool) -> None:
    batch = scored()
    weighted = batch.values * batch.weights
    if masked:
        weighted[[1, 6]] = np.nan
    known = ~np.isnan(weighted).all(axis=1)
    expected = trl_advantages(
        torch.from_numpy(weighted), multi_objective_aggregation=aggregation, scale_rewards=scale
    )
    rewards = weighted if method == "gdpo" else np.where(known, np.nansum(weighted, axis=1), np.nan)
    found = group_advantages(rewards, G, method=method, eps=1e-4, mask=known)
    # TRL's nanstd counts in float32.
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-6, atol=1e-8)
    assert (found[-G:] == 0).all() and np.abs(found).max() > 0.1


@pytest.mark.parametrize("method", ["group", "mean_only", "rloo", "gdpo"])
def test_verl(method: str) -> None:
    algorithms = pytest.importorskip("verl.trainer.ppo.core_algos")
    batch = scored()
    groups = np.repeat(np.arange(len(batch) // G), G)
    columns = torch.from_numpy(np.nan_to_num(batch.values))
    mask = torch.ones(len(batch), 1, dtype=torch.float64)
    total = torch.from_numpy(batch.total)[:, None]
    if method == "gdpo":
        keys = list(batch.names)
        expected, _ = algorithms.compute_gdpo_outcome_advantage(
            total,
            mask,
            groups,
            config={"gdpo_reward_keys": keys, "gdpo_reward_weights": batch.weights[0].tolist()},
            non_tensor_batch=dict(zip(keys, columns.T.numpy(), strict=True)),
            batch={
                "prompts": torch.zeros(len(batch), 1),
                "attention_mask": torch.ones(len(batch), 2, dtype=torch.long),
            },
        )
    elif method == "rloo":
        expected, _ = algorithms.compute_rloo_outcome_advantage(total, mask, groups)
    else:
        expected, _ = algorithms.compute_grpo_outcome_advantage(
            total, mask, groups, norm_adv_by_std_in_grpo=method == "group"
        )
    rewards, weights = (batch.values, batch.weights[0]) if method == "gdpo" else (batch.total, None)
    found = group_advantages(rewards, G, weights=weights, method=method)
    # Their gdpo counts in float32.
    np.testing.assert_allclose(found, expected[:, 0].numpy(), rtol=1e-5, atol=1e-6)
    assert (found[-G:] == 0).all() and np.abs(found).max() > 0.1


def test_verl_differs_as_said() -> None:
    algorithms = pytest.importorskip("verl.trainer.ppo.core_algos")
    one = torch.tensor([[0.7]], dtype=torch.float64)
    assert algorithms.compute_grpo_outcome_advantage(one, torch.ones(1, 1), np.zeros(1))[0].item() > 0.69
    assert group_advantages(np.array([0.7]), 1).tolist() == [0.0], WHY["one completion"]
    masked = torch.tensor([[1.0], [0.0], [np.nan]], dtype=torch.float64)
    theirs = algorithms.compute_grpo_outcome_advantage(masked, torch.ones(3, 1), np.zeros(3))[0]
    assert theirs.isnan().all()
    assert np.isfinite(group_advantages(masked[:, 0].numpy(), 3)).all(), WHY["masked"]
