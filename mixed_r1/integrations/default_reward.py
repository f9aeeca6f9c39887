"""The MixedReward of trainers that load a function by its file and cannot pass it an object."""

from __future__ import annotations

import os
from functools import cache

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1_kernels import EmbeddingTable

__all__ = ["default_reward"]


@cache
def default_reward() -> MixedReward:
    """Made once per process from the environment.

    ``MIXED_R1_REWARD_CONFIG``: a YAML file of RewardConfig (default: its defaults).
    ``MIXED_R1_REWARD_MODEL``: a checkpoint directory whose input embeddings and tokenizer serve open_ended
    rows (default: none).
    """
    config = RewardConfig.load(os.environ.get("MIXED_R1_REWARD_CONFIG") or None)
    model = os.environ.get("MIXED_R1_REWARD_MODEL")
    if not model:
        return MixedReward(config=config)
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model)
    return MixedReward(EmbeddingTable.from_pretrained(model), tokenizer, config=config)
