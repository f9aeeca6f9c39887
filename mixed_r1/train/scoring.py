"""From completions to advantages: rewards, what being too long costs, which groups teach nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mixed_r1.rewards import MixedReward, RewardBatch
from mixed_r1.schema import TASKS, Sample
from mixed_r1.train.config import TrainConfig
from mixed_r1.train.loss import overlong_penalty
from mixed_r1.train.rollout import Completion, Group
from mixed_r1_kernels import TaskEma, group_advantages

__all__ = ["Scored", "Scorer"]


@dataclass(frozen=True)
class Scored:
    """Groups with their rewards: N completions, group by group."""

    groups: Sequence[Group]
    completions: Sequence[Completion]
    samples: Sequence[Sample]  # [N], the row of each completion
    batch: RewardBatch
    penalty: np.ndarray  # [N] in [-1, 0], added to the reward before advantages are taken
    mask: np.ndarray  # [N] bool, False: out of statistics and loss


class Scorer:
    """The reward and the running statistics that advantages need."""

    def __init__(self, config: TrainConfig, reward: MixedReward) -> None:
        self.config, self.reward, self.task_ema = config, reward, TaskEma()

    def score(self, groups: Sequence[Group]) -> Scored:
        config = self.config
        completions = [c for group in groups for c in group.completions]
        samples = [group.sample for group in groups for _ in group.completions]
        batch = self.reward([c.text for c in completions], samples)
        mask, penalty = np.asarray(batch.mask), np.zeros(len(completions))
        if config.overlong == "mask":
            mask = mask & np.array([c.stopped for c in completions])
        if config.overlong == "penalty":
            lengths = np.array([len(c) for c in completions])
            limit, margin = config.max_new_tokens, config.overlong_margin
            penalty = overlong_penalty(lengths, max_new_tokens=limit, margin=margin)
        return Scored(groups, completions, samples, batch, penalty, mask)

    def advantages(self, scored: Scored) -> np.ndarray:
        """[N] float64, 0 where the mask is False."""
        return self._advantages(scored, self.config.advantage)

    def flat(self, scored: Scored) -> np.ndarray:
        """Groups [N / G] that teach nothing: all rewards equal, or all masked."""
        method = "gdpo" if self.config.advantage == "gdpo" else "mean_only"
        advantages = self._advantages(scored, method)
        return (advantages.reshape(-1, self.config.completions_per_prompt) == 0).all(axis=1)

    def _advantages(self, scored: Scored, method: str) -> np.ndarray:
        rewards, weights = scored.batch.total + scored.penalty, None
        if method == "gdpo":
            rewards = np.column_stack([scored.batch.values, scored.penalty])
            weights = [*self.reward.column_weights(), 1.0]
        tasks = np.array([TASKS.index(sample.task) for sample in scored.samples])
        return group_advantages(
            rewards,
            self.config.completions_per_prompt,
            weights=weights,
            method=method,
            mask=scored.mask,
            task_ids=tasks if method == "task_ema" else None,
            state=self.task_ema if method == "task_ema" else None,
        )
