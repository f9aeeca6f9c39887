"""Where gradients go. An engine owns the optimizer; the trainer calls these methods and knows nothing of
ranks."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Protocol

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mixed_r1.train.config import TrainConfig

__all__ = ["Engine", "LocalEngine"]


class Engine(Protocol):
    rank: int
    world_size: int

    def backward(self, loss: Tensor) -> None:
        """Add the gradient of one pack's share of the loss."""
        ...

    def step(self) -> float:
        """Clip, update, advance the schedule, clear the gradients. Returns the gradient norm before clipping.

        A non-finite norm skips the update (the schedule still advances); the caller counts it.
        """
        ...

    def sum(self, values: Tensor) -> Tensor:
        """Sum of ``values`` over all ranks."""
        ...

    def save(self, directory: Path) -> None:
        """Write optimizer and schedule state into ``directory``."""
        ...

    def load(self, directory: Path) -> None:
        """Read what ``save`` wrote."""
        ...


class LocalEngine:
    """Plain PyTorch, one process: AdamW over the trainable parameters."""

    rank = 0
    world_size = 1

    def __init__(self, model: torch.nn.Module, config: TrainConfig) -> None:
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError(f"freeze must leave something to train, got {config.freeze}")
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            self.parameters, lr=config.lr, betas=config.betas, weight_decay=config.weight_decay
        )
        self.scheduler = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer, lambda k: learning_rate_factor(k, config)
        )

    def backward(self, loss: Tensor) -> None:
        loss.backward()  # type: ignore[no-untyped-call]

    def step(self) -> float:
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, self.max_grad_norm))
        if math.isfinite(norm):
            self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.scheduler.step()
        return norm

    def sum(self, values: Tensor) -> Tensor:
        return values

    @property
    def lr(self) -> float:
        return float(self.scheduler.get_last_lr()[0])

    def save(self, directory: Path) -> None:
        state = self.optimizer.state_dict()
        tensors = {
            f"{index}.{name}": value.contiguous()
            for index, entry in state["state"].items()
            for name, value in entry.items()
        }
        save_file(tensors, directory / "optimizer.safetensors")
        record = {
            "param_groups": state["param_groups"],
            "scheduler": {"last_epoch": self.scheduler.last_epoch},
        }
        (directory / "optimizer.json").write_text(json.dumps(record))

    def load(self, directory: Path) -> None:
        record = json.loads((directory / "optimizer.json").read_text())
        entries: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(directory / "optimizer.safetensors").items():
            index, _, name = key.partition(".")
            entries.setdefault(int(index), {})[name] = value
        self.optimizer.load_state_dict({"state": entries, "param_groups": record["param_groups"]})
        self.scheduler.last_epoch = record["scheduler"]["last_epoch"]
        self.scheduler._last_lr = [group["lr"] for group in self.optimizer.param_groups]


def learning_rate_factor(update: int, config: TrainConfig) -> float:
    """The learning rate of optimizer step ``update`` (from 0) over ``config.lr``: linear warm-up, then the
    schedule."""
    total = config.steps * config.updates_per_rollout
    if update < config.warmup_steps:
        return (update + 1) / config.warmup_steps
    if config.lr_schedule == "constant":
        return 1.0
    progress = min(1.0, (update - config.warmup_steps) / max(1, total - config.warmup_steps))
    return 1 - progress if config.lr_schedule == "linear" else 0.5 * (1 + math.cos(math.pi * progress))
