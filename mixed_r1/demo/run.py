"""The whole system on two cores in minutes: real images, a small real Qwen2.5-VL, GRPO on mixed rewards."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mixed_r1.data import load_samples
from mixed_r1.data.mini import build_mini, corpus, sft_target
from mixed_r1.demo.warmup import Example, in_model_frame, warm_up
from mixed_r1.models import tiny_adapter
from mixed_r1.schema import Sample
from mixed_r1.train.session import progress_display
from mixed_r1.train.trainer import train
from mixed_r1.train_config import TrainConfig

__all__ = ["DemoSettings", "demo_config", "prepare_demo", "run_demo"]


@dataclass(frozen=True)
class DemoSettings:
    """What a person may want to change about the demo."""

    family: str = "qwen2_5_vl"
    seed: int = 0
    rows: int = 5000
    warmup_steps: int = 1000
    untagged: float = 0.3  # share of the warm-up's targets without the tags of the answer format
    steps: int = 120


def run_demo(
    out: Path, settings: DemoSettings = DemoSettings(), *, console: Console | None = None
) -> dict[str, Any]:
    """Build the embedded data set, warm a small model up on its train split, train it with GRPO.

    Writes ``out/data``, ``out/model`` (the starting point) and ``out/run`` (see ``train``). Evaluation is on
    the test split, which shares no image with the training rows. Returns the summary of the run.
    """
    console = console or Console(stderr=True)
    prepare_demo(out, settings, console=console)
    return train(demo_config(out, settings), console=console)


def prepare_demo(out: Path, settings: DemoSettings, *, console: Console) -> None:
    """``out/data`` and ``out/model``: what GRPO starts from."""
    with progress_display(console) as progress:
        bar = progress.add_task(
            "embedded data", total=1, note="digits, photos, tables that ship in PyPI packages"
        )
        paths = build_mini(out / "data", seed=settings.seed, size=settings.rows)
        progress.advance(bar)
        samples = load_samples(paths["train"])
        adapter = tiny_adapter(settings.family, corpus=corpus(samples), seed=settings.seed)
        bar = progress.add_task("warm-up", total=settings.warmup_steps, note="")
        warm_up(
            adapter,
            _examples([in_model_frame(adapter, sample) for sample in samples], settings),
            steps=settings.warmup_steps,
            seed=settings.seed,
            on_step=lambda step, loss: progress.update(bar, completed=step, note=f"loss {loss:.3f}"),
        )
    adapter.save(str(out / "model"))


def demo_config(out: Path, settings: DemoSettings) -> TrainConfig:
    """The GRPO settings of the demo, for what ``prepare_demo`` wrote to ``out``."""
    return TrainConfig(
        model=out / "model",
        data=out / "data" / "train.jsonl",
        validation=out / "data" / "test.jsonl",
        out=out / "run",
        seed=settings.seed,
        freeze=(),
        steps=settings.steps,
        prompts_per_step=24,
        completions_per_prompt=8,
        max_new_tokens=48,
        lr=4e-4,
        eval_samples=750,
    )


def _examples(rows: Sequence[Sample], settings: DemoSettings) -> list[Example]:
    """Targets for the warm-up, some of them without tags: a model that knows the tasks but keeps to the
    answer format only now and then, as a pretrained one does. The rest is left to GRPO.
    """
    rng = np.random.default_rng(settings.seed)
    targets = [sft_target(row) for row in rows]
    untagged = rng.random(len(rows)) < settings.untagged
    return [
        Example(row, re.sub(r"<[^>]*>", " ", target).strip() if plain else target)
        for row, target, plain in zip(rows, targets, untagged, strict=True)
    ]
