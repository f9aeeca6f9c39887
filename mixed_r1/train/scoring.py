"""From completions to advantages: rewards, what being too long costs, which groups teach nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixed_r1.config import ConfigError
from mixed_r1.data.stats import short_gold
from mixed_r1.models import ModelAdapter, box_frame_of, thought_of
from mixed_r1.ranks import Ranks
from mixed_r1.rewards import MixedReward, RewardBatch, RewardConfig, RewardFunction
from mixed_r1.rewards.reward import function_name
from mixed_r1.rollout import Completion, Group
from mixed_r1.schema import Sample
from mixed_r1.tasks import task_number
from mixed_r1.train.evaluation import shortened
from mixed_r1.train.loss import overlong_penalty
from mixed_r1.train_config import TrainConfig
from mixed_r1_kernels import EmbeddingTable, TaskEma, group_advantages

__all__ = ["GlobalBatch", "Scored", "Scorer", "effective_config", "make_reward"]

REWARD_COLUMNS = ("total", "values", "reasons", "mask", "weights", "spans")  # arrays of a RewardBatch


@dataclass(frozen=True)
class Scored:
    """Groups with their rewards: N completions, group by group."""

    groups: Sequence[Group]
    completions: Sequence[Completion]
    samples: Sequence[Sample]  # [N], the row of each completion
    batch: RewardBatch
    penalty: np.ndarray  # [N] in [-1, 0], added to the reward before advantages are taken
    mask: np.ndarray  # [N] bool, False: out of statistics and loss

    @property
    def tasks(self) -> list[str]:
        return [sample.task for sample in self.samples]


@dataclass(frozen=True)
class GlobalBatch:
    """What all ranks know of all completions: N of them, in an order that all share."""

    batch: RewardBatch
    penalty: np.ndarray  # [N]
    mask: np.ndarray  # [N]
    flat: np.ndarray  # [N] whether the completion's group teaches nothing
    lengths: np.ndarray  # [N]
    stopped: np.ndarray  # [N]
    tasks: np.ndarray  # [N]
    sources: np.ndarray  # [N]
    answers: np.ndarray  # [N] the answers given, in lower case, cut to a few words
    golds: np.ndarray  # [N] the gold where it is a short text, else ""


def effective_config(config: TrainConfig, reward: MixedReward | RewardFunction | None = None) -> TrainConfig:
    """``config`` with the reward settings that the run will have: boxes in the frame the model speaks, the
    thought as its chat template leaves it, and the settings of ``reward`` where it is a MixedReward.

    Raises:
        ConfigError: no supported model, a ``box_frame`` or ``think`` that is not its model's, or settings of
            ``config`` that ``reward`` would replace.
    """
    frame = box_frame_of(config.model)
    if not isinstance(reward, MixedReward):
        think = thought_of(config.model, config.reward.think_tag)
        return config.model_copy(update={"reward": config.reward.for_model(frame, think)})
    reward.speak(frame, thought_of(config.model, reward.config.think_tag))
    settings = reward.settings()
    if config.reward not in (RewardConfig(), settings) or config.reward_weights:
        raise ConfigError(
            "reward and reward_weights must be left out of the settings where a MixedReward is given, "
            "got both"
        )
    return config.model_copy(update={"reward": settings})


def make_reward(
    config: TrainConfig,
    adapter: ModelAdapter,
    samples: Sequence[Sample],
    reward: MixedReward | RewardFunction | None = None,
) -> MixedReward:
    """Mixed-Reward for this model: its box frame and thought, and BMAS on the table it started from.

    The table stays the starting model's, so the policy cannot raise its reward by moving embeddings. Where
    open_ended has settings to be measured (``preset: robust``), they are on ``samples``, the training rows.
    ``reward``: see ``train``.
    """
    if isinstance(reward, MixedReward):
        reward.speak(adapter.box_frame, adapter.thought(reward.config.think_tag))
        made = reward
    else:
        made = MixedReward(
            EmbeddingTable.from_pretrained(config.model),
            adapter.tokenizer,
            weights=config.reward_weights,
            config=config.reward.for_model(adapter.box_frame, adapter.thought(config.reward.think_tag)),
            functions={} if reward is None else {function_name(reward): reward},
        )
    if made.needs_calibration:
        made.calibrate(samples)
    return made


class Scorer:
    """The reward and the running statistics that advantages need."""

    def __init__(self, config: TrainConfig, reward: MixedReward, ranks: Ranks) -> None:
        self.config = config
        self.reward = reward
        self.ranks = ranks
        self.task_ema = TaskEma()

    def score(self, groups: Sequence[Group]) -> Scored:
        config = self.config
        completions = [c for group in groups for c in group.completions]
        samples = [group.sample for group in groups for _ in group.completions]
        batch = self.reward([c.text for c in completions], samples)
        mask = np.asarray(batch.mask)
        penalty = np.zeros(len(completions))
        if config.overlong == "mask":
            mask = mask & np.array([c.stopped for c in completions])
        if config.overlong == "penalty":
            lengths = np.array([len(c) for c in completions])
            limit, margin = config.max_new_tokens, config.overlong_margin
            penalty = overlong_penalty(lengths, max_new_tokens=limit, margin=margin)
        return Scored(groups, completions, samples, batch, penalty, mask)

    def gathered(self, scored: Scored) -> GlobalBatch:
        """The batch of all ranks, group by group in turn."""
        batch = scored.batch
        G = self.config.completions_per_prompt
        columns = {
            **{name: getattr(batch, name) for name in REWARD_COLUMNS},
            "penalty": scored.penalty,
            "scored": scored.mask,
            "flat": self.flat(scored).repeat(G),
            "lengths": np.array([len(c) for c in scored.completions]),
            "stopped": np.array([c.stopped for c in scored.completions]),
            "tasks": np.array([sample.task for sample in scored.samples]),
            "sources": np.array([sample.source for sample in scored.samples]),
            "answers": np.array([shortened(answer) for answer in batch.answers]),
            "golds": np.array([short_gold(sample) or "" for sample in scored.samples]),
        }
        merged = self.ranks.merge_columns(columns, rows=G)
        rewards: dict[str, Any] = {name: merged.pop(name) for name in REWARD_COLUMNS}
        batch = replace(batch, **rewards)
        return GlobalBatch(batch=batch, mask=merged.pop("scored"), **merged)

    def advantages(self, everything: GlobalBatch) -> np.ndarray:
        """[N] float64 of this rank's completions, exact over all ranks; 0 where the mask is False."""
        G = self.config.completions_per_prompt
        advantages = self._advantages(everything, self.config.advantage)
        return np.concatenate(self.ranks.share(list(advantages.reshape(-1, G))))

    def flat(self, scored: Scored) -> np.ndarray:
        """Groups [N / G] that teach nothing: all rewards equal, or all masked."""
        method = "gdpo" if self.config.advantage == "gdpo" else "mean_only"
        advantages = self._advantages(scored, method)
        return (advantages.reshape(-1, self.config.completions_per_prompt) == 0).all(axis=1)

    def _advantages(self, scored: Scored | GlobalBatch, method: str) -> np.ndarray:
        rewards = scored.batch.total + scored.penalty
        weights = None
        if method == "gdpo":
            rewards = np.column_stack([scored.batch.values, scored.penalty])
            weights = [*self.reward.column_weights(), 1.0]
        tasks = np.array([task_number(task) for task in scored.tasks])
        return group_advantages(
            rewards,
            self.config.completions_per_prompt,
            weights=weights,
            method=method,
            mask=scored.mask,
            task_ids=tasks if method == "task_ema" else None,
            state=self.task_ema if method == "task_ema" else None,
        )
