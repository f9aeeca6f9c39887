"""Who owns the weights that are trained: one process, or DeepSpeed ZeRO on many; whole models or LoRA."""

from __future__ import annotations

from mixed_r1.config import ConfigError
from mixed_r1.engines.base import Engine
from mixed_r1.engines.local import LocalEngine
from mixed_r1.models.base import ModelAdapter
from mixed_r1.ranks import Ranks
from mixed_r1.train_config import TrainConfig

__all__ = ["Engine", "LocalEngine", "open_engine"]


def open_engine(config: TrainConfig, adapter: ModelAdapter, ranks: Ranks) -> Engine:
    """The engine that ``config.engine`` names; ``auto`` is DeepSpeed where there are several ranks."""
    if config.engine == "local" and ranks.world_size > 1:
        raise ConfigError(f"engine must be deepspeed or auto for {ranks.world_size} ranks, got local")
    if config.engine == "deepspeed" or ranks.world_size > 1:
        from mixed_r1.engines.deepspeed import DeepSpeedEngine

        return DeepSpeedEngine(adapter, config, ranks)
    return LocalEngine(adapter, config)
