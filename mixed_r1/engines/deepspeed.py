"""DeepSpeed ZeRO 0-3 behind the methods of ``Engine``.

DeepSpeed averages gradients over ranks, and the loss is a sum over the global batch, so it is multiplied by
the number of ranks. ``managed_gradient_accumulation`` is off: any number of packs (equal on all ranks) go
through ``backward``, and ``step`` ends the accumulation.

ZeRO-3 cuts the weights themselves. ``gathered`` puts them together on every rank for a whole rollout:
decoding from cut weights would gather all of them for every token. So ZeRO-3 saves memory in training, and
while sampling a rank must hold one copy of the weights beside its cache.
"""

from __future__ import annotations

import logging
import math
import os
import warnings
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import deepspeed
import torch
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
    safe_set_local_fp32_param,
    safe_set_local_optimizer_state,
)
from torch import Tensor

from mixed_r1.engines.base import MOMENTS, learning_rate, read_state, trainable, write_state
from mixed_r1.engines.groups import adamw, set_rates
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.packing import Pack
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.ranks import Ranks
from mixed_r1.train_config import TrainConfig

__all__ = ["DeepSpeedEngine"]


class DeepSpeedEngine:
    """ZeRO ``config.zero_stage``; ``offload: cpu`` keeps optimizer state (ZeRO-3: weights too) there."""

    def __init__(self, adapter: ModelAdapter, config: TrainConfig, ranks: Ranks) -> None:
        deepspeed.utils.logging.logger.setLevel(logging.WARNING)
        warnings.filterwarnings("ignore", message=".*_tensor. is deprecated", category=FutureWarning)
        # Else DeepSpeed compiles a collective over shared memory for a minute before the first step.
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
        os.environ.setdefault("LOCAL_RANK", "0")
        self.config = config
        self.ranks = ranks
        self.stage = config.zero_stage
        self.updates = 0
        self.pending = False
        self.norm = 0.0
        self.parameters = trainable(adapter.model, config)
        self.adamw = adamw(adapter, self.parameters, config)
        self.engine, self.optimizer, _, _ = deepspeed.initialize(
            model=_Policy(adapter, config.temperature), optimizer=self.adamw, config=_settings(config)
        )
        # At stage 0 DeepSpeed's clipping keeps no norm, and lets steps pass that are not finite.
        if self.stage == 0:
            self.adamw.register_step_pre_hook(self._clip)
        if self.stage == 3:  # the head is used outside its module
            deepspeed.zero.register_external_parameter(self.engine.module, adapter.output_weight)

    @property
    def lr(self) -> float:
        return learning_rate(max(0, self.updates - 1), self.config)

    def logprobs(self, pack: Pack) -> tuple[Tensor, Tensor]:
        return self.engine(pack)

    def backward(self, loss: Tensor) -> None:
        self.engine.backward(loss * self.ranks.world_size)
        self.pending = True

    def step(self) -> float:
        self.norm = 0.0
        self.updates += 1
        if self.pending:
            set_rates(self.adamw, self.lr)
            self.engine.step()
            if self.stage > 0:
                self.norm = float(self.engine.get_global_grad_norm())
            if not math.isfinite(self.norm) and self.config.offload == "cpu" and self.stage < 3:
                # DeepSpeed 0.19 keeps the gradients of a step that it skips, and adds the next ones to them.
                self.optimizer.averaged_gradients = dict.fromkeys(self.optimizer.averaged_gradients)
                for parameter in self.parameters.values():
                    parameter.grad_accum = None  # type: ignore[attr-defined]
            self._forget_gradients()
        self.pending = False
        return self.norm

    def _forget_gradients(self) -> None:
        """Set DeepSpeed's gradient buffers to zero.

        Where the first pack of a step does not use a parameter (of a trained tower, in a pack without
        images), DeepSpeed 0.19 mistakes the last step's gradient in its buffers for one of this step.
        """
        zero, buffers, groups = self.optimizer, [], []
        if self.stage == 3:
            buffers, groups = [zero.grad_partitions_flat_buffer], zero.fp32_partitioned_groups_flat
        elif self.config.offload == "cpu":
            buffers = [*zero.accumulated_grads_in_cpu.values()]
            groups = zero.single_partition_of_fp32_groups
        if self.config.offload == "cpu":
            buffers += [group.grad for group in groups if group.grad is not None]
        for buffer in buffers:
            buffer.zero_()

    def _clip(self, *_: Any) -> None:
        self.norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.max_grad_norm))
        if not math.isfinite(self.norm):
            self.adamw.zero_grad(set_to_none=True)

    def gathered(self) -> AbstractContextManager[Any]:
        return deepspeed.zero.unwrap_model_for_generation(self.engine) if self.stage == 3 else nullcontext()

    def save(self, directory: Path) -> None:
        state = self.adamw.state  # there is none before the first update
        kinds = ["master", *MOMENTS] if self.config.dtype == "bfloat16" else MOMENTS
        tensors = {}
        for i, (name, parameter) in enumerate(self.parameters.items() if state else ()):
            for kind in kinds:
                whole = self._get(parameter, kind)
                if i % self.ranks.world_size == self.ranks.rank:
                    tensors[f"{name}:{kind}"] = whole.cpu()
        if self.ranks.first:
            tensors["updates"] = torch.tensor(self.updates)
            tensors |= {"step": next(iter(state.values()))["step"].cpu()} if state else {}
        write_state(directory, tensors, rank=self.ranks.rank)

    def load(self, directory: Path) -> None:
        saved = read_state(directory)
        for key, value in saved:
            name, _, kind = key.partition(":")
            if key == "updates":
                self.updates = int(value)
            elif key == "step":
                self._make_state(value)
            else:
                self._set(self.parameters[name], kind, value)

    def _make_state(self, step: Tensor) -> None:
        """AdamW's state before its first step, which DeepSpeed has no way to ask for."""
        flat = [tensor for group in self.adamw.param_groups for tensor in group["params"]]
        for tensor in self.optimizer.fp32_partitioned_groups_flat if self.stage == 3 else flat:
            moments = {kind: torch.zeros_like(tensor) for kind in MOMENTS}
            self.adamw.state[tensor] = {"step": step.to(tensor.device, copy=True), **moments}
        if self.stage in (1, 2):
            self.optimizer._lazy_init_hp_params_optimizer_state()

    def _get(self, parameter: Any, kind: str) -> Tensor:
        if self.stage == 0:
            return self.adamw.state[parameter][kind]
        if kind == "master":
            return safe_get_full_fp32_param(parameter)
        return safe_get_full_optimizer_state(parameter, kind)

    def _set(self, parameter: Any, kind: str, value: Tensor) -> None:
        value = value.to(parameter.device)
        if self.stage == 0:
            self.adamw.state[parameter][kind].copy_(value)
            return
        if self.stage == 3:  # safe_set_full_... cannot set a tensor whose size the ranks do not divide
            size = parameter.ds_tensor.numel()
            rank = self.ranks.rank
            padded = value.new_zeros(size * self.ranks.world_size)
            padded[: value.numel()] = value.flatten()
            value = padded[size * rank : size * (rank + 1)]
            set_master, set_moment = safe_set_local_fp32_param, safe_set_local_optimizer_state
        else:
            set_master, set_moment = safe_set_full_fp32_param, safe_set_full_optimizer_state
        if kind == "master":
            set_master(parameter, value)
        else:
            set_moment(parameter, value, kind)


class _Policy(torch.nn.Module):
    """What DeepSpeed wraps: its hooks see the whole pass over a pack, vision tower to log-probs."""

    def __init__(self, adapter: ModelAdapter, temperature: float) -> None:
        super().__init__()
        self.model = adapter.model
        self.adapter = adapter
        self.temperature = temperature

    def forward(self, pack: Pack) -> tuple[Tensor, Tensor]:
        return completion_logprobs(self.adapter, pack, temperature=self.temperature)


def _settings(config: TrainConfig) -> dict[str, Any]:
    """Everything else stays at DeepSpeed's defaults."""
    zero: dict[str, Any] = {"stage": config.zero_stage}
    if config.offload == "cpu":
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": torch.cuda.is_available()}
        if config.zero_stage == 3:
            zero["offload_param"] = zero["offload_optimizer"]
    settings = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": config.max_grad_norm if config.zero_stage else 0.0,
        "zero_optimization": zero,
        # DeepSpeed's own fused optimizers are compiled on first use; PyTorch's needs no compiler.
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
    }
    if config.dtype == "bfloat16":
        settings["bf16"] = {"enabled": True, "check_grad_overflow": True}
        settings["data_types"] = {"grad_accum_dtype": "fp32"}
    return settings
