"""Who samples: our own sampler, an OpenAI-compatible server, or vLLM in this process."""

from __future__ import annotations

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.ranks import Ranks
from mixed_r1.rollout.base import (
    Completion,
    Group,
    RolloutError,
    RolloutRequest,
    Sampler,
    SamplingParams,
    SaveWeights,
)
from mixed_r1.rollout.sampler import ModelSampler, sample_completions
from mixed_r1.train_config import TrainConfig

__all__ = [
    "Completion",
    "Group",
    "ModelSampler",
    "RolloutError",
    "RolloutRequest",
    "Sampler",
    "SamplingParams",
    "SaveWeights",
    "open_sampler",
    "sample_completions",
]


def open_sampler(config: TrainConfig, adapter: ModelAdapter, ranks: Ranks) -> Sampler:
    """The sampler that ``config.rollout`` names."""
    if config.rollout == "server":
        from mixed_r1.rollout.server import ServerSampler

        return ServerSampler(adapter, config, ranks)
    if config.rollout == "vllm":
        from mixed_r1.rollout.vllm import VLLMSampler

        return VLLMSampler(adapter, config, ranks)
    return ModelSampler(adapter, max_rows=config.max_rollout_rows)
