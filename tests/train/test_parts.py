"""The parts of a model train as the settings say: rates of their own, decay of matrices alone, LoRA on the
tower, a KL term that no single token takes over."""

from __future__ import annotations

import numpy as np
import peft
import pytest
import torch
from PIL import Image

from mixed_r1.config import ConfigError
from mixed_r1.engines import LocalEngine
from mixed_r1.engines.lora import add_lora, save_merged
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig
from mixed_r1.train.loss import MAX_LOG_RATIO, k3

FAMILIES = ["qwen2_5_vl", "internvl"]


def config(**changes) -> TrainConfig:
    return TrainConfig.from_mapping({"model": "m", "data": "d", "out": "o", "lr": 1e-3, **changes})


def pack_of(adapter):
    pixels = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
    row = Sample(id="s", task="math", question="How many?", answer="1", images=(Image.fromarray(pixels),))
    tokens = torch.tensor([5, 6, adapter.stop_tokens[0]])
    return pack_groups([PackItem(adapter.encode(row), (tokens,), (0,))], adapter, max_tokens=4096)[0]


def moved(adapter, settings) -> dict[str, float]:
    """The largest change of each parameter by one step, by name."""
    before = {name: p.detach().clone() for name, p in adapter.model.named_parameters()}
    engine = LocalEngine(adapter, settings)
    engine.backward(-engine.logprobs(pack_of(adapter))[0].sum())
    engine.step()
    return {name: float((p - before[name]).abs().max()) for name, p in adapter.model.named_parameters()}


@pytest.mark.parametrize("family", FAMILIES)
def test_each_part_has_its_learning_rate(family):
    """The first step of AdamW moves a weight by the learning rate."""
    adapter = tiny_adapter(family, corpus=["How many?"])
    parts = {id(p): "vision" for p in adapter.vision_parameters()}
    parts |= {id(p): "projector" for p in adapter.projector_parameters()}
    names = {name: parts.get(id(p), "language") for name, p in adapter.model.named_parameters()}
    found = moved(adapter, config(freeze=(), vision_lr=1e-4, projector_lr=3e-3, max_grad_norm=1e6))
    for part, rate in (("vision", 1e-4), ("projector", 3e-3), ("language", 1e-3)):
        changes = [found[name] for name in found if names[name] == part]
        assert max(changes) == pytest.approx(rate, rel=1e-2), part


def test_norms_and_biases_do_not_decay():
    """Without a gradient the only thing that moves a weight is decay."""
    adapter = tiny_adapter("qwen2_5_vl", corpus=["How many?"])
    before = {name: p.detach().clone() for name, p in adapter.model.named_parameters()}
    engine = LocalEngine(adapter, config(freeze=(), weight_decay=0.1, lr=0.01))
    engine.backward(0.0 * engine.logprobs(pack_of(adapter))[0].sum())
    engine.step()
    for name, p in adapter.model.named_parameters():
        kept = 1 - 0.01 * 0.1 if p.ndim >= 2 else 1.0
        assert torch.allclose(p, before[name] * kept, atol=1e-7), name


@pytest.mark.parametrize("family", FAMILIES)
def test_adapters_on_the_tower_train_and_are_saved(family, tmp_path):
    adapter = tiny_adapter(family, corpus=["How many?"])
    adapter.save(tmp_path / "start")
    settings = config(lora_rank=4, lora_vision_targets=["all"], model=tmp_path / "start", lr=0.05)
    assert not settings.frozen_tower
    add_lora(adapter, settings)
    trained = [name for name, p in adapter.model.named_parameters() if p.requires_grad]
    assert all(".lora_" in name for name in trained)
    for part in (*adapter.tower, "language_model"):
        assert any(f".{part}." in name for name in trained), part
    for _ in range(2):  # the first step moves B alone, which is zero at the start
        found = moved(adapter, settings)
    assert all(change > 0 for name, change in found.items() if ".lora_B" in name)
    assert all(change == 0 for name, change in found.items() if ".lora_" not in name)
    save_merged(adapter, tmp_path / "merged")
    merged = load_adapter(tmp_path / "merged", dtype="float32")
    pack = pack_of(adapter)
    expected = LocalEngine(adapter, settings).logprobs(pack)[0]
    assert torch.allclose(LocalEngine(merged, config(freeze=())).logprobs(pack)[0], expected, atol=1e-4)
    assert peft.PeftConfig.from_pretrained(str(tmp_path / "merged" / "adapter")).r == 4


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"lora_targets": ["q_proj", "w_pack"]}, r"lora_targets must name linear .*q_proj.*, got 'w_pack'"),
        ({"lora_vision_targets": ["q_proj_"]}, "lora_vision_targets must name linear layers"),
    ],
)
def test_targets_that_match_nothing_are_named(changes, says):
    adapter = tiny_adapter("internvl", corpus=["How many?"])
    with pytest.raises(ConfigError, match=says):
        add_lora(adapter, config(lora_rank=4, **changes))


def test_settings_that_do_not_fit_each_other():
    with pytest.raises(ConfigError, match="lora_rank must be at least 1 where lora_vision_targets"):
        config(lora_vision_targets=["all"])
    with pytest.raises(ConfigError, match="lora_vision_targets must be empty where a server takes adapters"):
        config(lora_vision_targets=["all"], lora_rank=4, server_kind="vllm_lora")


def test_no_token_takes_the_kl_term_over():
    near = torch.linspace(-20, MAX_LOG_RATIO, 101, dtype=torch.float64)
    assert torch.allclose(k3(near), torch.expm1(near) - near, atol=1e-12)
    far = torch.tensor([MAX_LOG_RATIO + 1e-3, 88.0, 1e4], requires_grad=True)
    values = k3(far)
    values.sum().backward()
    slope = np.exp(MAX_LOG_RATIO) - 1
    assert torch.allclose(far.grad, torch.full((3,), float(slope)), rtol=1e-5)
    assert torch.isfinite(values).all() and (values.diff() > 0).all()
