"""LoRA through peft, on linear layers of the language model, and of the vision tower where asked for.

A checkpoint of a LoRA run is the merged model, which ``from_pretrained`` and every server load, with the
adapter alone in ``adapter/`` as peft writes it. A resumed run takes the starting model and the adapter: the
merged weights are rounded.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import peft
from safetensors.torch import load_file
from torch import Tensor, nn

from mixed_r1.config import ConfigError
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.train_config import ModelSettings

__all__ = ["ADAPTER", "add_lora", "save_merged"]

ADAPTER = "adapter"  # folder of a checkpoint


def add_lora(adapter: ModelAdapter, config: ModelSettings, checkpoint: Path | None = None) -> None:
    """Freeze the model and add adapters, those of ``checkpoint`` where there is one; new ones change nothing.

    Raises:
        ConfigError: a target that names no linear layer.
    """
    language = _layers(adapter.core, ("language_model",), "lora_targets", config)
    tower = _layers(adapter.core, adapter.tower, "lora_vision_targets", config)
    names = "|".join(sorted({path.rpartition(".")[2] for path in language}))
    patterns = [rf".*\.language_model\..*\.({names})"]
    if tower:  # whole paths: a projector's layers may be called 0 and 2, as the blocks are
        patterns.append(rf".*\.({'|'.join(map(re.escape, tower))})")
    settings = peft.LoraConfig(
        r=config.lora_rank,
        lora_alpha=config.lora_alpha,
        target_modules="|".join(patterns),
        base_model_name_or_path=str(config.model),
    )
    adapter.model = peft.get_peft_model(adapter.model, settings)
    if checkpoint is not None:
        state = load_file(checkpoint / ADAPTER / "adapter_model.safetensors")
        peft.set_peft_model_state_dict(adapter.model, state)


def _layers(core: nn.Module, parts: Sequence[str], setting: str, config: ModelSettings) -> list[str]:
    """The paths of the linear layers below ``parts`` whose last name ``setting`` names ("all": all of them).

    Bound to a part: language models and vision towers both have a ``q_proj``.
    """
    known = {
        f"{part}.{path}": path.rpartition(".")[2]
        for part in parts
        for path, module in core.get_submodule(part).named_modules()
        if isinstance(module, nn.Linear)
    }
    wanted = getattr(config, setting)
    for name in wanted:
        if name != "all" and name not in known.values():
            layers = ", ".join(sorted(set(known.values())))
            raise ConfigError(f"{setting} must name linear layers of the model ({layers}), got {name!r}")
    return [path for path, name in known.items() if name in wanted or "all" in wanted]


def save_merged(adapter: ModelAdapter, directory: Path) -> None:
    """Write the model with its adapters added in, and the adapters alone beside it. Nothing changes here."""
    wrapped = adapter.model
    wrapped.save_pretrained(directory / ADAPTER)
    base = wrapped.get_base_model()
    state: dict[str, Tensor] = {
        name.replace(".base_layer.", "."): value
        for name, value in base.state_dict().items()
        if ".lora_" not in name
    }
    for name, module in base.named_modules():
        if isinstance(module, peft.tuners.lora.LoraLayer):
            key = f"{name}.weight"
            state[key] = (state[key] + module.get_delta_weight("default")).to(state[key].dtype).cpu()
    adapter.model = base
    try:
        adapter.save(str(directory), state_dict=state)
    finally:
        adapter.model = wrapped
