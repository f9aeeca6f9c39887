"""Who samples: our own sampler, an OpenAI-compatible server, or vLLM in this process."""

from __future__ import annotations

from mixed_r1.models.base import ModelAdapter
from mixed_r1.ranks import Ranks
from mixed_r1.rollout.base import (
    Completion,
    Group,
    RolloutEngine,
    RolloutError,
    SamplingParams,
    SaveWeights,
)
from mixed_r1.rollout.sampler import SamplerRollouts, sample_completions
from mixed_r1.train_config import TrainConfig

__all__ = [
    "Completion",
    "Group",
    "RolloutEngine",
    "RolloutError",
    "SamplerRollouts",
    "SamplingParams",
    "SaveWeights",
    "open_rollouts",
    "sample_completions",
]


def open_rollouts(config: TrainConfig, adapter: ModelAdapter, ranks: Ranks) -> RolloutEngine:
    """The engine that ``config.rollout`` names."""
    if config.rollout == "server":
        from mixed_r1.rollout.server import ServerRollouts

        return ServerRollouts(adapter, config, ranks)
    if config.rollout == "vllm":
        from mixed_r1.rollout.vllm import VLLMRollouts

        return VLLMRollouts(adapter, config, ranks)
    return SamplerRollouts(adapter, max_rows=config.max_rollout_rows)
