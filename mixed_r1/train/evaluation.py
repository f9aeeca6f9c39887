"""Reward on held-out rows: greedy and sampled, per task, with standard errors that count rows, not
completions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from mixed_r1.models.base import ModelAdapter, Prompt
from mixed_r1.rewards import MixedReward, RewardBatch
from mixed_r1.schema import Sample
from mixed_r1.train.rollout import Completion, RolloutEngine, SamplingParams
from mixed_r1.train.sampler import SamplerRollouts

__all__ = ["Difference", "Evaluation", "as_scored", "evaluate"]

Mode = Literal["greedy", "sampled"]


@dataclass(frozen=True)
class Difference:
    """The paired change of the mean reward over the same rows, with its standard error."""

    mean: float
    stderr: float


@dataclass(frozen=True)
class Evaluation:
    """One reward per row: the mean over its completions."""

    mode: Mode
    samples: tuple[Sample, ...]
    completions: tuple[tuple[Completion, ...], ...]
    batch: RewardBatch  # one line per completion
    rewards: np.ndarray  # [rows] float64, NaN where a row was masked

    def records(self) -> list[dict[str, Any]]:
        """One record per task and one for all: mean, standard error over rows, number of rows, column
        means."""
        tasks = sorted({sample.task for sample in self.samples})
        return [self._record(task) for task in tasks] + [self._record("all")]

    def _record(self, task: str) -> dict[str, Any]:
        chosen = np.array([task in ("all", sample.task) for sample in self.samples])
        rewards = self.rewards[chosen & np.isfinite(self.rewards)]
        lines = np.repeat(chosen, [len(c) for c in self.completions])
        columns = {}
        for k, name in enumerate(self.batch.names):
            values = self.batch.values[lines, k]
            if np.isfinite(values).any():
                columns[name] = float(np.nanmean(values))
        return {
            "mode": self.mode,
            "task": task,
            "mean": float(rewards.mean()) if rewards.size else None,
            "stderr": _stderr(rewards),
            "n": int(rewards.size),
            "columns": columns,
        }

    def minus(self, before: Evaluation) -> Difference:
        """The paired difference on the same rows."""
        if [s.id for s in self.samples] != [s.id for s in before.samples]:
            raise ValueError("before must be an evaluation of the same rows, got others")
        difference = self.rewards - before.rewards
        difference = difference[np.isfinite(difference)]
        return Difference(float(difference.mean()), _stderr(difference))


def evaluate(
    adapter: ModelAdapter,
    samples: Sequence[Sample],
    reward: MixedReward,
    *,
    params: SamplingParams,
    completions_per_sample: int = 1,
    seed: int = 0,
    max_rows: int = 256,
    engine: RolloutEngine | None = None,
    on_progress: Callable[[int], None] | None = None,
) -> Evaluation:
    """Answer every row and score it. Greedy where ``params.temperature`` is 0. ``engine`` answers instead of
    the adapter's own sampler.

    The random numbers depend on ``seed`` and the row's id alone, so two models are compared on the same
    draws.
    """
    if not samples:
        raise ValueError("samples must hold at least one row, got none")
    greedy = params.temperature == 0
    count = 1 if greedy else completions_per_sample
    engine = engine or SamplerRollouts(adapter, max_rows=max_rows)
    rows_at_once = max(1, max_rows // count)
    completions: list[tuple[Completion, ...]] = []
    scored: list[Sample] = []
    for start in range(0, len(samples), rows_at_once):
        chunk = samples[start : start + rows_at_once]
        prompts = [adapter.encode(sample) for sample in chunk]
        drawn = engine.generate(chunk, prompts, num_completions=count, params=params, seed=seed, step=-1)
        completions.extend(tuple(group) for group in drawn)
        scored.extend(as_scored(sample, prompt) for sample, prompt in zip(chunk, prompts, strict=True))
        if on_progress is not None:
            on_progress(len(chunk))
    batch = reward(
        [c.text for group in completions for c in group], [s for s in scored for _ in range(count)]
    )
    totals = np.where(batch.mask, batch.total, np.nan).reshape(len(samples), count)
    rewards = totals.mean(axis=1)
    mode: Mode = "greedy" if greedy else "sampled"
    return Evaluation(mode, tuple(samples), tuple(completions), batch, rewards)


def as_scored(sample: Sample, prompt: Prompt) -> Sample:
    """The row with the image sizes that turn the model's boxes into pixels of the original."""
    if sample.task != "grounding" or not prompt.image_sizes:
        return sample
    return sample.model_copy(
        update={"image_size": prompt.image_sizes[0], "resized_size": prompt.model_image_sizes[0]}
    )


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else 0.0
