"""Who owns the weights that are trained: every process, or DeepSpeed ZeRO in parts; whole models or LoRA."""

from __future__ import annotations

from mixed_r1.config import ConfigError
from mixed_r1.engines.base import Engine
from mixed_r1.engines.local import LocalEngine
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.ranks import Ranks
from mixed_r1.train_config import TrainConfig

__all__ = ["Engine", "LocalEngine", "open_engine"]


def open_engine(config: TrainConfig, adapter: ModelAdapter, ranks: Ranks) -> Engine:
    """The engine that ``config.engine`` names; ``auto`` is DeepSpeed where there are several ranks."""
    automatic = "deepspeed" if ranks.world_size > 1 else "local"
    if (automatic if config.engine == "auto" else config.engine) == "deepspeed":
        if config.task_gradients_every:
            raise ConfigError(
                f"task_gradients_every must be 0 where engine is deepspeed, got {config.task_gradients_every}"
            )
        from mixed_r1.engines.deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(adapter, config, ranks)
    return LocalEngine(adapter, config, ranks)
