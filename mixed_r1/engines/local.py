"""The engine in plain PyTorch: whole weights in every process, gradients added over the ranks."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import torch
from torch import Tensor

from mixed_r1.engines.base import MOMENTS, learning_rate, read_state, trainable, write_state
from mixed_r1.engines.groups import adamw, set_rates
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.packing import Pack
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.ranks import Ranks
from mixed_r1.train_config import TrainConfig

__all__ = ["LocalEngine"]


class LocalEngine:
    """AdamW over float32 weights, which for a bfloat16 model are copies.

    With several ranks each holds the whole model and its optimizer, and does the same update with the sum of
    all gradients: for models that are small beside the memory of a rank, such as those of the demo.
    """

    def __init__(self, adapter: ModelAdapter, config: TrainConfig, ranks: Ranks | None = None) -> None:
        self.adapter = adapter
        self.config = config
        self.updates = 0
        self.ranks = ranks or Ranks()
        self.parameters = trainable(adapter.model, config)
        self.masters = {
            name: p if p.dtype == torch.float32 else p.detach().float().requires_grad_()
            for name, p in self.parameters.items()
        }
        self.optimizer = adamw(adapter, self.parameters, config, masters=self.masters)

    @property
    def lr(self) -> float:
        return learning_rate(max(0, self.updates - 1), self.config)

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

    def take_gradient(self) -> Tensor | None:
        """The gradient so far, all parameters in one vector, summed over the ranks; it is cleared. None:
        there was no backward pass. Every rank must call it."""
        self._add_up()
        parts = [master.grad.flatten() for master in self.masters.values() if master.grad is not None]
        self.optimizer.zero_grad(set_to_none=True)
        return torch.cat(parts) if parts else None

    def step(self) -> float:
        self.updates += 1
        self._add_up()
        norm = float(torch.nn.utils.clip_grad_norm_(self.masters.values(), self.config.max_grad_norm))
        if math.isfinite(norm):
            set_rates(self.optimizer, self.lr)
            self.optimizer.step()
            with torch.no_grad():
                for name, master in self.masters.items():
                    self.parameters[name].copy_(master)
        self.optimizer.zero_grad(set_to_none=True)
        return norm

    def _add_up(self) -> None:
        self.ranks.add_up(master.grad for master in self.masters.values() if master.grad is not None)

    def gathered(self) -> AbstractContextManager[None]:
        return nullcontext()

    def save(self, directory: Path) -> None:
        if not self.ranks.first:  # all hold the same
            return
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
