"""LoRA runs: what is trained, what a checkpoint holds, the model without adapters as reference, resuming."""

from __future__ import annotations

import json
import shutil

import peft
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from mixed_r1.data import load_samples
from mixed_r1.data.mixture import MixtureSampler
from mixed_r1.models import load_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.rollout import SamplingParams, sample_completions
from mixed_r1.train import TrainConfig, train

STEPS = 4


@pytest.fixture(scope="module")
def config(start, tmp_path_factory):
    values = {
        **{"model": start / "model", "data": start / "data" / "train.jsonl", "steps": STEPS},
        **{"out": tmp_path_factory.mktemp("lora") / "run", "lora_rank": 4, "beta": 0.05, "lr": 3e-3},
        **{"prompts_per_step": 4, "completions_per_prompt": 4, "max_new_tokens": 16},
        **{"checkpoint_every": 1, "completions_every": 1, "updates_per_rollout": 1},
    }
    config = TrainConfig.from_mapping(values)
    train(config)
    return config


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def latest(config):
    return config.out / "checkpoints" / "latest"


def logprobs_of(adapter, items):
    with torch.no_grad():
        packs = pack_groups(items, adapter, max_tokens=4096)
        parts = [(pack.completion_of_target, completion_logprobs(adapter, pack)[0]) for pack in packs]
    rows, values = (torch.cat(column) for column in zip(*parts, strict=True))
    return values[torch.argsort(rows, stable=True)]


def rollout(config, adapter, step):
    """The completions of ``step``, drawn again from the model before it: items and texts."""
    samples = load_samples(config.data)
    mixture = MixtureSampler(
        samples, seed=config.seed, draws=config.steps * config.prompts_per_step, weights=config.mixture
    )
    mixture.next(config.prompts_per_step * (step - 1))
    rows = [samples[i] for i in mixture.next(config.prompts_per_step)]
    prompts, G = [adapter.encode(row) for row in rows], config.completions_per_prompt
    groups = sample_completions(
        adapter,
        prompts,
        [row.id for row in rows],
        num_completions=G,
        params=SamplingParams.of(config),
        seed=config.seed,
        step=step,
    )
    items = [
        PackItem(prompt, tuple(c.tokens for c in group), tuple(range(G * i, G * i + G)))
        for i, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
    ]
    return items, [c.text for group in groups for c in group]


def test_a_checkpoint_is_the_merged_model_and_the_adapter_beside_it(config):
    base, merged = (
        load_file(config.model / "model.safetensors"),
        load_file(latest(config) / "model.safetensors"),
    )
    assert base.keys() == merged.keys()
    changed = {name for name in base if not torch.equal(base[name], merged[name])}
    assert changed == {
        name
        for name in base
        if "visual" not in name and any(f"{target}.weight" in name for target in config.lora_targets)
    }
    by_peft = load_adapter(config.model, dtype="float32")
    by_peft.model = peft.PeftModel.from_pretrained(by_peft.model, latest(config) / "adapter")
    ours = load_adapter(latest(config), dtype="float32")
    items, _ = rollout(config, ours, STEPS)
    torch.testing.assert_close(logprobs_of(ours, items), logprobs_of(by_peft, items), atol=1e-5, rtol=0)
    by_peft.model = by_peft.model.merge_and_unload()
    torch.testing.assert_close(
        by_peft.model.state_dict(), ours.model.state_dict(), atol=1e-6, rtol=1e-6, check_dtype=True
    )


def test_the_reference_is_the_model_without_adapters(config):
    """The KL that the last step logged, from its completions drawn again, by two models loaded from disk."""
    assert records(config.out)[0]["kl"] == 0  # new adapters change nothing
    policy = load_adapter(config.out / "checkpoints" / f"step-{STEPS - 1:06d}", dtype="float32")
    reference = load_adapter(config.model, dtype="float32")
    items, texts = rollout(config, policy, STEPS)
    written = pq.read_table(config.out / "completions" / f"step-{STEPS:06d}.parquet").to_pylist()
    assert texts == [row["completion"] for row in written]
    difference = logprobs_of(reference, items) - logprobs_of(policy, items)
    kl = float((difference.exp() - difference - 1).mean())
    assert kl > 1e-5
    assert records(config.out)[-1]["kl"] == pytest.approx(kl, rel=1e-3)


def test_a_resumed_run_is_bit_identical(config, tmp_path):
    resumed = config.model_copy(update={"out": tmp_path / "run"})
    shutil.copytree(config.out, resumed.out, symlinks=True)
    shutil.rmtree(resumed.out / "checkpoints" / f"step-{STEPS:06d}")  # as if killed in the last step
    train(resumed, resume=True)
    for name in ("adapter/adapter_model", "model", "optimizer-00000", "rng-00000"):
        left, right = (load_file(latest(run) / f"{name}.safetensors") for run in (config, resumed))
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), name
    timed = ("time", "tokens_per_second", "memory_mb")
    for left, right in zip(records(config.out), records(resumed.out), strict=True):
        assert {k: v for k, v in left.items() if not k.startswith(timed)} == {
            k: v for k, v in right.items() if not k.startswith(timed)
        }
