"""Mixed-Reward: one verifiable reward per task, a whole batch at a time."""

from mixed_r1.rewards.batch import RewardBatch
from mixed_r1.rewards.config import OpenEndedConfig, RewardConfig
from mixed_r1.rewards.explain import Explanation, explain
from mixed_r1.rewards.reward import MixedReward, RewardFunction

__all__ = [
    "Explanation",
    "MixedReward",
    "OpenEndedConfig",
    "RewardBatch",
    "RewardConfig",
    "RewardFunction",
    "explain",
]
