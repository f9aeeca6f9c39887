"""Train a fixed batch by an engine, on any number of ranks: ``python run_engines.py out-directory spec...``.

A spec is "stage:dtype:offload". Writes results.json: per spec the (loss, norm) of five steps, of five with a
save and a load into new objects after three, of steps that must change nothing, and of steps with and without
images. The state of that save
stays in ``out-directory/spec``.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from mixed_r1.engines import open_engine
from mixed_r1.models import tiny_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.ranks import Ranks
from mixed_r1.schema import Sample
from mixed_r1.train_config import TrainConfig

CORPUS = ["Which digit is in the picture? Answer with one letter.", "<think>Tall.</think><answer>42</answer>"]
STEPS, SAVED = 5, 3


def config(engine: str, spec: str) -> TrainConfig:
    stage, dtype, offload = spec.split(":")
    values = {"engine": engine, "zero_stage": int(stage), "dtype": dtype, "offload": offload}
    return TrainConfig(model="-", data="-", out="-", lr=1e-3, freeze=(), **values)


def build(settings: TrainConfig, ranks: Ranks, weights: dict[str, torch.Tensor] | None = None):
    adapter = tiny_adapter("qwen2_5_vl", corpus=CORPUS, seed=0)
    adapter.model.to(getattr(torch, settings.dtype)).train()
    if weights is not None:
        adapter.model.load_state_dict(weights)
    return adapter, open_engine(settings, adapter, ranks)


def batch(adapter, images: bool = True) -> list[PackItem]:
    """Four prompts with one or two images, or none, three completions each."""
    generator, items = torch.Generator().manual_seed(0), []
    for i in range(4):
        pixels = np.random.default_rng(i).integers(0, 255, (2, 48, 48, 3), dtype=np.uint8)
        shown = tuple(Image.fromarray(p) for p in pixels[: 1 + i % 2]) if images else ()
        sample = Sample(id=str(i), task="open_ended", question=f"row {i}", answer="x", images=shown)
        completions = tuple(torch.randint(20, 300, (n,), generator=generator) for n in (5, 9, 3))
        items.append(PackItem(adapter.encode(sample), completions, tuple(range(3 * i, 3 * i + 3))))
    return items


def turns(adapter, engine, ranks: Ranks) -> list[tuple[float, float]]:
    """Steps with images, with text alone, with images after text: what is left of a gradient shows."""
    images, texts = batch(adapter), batch(adapter, images=False)
    steps = (images, texts, [*texts[:2], *images[2:]], texts, images)
    return [run(adapter, engine, ranks, 1, items=items)[0] for items in steps]


def run(
    adapter, engine, ranks: Ranks, steps: int, factor: float = 1.0, items: list[PackItem] | None = None
) -> list[tuple[float, float]]:
    items = ranks.share(items or batch(adapter))
    packs = [pack_groups([item], adapter, max_tokens=10_000)[0] for item in items]
    advantages, results = torch.linspace(-1, 1, 12), []
    for _ in range(steps):
        total = 0.0
        for pack in packs:
            logprobs, _ = engine.logprobs(pack)
            loss = -factor * (advantages[pack.completion_of_target] * logprobs).sum() / 40
            engine.backward(loss)
            total += float(loss.detach())
        results.append((sum(ranks.gather(total)), engine.step()))
    return results


def weights_of(adapter, engine) -> dict[str, torch.Tensor]:
    with engine.gathered():
        return {name: value.clone() for name, value in adapter.model.state_dict().items()}


def examine(settings: TrainConfig, ranks: Ranks, directory: Path) -> dict[str, object]:
    straight = run(*build(settings, ranks), ranks, STEPS)
    adapter, engine = build(settings, ranks)
    first = run(adapter, engine, ranks, SAVED)
    weights = weights_of(adapter, engine)
    if ranks.first:
        directory.mkdir(parents=True)
        save_file(
            {k: v for k, v in weights.items() if k != "lm_head.weight"}, directory / "weights.safetensors"
        )
    ranks.gather("made")
    engine.save(directory)
    ranks.gather("saved")
    adapter, engine = build(settings, ranks, weights)
    engine.load(directory)
    resumed = first + run(adapter, engine, ranks, STEPS - SAVED)
    before = weights_of(adapter, engine)
    empty = engine.step()
    broken = run(adapter, engine, ranks, 1, factor=float("nan"))[0][1]
    after = weights_of(adapter, engine)
    return {
        "straight": straight,
        "resumed": resumed,
        "empty": empty,
        "skipped": not np.isfinite(broken),
        "unchanged": all(torch.equal(before[name], after[name]) for name in before),
        "next": run(adapter, engine, ranks, 1)[0],
        "turns": turns(*build(settings, ranks), ranks),
    }


def resume_elsewhere(settings: TrainConfig, ranks: Ranks, directory: Path) -> list[tuple[float, float]]:
    """The last steps of a run whose state another engine, or other ranks, saved."""
    adapter = tiny_adapter("qwen2_5_vl", corpus=CORPUS, seed=0)
    adapter.model.to(getattr(torch, settings.dtype)).train()
    adapter.model.load_state_dict(load_file(directory / "weights.safetensors"), strict=False)
    engine = open_engine(settings, adapter, ranks)
    engine.load(directory)
    return run(adapter, engine, ranks, STEPS - SAVED)


if __name__ == "__main__":
    out = Path(sys.argv[1])
    with Ranks(group=True) as ranks:
        results = {spec: examine(config("deepspeed", spec), ranks, out / spec) for spec in sys.argv[2:]}
    if ranks.first:
        (out / "results.json").write_text(json.dumps(results))
