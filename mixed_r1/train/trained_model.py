"""The model that a run trains: which of its weights move, what the KL term pulls it to, how it is saved."""

from __future__ import annotations

from pathlib import Path

import torch

from mixed_r1.models import ModelAdapter, load_adapter
from mixed_r1.train_config import ModelSettings

__all__ = ["TrainedModel"]


class TrainedModel:
    """``adapter`` is trained. ``reference`` is the model that the KL term pulls to, where ``beta`` asks for a
    second one: with LoRA the reference is the same model without its adapters.
    """

    def __init__(self, config: ModelSettings, checkpoint: Path | None, *, beta: float) -> None:
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        device = automatic if config.device == "auto" else config.device
        self.is_lora = config.lora_rank > 0
        # Adapters are small and lie in a folder of their own; the weights below them stay those of the start.
        source = config.model if self.is_lora else checkpoint or config.model
        self.adapter: ModelAdapter = load_adapter(source, device=device, **config.load_options())
        self._set_trainable(config, checkpoint)
        self.reference: ModelAdapter | None = None
        if beta > 0 and not self.is_lora:
            self.reference = load_adapter(config.model, device=device, **config.load_options())

    def _set_trainable(self, config: ModelSettings, checkpoint: Path | None) -> None:
        model = self.adapter.model
        model.train()
        if self.is_lora:
            from mixed_r1.engines.lora import add_lora

            add_lora(self.adapter, config, checkpoint)
        for part in () if self.is_lora else config.freeze:  # below LoRA everything is frozen already
            for parameter in getattr(self.adapter, f"{part}_parameters")():
                parameter.requires_grad_(False)
        if config.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    def save(self, directory: Path, *, adapter_only: bool = False) -> None:
        """A Hugging Face directory; with LoRA the merged model, and the adapter in a folder of its own."""
        if adapter_only:
            self.adapter.model.save_pretrained(directory)
        elif self.is_lora:
            from mixed_r1.engines.lora import save_merged

            save_merged(self.adapter, directory)
        else:
            self.adapter.save(str(directory))
