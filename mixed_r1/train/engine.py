"""Where gradients go. An engine owns weights and optimizer; the loop calls these methods and knows nothing of
how they are spread over ranks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Protocol

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

from mixed_r1.config import ConfigError
from mixed_r1.models.base import ModelAdapter
from mixed_r1.train.config import TrainConfig
from mixed_r1.train.packing import Pack
from mixed_r1.train.policy import completion_logprobs
from mixed_r1.train.ranks import Ranks

__all__ = [
    "MOMENTS",
    "Engine",
    "LocalEngine",
    "adamw",
    "learning_rate",
    "open_engine",
    "read_state",
    "trainable",
    "write_state",
]

MOMENTS = ("exp_avg", "exp_avg_sq")  # AdamW's state of a parameter


class Engine(Protocol):
    @property
    def lr(self) -> float:
        """The learning rate of the next update."""
        ...

    def logprobs(self, pack: Pack) -> tuple[Tensor, Tensor]:
        """``completion_logprobs`` of the policy. Ranks must call it equally often."""
        ...

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one pack's share of the loss; gradients add over packs and ranks."""
        ...

    def step(self) -> float:
        """Clip, update, advance the schedule, clear the gradients. Returns the gradient norm before clipping.

        A non-finite norm skips the update (the schedule still advances), and so does a step without any
        backward pass before it, whose norm is 0. A parameter without gradient counts as one of zeros.
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


class LocalEngine:
    """Plain PyTorch, one process: AdamW over float32 weights, which for a bfloat16 model are copies."""

    def __init__(self, adapter: ModelAdapter, config: TrainConfig) -> None:
        self.adapter, self.config, self.updates = adapter, config, 0
        self.parameters = trainable(adapter.model, config)
        self.masters = {
            name: p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for name, p in self.parameters.items()
        }
        self.optimizer = adamw(self.masters.values(), config)

    @property
    def lr(self) -> float:
        return learning_rate(self.updates, self.config)

    def logprobs(self, pack: Pack) -> tuple[Tensor, Tensor]:
        return completion_logprobs(self.adapter, pack, temperature=self.config.temperature)

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]
        for name, master in self.masters.items():
            parameter = self.parameters[name]
            if master.grad is None:
                master.grad = torch.zeros_like(master)
            if master is not parameter and parameter.grad is not None:
                master.grad += parameter.grad
                parameter.grad = None

    def step(self) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters.values(), self.config.max_grad_norm))
        if math.isfinite(norm):
            self.optimizer.param_groups[0]["lr"] = self.lr
            self.optimizer.step()
            with torch.no_grad():
                for name, master in self.masters.items():
                    self.parameters[name].copy_(master)
        self.optimizer.zero_grad(set_to_none=True)
        self.updates += 1
        return norm

    def gathered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def save(self, directory: Path) -> None:
        tensors = {"updates": torch.tensor(self.updates)}
        for name, master in self.masters.items():
            state = self.optimizer.state.get(master, {})  # none before the first update
            tensors |= {f"{name}:{kind}": state[kind] for kind in MOMENTS if state}
            tensors |= {"step": state["step"]} if state else {}
            if master is not self.parameters[name]:
                tensors[f"{name}:master"] = master.detach()
        write_state(directory, tensors)

    def load(self, directory: Path) -> None:
        for key, value in read_state(directory):
            name, _, kind = key.partition(":")
            if key == "updates":
                self.updates = int(value)
            elif key == "step":
                for master in self.masters.values():
                    self.optimizer.state[master]["step"] = value.to(master.device, copy=True)
            elif kind == "master":
                self.masters[name].data.copy_(value)
            else:
                self.optimizer.state[self.masters[name]][kind] = value.to(self.masters[name].device)


def open_engine(config: TrainConfig, adapter: ModelAdapter, ranks: Ranks) -> Engine:
    """The engine that ``config.engine`` names; ``auto`` is DeepSpeed where there are several ranks."""
    if config.engine == "local" and ranks.world_size > 1:
        raise ConfigError(f"engine must be deepspeed or auto for {ranks.world_size} ranks, got local")
    if config.engine == "deepspeed" or ranks.world_size > 1:
        from mixed_r1.train.deepspeed_engine import DeepSpeedEngine

        return DeepSpeedEngine(adapter, config, ranks)
    return LocalEngine(adapter, config)


def trainable(model: torch.nn.Module, config: TrainConfig) -> dict[str, torch.nn.Parameter]:
    """Name -> parameter that the run updates."""
    parameters = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not parameters:
        raise ValueError(f"freeze must leave something to train, got {config.freeze}")
    return parameters


def adamw(parameters: Iterable[Tensor], config: TrainConfig) -> torch.optim.AdamW:
    """Fused: the fast path on GPUs, and on CPUs that hold offloaded optimizer state."""
    return torch.optim.AdamW(
        list(parameters), lr=config.lr, betas=config.betas, weight_decay=config.weight_decay, fused=True
    )


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
    """One file a rank; each tensor is in one of them."""
    save_file(
        {k: v.contiguous() for k, v in tensors.items()}, directory / f"optimizer-{rank:05d}.safetensors"
    )


def read_state(directory: Path) -> Iterator[tuple[str, Tensor]]:
    """What all ranks wrote, one tensor at a time; ``step`` and ``updates`` come first."""
    for path in sorted(directory.glob("optimizer-*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for key in sorted(file.keys(), key=lambda key: (":" in key, key)):
                yield key, file.get_tensor(key)
