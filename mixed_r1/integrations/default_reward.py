"""The MixedReward of trainers that load a function by name and pass no object."""

from __future__ import annotations

import os
from functools import cache

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.load import load_reward

__all__ = ["default_reward"]


@cache
def default_reward() -> MixedReward:
    """Made once per process from the environment.

    ``MIXED_R1_REWARD_CONFIG``: a YAML file of RewardConfig (default: its defaults).
    ``MIXED_R1_REWARD_MODEL``: the ``embeddings`` of ``load_reward`` (default: none).
    ``MIXED_R1_REWARD_CALIBRATION``: its ``calibration``, which the ``robust`` preset needs (default: none).
    """
    return load_reward(
        RewardConfig.load(os.environ.get("MIXED_R1_REWARD_CONFIG") or None),
        embeddings=os.environ.get("MIXED_R1_REWARD_MODEL") or None,
        calibration=os.environ.get("MIXED_R1_REWARD_CALIBRATION") or None,
    )
