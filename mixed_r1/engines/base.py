"""Where gradients go. An engine owns weights and optimizer; the loop calls these methods and knows nothing of
how they are spread over ranks."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mixed_r1.models.packing import Pack
from mixed_r1.train_config import ModelSettings, TrainConfig

__all__ = ["MOMENTS", "Engine", "learning_rate", "read_state", "trainable", "write_state"]

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's state of a parameter


class Engine(Protocol):
    @property
    def lr(self) -> float:
        """The learning rate of the last update; before the first update, its rate."""
        ...

    def logprobs(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """``completion_logprobs`` of the policy. Ranks must call it equally often."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one pack's share of the loss; gradients add over packs and ranks."""
        ...

    def step(self) -> float:
        """Clip, update, advance the schedule, clear the gradients. Returns the gradient norm before clipping.

        The update is skipped, while the schedule still advances, where the norm is not finite, and where no
        backward pass came before (the norm is 0 then). A parameter without a gradient counts as one whose
        gradient is zero.
        """
        ...

    def gathered(self) -> AbstractContextManager[None]:
        """Inside, every rank holds the whole weights: to sample and to save."""
        ...

    def save(self, directory: Path) -> None:
        """Write the optimizer's state. Every rank must call it.

        The files name parameters, not partitions: any engine on any number of ranks can ``load`` them.
        """
        ...

    def load(self, directory: Path) -> None: ...


def trainable(model: torch.nn.Module, config: ModelSettings) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter that the run updates."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError(f"freeze must leave something to train, got {config.freeze}")
    return parameters


def learning_rate(update: int, config: TrainConfig) -> float:
    """The rate of optimizer step ``update`` (from 0): linear warm-up, then the schedule."""
    total = config.steps * config.updates_per_rollout
    if update < config.warmup_steps:
        return config.lr * (update + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return config.lr
    progress = min(1.0, (update - config.warmup_steps) / max(1, total - config.warmup_steps))
    return config.lr * (
        1 - progress if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
    )


def write_state(directory: Path, tensors: Mapping[str, Tensor], *, rank: int = 0) -> None:
    """Write one file for each rank; every tensor is in one of them."""
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, directory / f"optimizer-{rank:05d}.safetensors"
    )


def read_state(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """What all ranks wrote, one tensor at a time; ``step`` and ``updates`` come first."""
    for path in sorted(directory.glob("optimizer-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in sorted(file.keys(), key=lambda key: (":" in key, key)):
                yield key, file.get_tensor(key)
