"""Groups of the optimizer: a learning rate for each part of the model, weight decay for matrices alone.

Decay pulls weights to zero, which means something for a matrix. A norm's gain is 1 where it does nothing, and
a bias shifts: neither is decayed, as in the recipes of the models themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.train_config import OptimizerSettings

__all__ = ["adamw", "set_rates"]


def adamw(
    adapter: ModelAdapter,
    parameters: Mapping[str, Tensor],
    config: OptimizerSettings,
    *,
    masters: Mapping[str, Tensor] | None = None,
) -> torch.optim.AdamW:
    """AdamW over ``masters``, the float32 copies of ``parameters`` by name (None: over these themselves).

    Every group has the key ``rate``: its learning rate as a multiple of ``config.lr``. Fused: the fast path
    on GPUs, and on CPUs that hold offloaded optimizer state.
    """
    part_of = {id(p): part for part, found in _parts(adapter).items() for p in found}
    rates = {"vision": config.vision_lr, "projector": config.projector_lr}
    groups: dict[tuple[float, float], list[Tensor]] = {}
    for name, parameter in parameters.items():
        rate = rates.get(part_of.get(id(parameter), "language")) or config.lr
        decay = config.weight_decay if parameter.ndim >= 2 else 0.0
        held = parameter if masters is None else masters[name]
        groups.setdefault((rate / config.lr, decay), []).append(held)
    made: list[dict[str, Any]] = [
        {"params": held, "lr": config.lr * rate, "weight_decay": decay, "rate": rate}
        for (rate, decay), held in groups.items()
    ]
    return torch.optim.AdamW(made, betas=config.betas, fused=True)


def _parts(adapter: ModelAdapter) -> dict[str, list[torch.nn.Parameter]]:
    return {"vision": adapter.vision_parameters(), "projector": adapter.projector_parameters()}


def set_rates(optimizer: torch.optim.Optimizer, lr: float) -> None:
    """Give every group its multiple of the language model's learning rate ``lr``."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group["rate"]
