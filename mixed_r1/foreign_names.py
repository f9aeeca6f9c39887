"""What other trainers call our settings: TRL, ms-swift, verl and EasyR1, now or in an earlier version.

A value is our key, or several, with a remark behind a colon; one that begins with "none" says why there is no
such setting. Of a dotted name the last part counts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["FOREIGN_NAMES", "hints"]

_STEP = "prompts_per_step: a step is so many prompts, each with completions_per_prompt completions"
_LENGTH = "steps: a run is as many steps as it says, and epochs follow from the rows"

FOREIGN_NAMES: dict[str, str] = {
    # Model and data
    "model_name_or_path": "model",
    "model_path": "model",
    "torch_dtype": "dtype",
    "bf16": "dtype: bfloat16",
    "dataset": "data",
    "dataset_name": "data",
    "train_files": "data",
    "val_dataset": "validation",
    "val_files": "validation",
    "eval_dataset": "validation",
    "max_prompt_length": "max_prompt_tokens",
    "max_length": "max_prompt_tokens and max_new_tokens",
    "image_key": "columns: {images: the column}",
    "prompt_key": "columns: {question: the column}",
    "answer_key": "columns: {answer: the column}",
    "freeze_vit": "freeze: [vision]",
    "freeze_vision_tower": "freeze: [vision]",
    "freeze_aligner": "freeze: [projector]",
    "vit_lr": "vision_lr",
    "aligner_lr": "projector_lr",
    "use_peft": "lora_rank: 0 trains the weights themselves",
    "train_type": "lora_rank: 0 trains the weights themselves",
    "lora_r": "lora_rank",
    "lora_target_modules": "lora_targets",
    "target_modules": "lora_targets",
    # Size and length
    "num_generations": "completions_per_prompt",
    "n": "completions_per_prompt",
    "per_device_train_batch_size": _STEP,
    "train_batch_size": _STEP,
    "rollout_batch_size": _STEP,
    "generation_batch_size": _STEP,
    "gradient_accumulation_steps": "none: packs of max_tokens_per_pack tokens add up to one step",
    "ppo_micro_batch_size_per_gpu": "max_tokens_per_pack",
    "ppo_max_token_len_per_gpu": "max_tokens_per_pack",
    "num_train_epochs": _LENGTH,
    "total_epochs": _LENGTH,
    "max_steps": "steps",
    "total_training_steps": "steps",
    "num_iterations": "updates_per_rollout",
    "ppo_epochs": "updates_per_rollout",
    # Optimizer
    "learning_rate": "lr",
    "lr_scheduler_type": "lr_schedule",
    "warmup_ratio": "warmup_steps",
    "lr_warmup_steps": "warmup_steps",
    "lr_warmup_steps_ratio": "warmup_steps",
    "adam_beta1": "betas",
    "adam_beta2": "betas",
    "grad_clip": "max_grad_norm",
    # Objective
    "adv_estimator": "advantage",
    "scale_rewards": "advantage: mean_only does not scale, group and batch do",
    "norm_adv_by_std_in_grpo": "advantage: mean_only does not scale",
    "loss_type": "loss",
    "loss_agg_mode": "loss",
    "epsilon": "clip_low",
    "epsilon_high": "clip_high",
    "clip_ratio": "clip_low and clip_high",
    "clip_ratio_low": "clip_low",
    "clip_ratio_high": "clip_high",
    "kl_coef": "beta",
    "kl_loss_coef": "beta",
    "use_kl_loss": "beta: 0 is without",
    "entropy_coeff": "none: temperature above 1 keeps groups apart (docs/learning.md)",
    "mask_truncated_completions": "overlong: mask",
    "overlong_filter": "overlong: mask",
    "dynamic_sample": "redraw_rounds",
    "reward_funcs": "reward: {functions: [module:object]}",
    "reward_function": "reward: {functions: [module:object]}",
    "vllm_importance_sampling_cap": "importance_cap",
    # Sampling
    "max_completion_length": "max_new_tokens",
    "max_response_length": "max_new_tokens",
    "max_tokens": "max_new_tokens",
    "use_vllm": "rollout: vllm, or server",
    "vllm_mode": "rollout: vllm, or server",
    "vllm_server_base_url": "server_urls",
    "vllm_server_host": "server_urls",
    "vllm_server_timeout": "server_timeout",
    "vllm_gpu_memory_utilization": "vllm_memory",
    "gpu_memory_utilization": "vllm_memory",
    # Engine and records
    "deepspeed": "zero_stage and offload",
    "fsdp": "zero_stage and offload",
    "output_dir": "out",
    "default_local_dir": "out",
    "resume_from_checkpoint": "none: mixed-r1 train --resume goes on from the newest checkpoint in out",
    "save_steps": "checkpoint_every",
    "save_freq": "checkpoint_every",
    "eval_steps": "eval_every",
    "test_freq": "eval_every",
    "val_before_train": "none: a run with validation is always evaluated before its first step",
    "logging_steps": "none: every step is in metrics.jsonl",
    "log_completions": "completions_every",
    "report_to": "track",
    "logger": "track",
    "project_name": "track_project",
}


def hints(key: str, value: Any = None) -> Iterator[str]:
    """What ``key`` is here, or, where its value is a mapping, what the names in it are."""
    name = key.rpartition(".")[2]
    if name in FOREIGN_NAMES:
        yield (
            f"{name} is {FOREIGN_NAMES[name]}"
            if not FOREIGN_NAMES[name].startswith("none")
            else (f"there is {FOREIGN_NAMES[name].replace('none:', 'no such setting:', 1)}")
        )
    if isinstance(value, Mapping):
        for inner, below in value.items():
            yield from hints(str(inner), below)
