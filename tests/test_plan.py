"""The plan against what really is there, and every recipe with the memory its comment quotes."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from transformers import AutoConfig
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.engines import LocalEngine
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1.plan import GIB, first_step, plan
from mixed_r1.train import TrainConfig, train

RECIPES = sorted((Path(__file__).resolve().parents[1] / "recipes").glob("*.yaml"))


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
        from mixed_r1.engines.lora import add_lora

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


@pytest.mark.parametrize(("limit", "packs"), [(4096, 1), (700, 2), (252, 4), (251, 6), (140, 16), (90, 32)])
def test_packs_and_tokens_are_those_of_the_largest_step(limit, packs):
    """Four prompts of 100 tokens with 8 completions of 20: 252 inputs a group, 119 of one alone."""
    config = settings(prompts_per_step=4, max_tokens_per_pack=limit)
    planned = plan(config, model_config=PUBLISHED["OpenGVLab/InternVL3-2B-hf"][0])
    assert planned.packs_per_step == packs
    pieces = {4096: 4, 700: 4, 252: 4, 251: 8, 140: 16, 90: 32}[limit]
    assert planned.trained_tokens_per_step == 100 * pieces + 4 * 8 * 19
    assert (
        plan(config, ranks=4, model_config=PUBLISHED["OpenGVLab/InternVL3-2B-hf"][0]).packs_per_step <= packs
    )


def test_a_dry_run_prints_the_plan_and_the_first_step(start, tmp_path):
    """Without weights to read, and nothing written; the run then begins with the rows it named."""
    shutil.copytree(start / "model", tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").unlink()
    values = {"data": start / "data" / "train.jsonl", "steps": 1, "prompts_per_step": 6, "max_new_tokens": 8}
    run = {**values, "model": start / "model", "out": tmp_path / "run", "completions_per_prompt": 3}
    config = TrainConfig.from_mapping(run)
    config.save(tmp_path / "run.yaml")
    arguments = [
        "train",
        str(tmp_path / "run.yaml"),
        f"model={tmp_path / 'model'}",
        "--dry-run",
        "--ranks",
        "2",
    ]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    dry = config.model_copy(update={"model": tmp_path / "model"})
    step = first_step(dry, ranks=2)
    assert result.stdout.splitlines() == [*plan(dry, ranks=2).lines(), *step.lines()]
    names = [line.split("  ")[0] for line in result.stdout.splitlines()]
    assert names == [
        *("model", "trainable", "a step", "packs", "memory", "of which"),
        *("first step", "prompts", "packs", "constants"),
    ]
    assert not config.out.exists()
    train(config)
    rows = pq.read_table(config.out / "completions" / "step-000001.parquet").to_pylist()[::3]
    assert dict(Counter(row["task"] for row in rows)) == step.tasks
    adapter = load_adapter(config.model, dtype="float32")
    lengths = [len(adapter.tokenizer(row["prompt"])["input_ids"]) for row in rows]
    assert lengths == list(step.prompt_tokens)


def test_a_dry_run_counts_rows_that_cannot_be_used(start):
    values = {"model": start / "model", "data": start / "data" / "train.jsonl", "out": "none"}
    config = TrainConfig.from_mapping({**values, "max_prompt_tokens": 22, "prompts_per_step": 8})
    step = first_step(config)
    assert step.skipped > 0 and max(step.prompt_tokens) <= 22 and len(step.prompt_tokens) == 8
    assert f"; {step.skipped} rows cannot be used" in step.lines()[0]
    with pytest.raises(ValueError, match=r"data must hold rows that can be encoded, got \d+ bad ones"):
        first_step(config.model_copy(update={"max_prompt_tokens": 1}))


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
