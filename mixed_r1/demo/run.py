"""The demo: an embedded model learns six tasks on real images, on this machine, from nothing to a report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, overload

import numpy as np
from rich.console import Console

from mixed_r1.data.mini import MiniRows, build_mini, corpus, sft_target
from mixed_r1.demo.warmup import Example, in_model_frame, warm_up
from mixed_r1.models import ModelAdapter, tiny_adapter
from mixed_r1.ranks import Ranks
from mixed_r1.schema import Sample
from mixed_r1.train.session import progress_display
from mixed_r1.train.trainer import train
from mixed_r1.train_config import TrainConfig

__all__ = ["DemoSettings", "WarmUpTargets", "demo_config", "prepare_demo", "run_demo"]

WARMUP_BATCH = 32
FIRST_WARMUP_ROW = 1_000_000  # far beyond the numbers of the training rows: GRPO's prompts are all new
TOKENIZER_ROWS = 4000
WARMUP_WEIGHTS = {
    "is_digit": 0.7,
    "left_larger": 0.7,
    "choose_digit": 1.5,
    "choose_photo": 1.5,
    "find_one": 0.4,
    "find_both": 0.4,
    "caption": 0.25,
}
"""How much of each kind supervision shows, as a multiple of its share of the data: what is learnt within a
few hundred steps is shown less, so that every task is known in part and none well.
"""


@dataclass(frozen=True)
class DemoSettings:
    """What a person may want to change about the demo."""

    family: str = "qwen2_5_vl"
    seed: int = 0
    warmup_steps: int = 600
    steps: int = 400
    prompts_per_step: int = 64
    held_out: int = 2000
    unseen: tuple[str, ...] = ()
    """Tasks whose warm-up targets are other rows' answers: the start knows their form and cannot see them."""

    @property
    def rows(self) -> int:
        """Rows of the data set: no prompt comes twice."""
        return self.steps * self.prompts_per_step + 2250


def run_demo(
    out: Path,
    settings: DemoSettings = DemoSettings(),
    *,
    console: Console | None = None,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Draw the embedded data set, warm a small model up by supervision, train it with GRPO.

    Writes ``out/data``, ``out/model`` (the starting point) and ``out/run`` (see ``train``). The warm-up shows
    right answers to other rows than those of GRPO, and ends long before the model knows the tasks: what it
    learns after that, it learns from reward alone. Evaluation is on the test split, which shares no image
    with the training rows. ``ranks`` do all of it together. Returns the summary of the run.
    """
    console = console or Console(stderr=True)
    if ranks is None:
        with Ranks() as ranks:
            return run_demo(out, settings, console=console, ranks=ranks)
    prepare_demo(out, settings, console=console, ranks=ranks)
    return train(demo_config(out, settings), console=console, ranks=ranks)


def prepare_demo(out: Path, settings: DemoSettings, *, console: Console, ranks: Ranks) -> None:
    """``out/data`` and ``out/model``: what GRPO starts from."""
    with progress_display(console, disable=not ranks.first) as progress:
        bar = progress.add_task("embedded data", total=1, note="digits, photos, tables of PyPI packages")
        if ranks.first:
            workers = ranks.world_size
            build_mini(
                out / "data", seed=settings.seed, size=settings.rows, format="parquet", workers=workers
            )
        ranks.gather(None)  # the others wait for the files
        progress.advance(bar)
        rows = MiniRows(
            "train",
            size=settings.warmup_steps * WARMUP_BATCH,
            seed=settings.seed,
            first=FIRST_WARMUP_ROW,
            weights=WARMUP_WEIGHTS,
        )
        adapter = tiny_adapter(settings.family, corpus=corpus(rows[:TOKENIZER_ROWS]), seed=settings.seed)
        bar = progress.add_task("warm-up", total=settings.warmup_steps, note="")
        warm_up(
            adapter,
            WarmUpTargets(rows, adapter, settings.unseen),
            steps=settings.warmup_steps,
            batch_size=WARMUP_BATCH,
            seed=settings.seed,
            ranks=ranks,
            on_step=lambda step, loss: progress.update(bar, completed=step, note=f"loss {loss:.3f}"),
        )
    if ranks.first:
        adapter.save(str(out / "model"))
    ranks.gather(None)


def demo_config(out: Path, settings: DemoSettings) -> TrainConfig:
    """The GRPO settings of the demo, for what ``prepare_demo`` wrote to ``out``."""
    return TrainConfig(
        model=out / "model",
        data=out / "data" / "train",
        validation=out / "data" / "test",
        out=out / "run",
        seed=settings.seed,
        engine="local",
        freeze=(),
        steps=settings.steps,
        prompts_per_step=settings.prompts_per_step,
        completions_per_prompt=8,
        max_new_tokens=48,
        max_rollout_rows=512,
        lr=6e-4,
        lr_schedule="linear",
        eval_samples=settings.held_out,
        eval_every=max(1, settings.steps // 4),
    )


class WarmUpTargets(Sequence[Example]):
    """Rows with the completion to imitate, made when they are asked for.

    Rows of a task in ``unseen`` get the completion of another row of their kind.
    """

    def __init__(self, rows: Sequence[Sample], adapter: ModelAdapter, unseen: Sequence[str] = ()) -> None:
        self._rows, self._adapter, self._unseen = rows, adapter, frozenset(unseen)

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, index: int) -> Example: ...
    @overload
    def __getitem__(self, index: slice) -> list[Example]: ...
    def __getitem__(self, index: int | slice) -> Example | list[Example]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        row = self._rows[index]
        answered = self._another(index, row) if row.task in self._unseen else row
        return Example(row, sft_target(in_model_frame(self._adapter, answered)))

    def _another(self, index: int, row: Sample) -> Sample:
        """A row of the same kind, chosen blindly of ``row``'s answer."""
        rng = np.random.default_rng(index)
        while True:
            other = self._rows[int(rng.integers(len(self._rows)))]
            if other.metadata["kind"] == row.metadata["kind"]:
                return other
