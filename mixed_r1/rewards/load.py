"""A MixedReward from files: for commands, servers, and trainers that pass no object."""

from __future__ import annotations

import os
from typing import TypeAlias

from mixed_r1.config import ConfigError
from mixed_r1.data import load_samples
from mixed_r1.rewards.config import RewardConfig
from mixed_r1.rewards.reward import MixedReward
from mixed_r1_kernels import EmbeddingTable

__all__ = ["load_reward"]

PathLike: TypeAlias = "str | os.PathLike[str]"


def load_reward(
    config: RewardConfig, *, embeddings: PathLike | None = None, calibration: PathLike | None = None
) -> MixedReward:
    """``embeddings``: a checkpoint directory; its input embedding (memory-mapped) and tokenizer.json serve
    open_ended rows. ``calibration``: rows, JSONL or Parquet, whose references
    ``MixedReward.calibrate`` reads.

    Raises:
        ConfigError: ``embeddings`` holds no tokenizer, or ``calibration`` is missing, cannot be used, or is
            given without ``embeddings``.
        DataError: ``calibration`` holds a bad row.
    """
    if embeddings is None:
        if calibration is not None:
            raise ConfigError(f"calibration must come with embeddings, got {calibration} alone")
        return MixedReward(config=config)
    from tokenizers import Tokenizer

    file = os.path.join(embeddings, "tokenizer.json")
    if not os.path.isfile(file):
        raise ConfigError(f"embeddings must be a model directory with tokenizer.json, got {embeddings}")
    reward = MixedReward(EmbeddingTable.from_pretrained(embeddings), Tokenizer.from_file(file), config=config)
    if calibration is not None:
        rows = load_samples(calibration)
        try:
            reward.calibrate(rows)
        except ValueError as error:
            raise ConfigError(f"calibration must name fitting rows, got {calibration}: {error}") from None
    elif config.for_task("open_ended").open_ended.is_calibrated:
        raise ConfigError(
            "calibration must name rows where open_ended has idf or a measured baseline (robust), got none"
        )
    return reward
