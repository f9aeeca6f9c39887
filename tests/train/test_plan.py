"""The plan against what really is there, and every recipe with the memory its comment quotes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from mixed_r1.models import tiny_adapter
from mixed_r1.train import TrainConfig
from mixed_r1.train.engine import LocalEngine
from mixed_r1.train.plan import GIB, plan

RECIPES = sorted((Path(__file__).resolve().parents[2] / "recipes").glob("*.yaml"))


def qwen(hidden, feed_forward, layers, heads, keys, vocabulary, tied):
    text = {
        **{"hidden_size": hidden, "intermediate_size": feed_forward, "num_hidden_layers": layers},
        **{"num_attention_heads": heads, "num_key_value_heads": keys, "vocab_size": vocabulary},
        "tie_word_embeddings": tied,
    }
    vision = {
        **{"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "patch_size": 14},
        **{"out_hidden_size": hidden, "window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31]},
    }
    return AutoConfig.for_model(
        "qwen2_5_vl", text_config=text, vision_config=vision, tie_word_embeddings=tied
    )


def internvl(hidden, feed_forward, layers, heads, keys, vocabulary):
    text = {
        **{"hidden_size": hidden, "intermediate_size": feed_forward, "num_hidden_layers": layers},
        **{"num_attention_heads": heads, "num_key_value_heads": keys, "vocab_size": vocabulary},
        **{"model_type": "qwen2", "tie_word_embeddings": False},
    }
    vision = {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "attention_bias": True},
        **{"num_attention_heads": 16, "image_size": [448, 448], "patch_size": [14, 14]},
    }
    return AutoConfig.for_model("internvl", text_config=text, vision_config=vision, tie_word_embeddings=False)


# The sizes of the published checkpoints, and how many parameters these hold.
PUBLISHED = {
    "Qwen/Qwen2.5-VL-3B-Instruct": (qwen(2048, 11008, 36, 16, 2, 151936, True), 3.7546e9),
    "Qwen/Qwen2.5-VL-7B-Instruct": (qwen(3584, 18944, 28, 28, 4, 152064, False), 8.2922e9),
    "OpenGVLab/InternVL3-2B-hf": (internvl(1536, 8960, 28, 12, 2, 151674), 2.089e9),
    "OpenGVLab/InternVL3-8B-hf": (internvl(3584, 18944, 28, 28, 4, 151674), 7.944e9),
}


def settings(**changes):
    values = {"model": "none", "data": "none", "out": "none", "max_prompt_tokens": 100, "max_new_tokens": 20}
    return TrainConfig.from_mapping({**values, **changes})


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_those_of_the_published_checkpoints(name):
    model_config, count = PUBLISHED[name]
    assert sum(plan(settings(), model_config=model_config).parameters.values()) == pytest.approx(
        count, rel=1e-3
    )


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_counts_and_state_are_those_of_a_real_run(adapter, lora_rank):
    model = tiny_adapter(adapter.family, corpus=["What is 2 + 2?"], seed=0)
    config = settings(lora_rank=lora_rank)
    planned = plan(config, model_config=model.model.config)
    if lora_rank:
        from mixed_r1.train.lora import add_lora

        add_lora(model, config)
    for part in config.freeze:
        for parameter in getattr(model, f"{part}_parameters")():
            parameter.requires_grad_(False)
    parameters = {id(p): p for p in model.model.parameters()}.values()
    assert sum(planned.parameters.values()) == sum(p.numel() for p in parameters)
    assert sum(planned.trainable.values()) == sum(p.numel() for p in parameters if p.requires_grad)
    engine = LocalEngine(model, config)
    (1e-3 * sum((p**2).sum() for p in parameters if p.requires_grad)).backward()
    engine.step()
    moments = [v for state in engine.optimizer.state.values() for k, v in state.items() if k != "step"]
    assert planned.memory["optimizer"] == pytest.approx(sum(4 * v.numel() for v in moments) / GIB)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_activations_are_about_what_backward_keeps(checkpointing):
    """Within 40% of the bytes that autograd saves for the language model of one pack."""
    adapter = tiny_adapter("qwen2_5_vl", corpus=["What is 2 + 2?"], seed=0, text_layers=6)
    if checkpointing:
        adapter.model.train()
        adapter.model.gradient_checkpointing_enable({"use_reentrant": False})
    T, saved = 512, {}
    parameters = {p.untyped_storage().data_ptr() for p in adapter.model.parameters()}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            saved[storage.data_ptr()] = (tensor, storage.nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        ids = torch.randint(0, 200, (1, T))
        adapter.hidden_states(ids, position_ids=torch.arange(T).expand(3, 1, T), attention_mask=None)
    kept = sum(size for _, size in saved.values()) / GIB
    config = settings(
        **{"max_prompt_tokens": T - 20, "max_tokens_per_pack": T, "gradient_checkpointing": checkpointing}
    )
    planned = plan(config, model_config=adapter.model.config).memory["activations"]
    # The plan adds the one layer that checkpointing recomputes, which the forward pass does not keep.
    text = adapter.model.config.text_config
    layer = 10 * text.hidden_size + 2 * text.hidden_size // 2 + 4 * text.intermediate_size
    recomputed = T * layer * 4 / GIB if checkpointing else 0.0
    assert planned - recomputed == pytest.approx(kept, rel=0.4)


def test_zero_offload_and_rollouts_change_the_right_parts():
    model_config, _ = PUBLISHED["Qwen/Qwen2.5-VL-7B-Instruct"]

    def memory(ranks=8, **changes):
        return plan(settings(dtype="bfloat16", **changes), ranks=ranks, model_config=model_config)

    local, one, two, three = memory(ranks=1), *(memory(zero_stage=stage) for stage in (1, 2, 3))
    assert one.memory["optimizer"] == pytest.approx(local.memory["optimizer"] / 8)
    assert two.memory["gradients"] == pytest.approx(one.memory["gradients"] / 8)
    assert three.memory["weights"] == pytest.approx(two.memory["weights"] / 8)
    assert three.training_gib < two.training_gib < one.training_gib < local.training_gib
    assert three.sampling_gib == pytest.approx(two.sampling_gib)  # the weights are whole while sampling
    offloaded = memory(zero_stage=2, offload="cpu")
    assert offloaded.memory["optimizer"] == 0
    assert offloaded.cpu_gib == pytest.approx(two.memory["optimizer"])
    server = memory(rollout="server", server_urls=("http://127.0.0.1:1",))
    assert server.memory["cache"] == 0 and server.training_gib == two.training_gib
    assert memory(beta=0.1).memory["reference"] == pytest.approx(two.memory["weights"])
    assert two.completions_per_step == 128 and two.sampled_tokens_per_step == 128 * 20
    assert two.trained_tokens_per_step == 16 * (100 + 8 * 19)
    with pytest.raises(ValueError, match=r"ranks must be in \[1, prompts_per_step = 16\], got 17"):
        memory(ranks=17)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_loads_and_quotes_its_plan(path):
    config = TrainConfig.load(path)
    ranks = int(re.search(r"these settings, (\d) rank", path.read_text())[1])
    if path.stem == "embedded":
        model_config = tiny_adapter("qwen2_5_vl", corpus=["2 + 2"], seed=0).model.config
    else:
        model_config, _ = {name.split("/")[1]: found for name, found in PUBLISHED.items()}[config.model.name]
    planned = plan(config, ranks=ranks, model_config=model_config)
    quoted = (
        f"{planned.peak_gib:.1f} GiB a rank, training {planned.training_gib:.1f}, "
        f"sampling {planned.sampling_gib:.1f}."
    )
    assert quoted in path.read_text(), quoted
    assert planned.peak_gib < 75 and len(planned.lines()) == 6
    assert str(config.out) == "runs/" + path.stem.replace("_", "-")


def test_there_are_recipes():
    assert {path.stem.rpartition("_")[2] for path in RECIPES} == {"embedded", "1gpu", "8gpu"}
    assert len(RECIPES) == 7
