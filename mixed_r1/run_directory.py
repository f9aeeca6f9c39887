"""The format of a run: where its files are, and what the metrics and columns in them are called.

    config.yaml                      the settings, as the run has them
    metrics.jsonl                    one record a step, see Metric
    evaluation.jsonl                 one record for each evaluation, split, mode and task
    before.json                      mode -> the rows of the first evaluation
    summary.json                     what the run came to
    completions/step-000010.parquet  what was sampled in a step, see Column
    evaluations/step-000010.parquet  what was answered in an evaluation, row by row, see Column
    images/0123456789abcdef.jpg      small copies of images in it that are no files of their own
    checkpoints/step-000010/         and ``latest``, a link to the newest
    rollout/version-000010/          weights on their way to a server
    tensorboard/
    control.json                     of the demo on pretrained weights: rewards with the images and without
    report.html

The trainer, the report, ``score`` and ``eval`` take every name from here. A missing value (NaN) is null.
"""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from mixed_r1.files import atomic_path
from mixed_r1_kernels.reason import Reason

__all__ = [
    "LATEST",
    "MODES",
    "Column",
    "Metric",
    "Mode",
    "RunDirectory",
    "ScoreCell",
    "Split",
    "is_metric",
    "nullable",
    "score_cells",
    "score_columns",
    "storable",
    "write_json",
]

LATEST = "latest"  # in the folder of checkpoints: a link to the newest

Mode = Literal["greedy", "sampled"]  # how an evaluation decodes
Split = Literal["validation", "train"]  # held-out rows, or some of those the run trains on
MODES: tuple[Mode, ...] = ("greedy", "sampled")

_COMPLETIONS = re.compile(r"step-(\d+)\.parquet")


class RunDirectory:
    """The files of a run. Nothing is made by asking for a path."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self.config = self.path / "config.yaml"
        self.metrics = self.path / "metrics.jsonl"
        self.evaluation = self.path / "evaluation.jsonl"
        self.before = self.path / "before.json"
        self.summary = self.path / "summary.json"
        self.control = self.path / "control.json"
        self.report = self.path / "report.html"
        self.lock = self.path / ".lock"  # held by the process whose run this is
        self.checkpoints = self.path / "checkpoints"
        self.latest_checkpoint = self.checkpoints / LATEST
        self.images = self.path / "images"
        self.tensorboard = self.path / "tensorboard"

    def completions(self, step: int) -> Path:
        return self.path / "completions" / f"step-{step:06d}.parquet"

    def answers(self, step: int) -> Path:
        return self.path / "evaluations" / f"step-{step:06d}.parquet"

    def all_answers(self) -> dict[int, Path]:
        """The answers files that are there, by step."""
        found = self.path.glob("evaluations/*.parquet")
        steps = {int(match[1]): path for path in found if (match := _COMPLETIONS.fullmatch(path.name))}
        return dict(sorted(steps.items()))

    def all_completions(self) -> list[Path]:
        """The completions files that are there, by step."""
        found = self.path.glob("completions/*.parquet")
        steps = {path: int(match[1]) for path in found if (match := _COMPLETIONS.fullmatch(path.name))}
        return sorted(steps, key=lambda path: steps[path])

    def weights(self, version: int) -> Path:
        """Where weights lie that are handed to a server; absolute, as it may work in another directory."""
        return self.path.resolve() / "rollout" / f"version-{version:06d}"

    def all_weights(self) -> list[Path]:
        """The versions that are there, oldest first."""
        return sorted((self.path.resolve() / "rollout").glob("version-*"))


class Metric:
    """Names in a record of metrics.jsonl. Those that end in "/" go on with a task, a source or a column."""

    STEP = "step"
    WRITTEN_AT = "time"  # seconds since 1970
    EPOCH = "epoch"  # how often each row has been drawn, on average
    PROMPTS = "prompts"
    COMPLETIONS = "completions"
    SKIPPED = "skipped"  # rows that could not be encoded
    REDRAWN = "redrawn"  # groups that were replaced because their rewards were all equal

    REWARD_MEAN = "reward/mean"
    REWARD_STD = "reward/std"
    REWARD_MASKED = "reward/masked"  # completions that could not be scored
    REWARD_OF_TASK = "reward/task/"
    REWARD_OF_SOURCE = "reward/source/"
    STD_OF_TASK = "reward_std/task/"
    STD_OF_SOURCE = "reward_std/source/"
    COLUMN_MEAN = "reward/column/"
    COLUMN_SHARE = "reward/share/"  # a column's part of the total reward
    REASON = "reason/"  # COLUMN/REASON: the number of completions
    FLAT = "zero_variance"  # share of the completions in groups of equal rewards
    FLAT_OF_TASK = "zero_variance/task/"
    COMMONEST_ANSWER = "answer/commonest/"  # of a task: its share of the answers
    COMMONEST_GOLD = "answer/commonest_gold/"

    LENGTH_MEAN = "length/mean"
    LENGTH_MAX = "length/max"
    LENGTH_CUT = "length/cut"  # share of the completions that reached max_new_tokens
    LENGTH_PENALTY = "length/penalty"

    LOSS = "loss"
    GRAD_NORM = "grad_norm"
    SKIPPED_UPDATES = "skipped_updates"  # for a gradient that was not finite
    LR = "lr"
    CLIP_FRACTION = "clip_fraction"
    KL = "kl"  # to the reference
    OLD_KL = "old_kl"  # to the policy before the step's first update
    IMPORTANCE = "importance"
    SAMPLING_KL = "sampling_kl"  # from the distribution drawn from to the policy
    ENTROPY = "entropy"
    GRADIENT_NORM = "gradient/norm/"  # of a task's part of the gradient
    GRADIENT_COSINE = "gradient/cosine/"  # TASK/TASK

    PACKS = "packs"
    TOKENS_PER_SECOND = "tokens_per_second"
    ROLLOUT_SECONDS = "time/rollout"
    REWARD_SECONDS = "time/reward"
    TRAIN_SECONDS = "time/train"
    CPU_SECONDS = "time/cpu"
    MEMORY_MB = "memory_mb"


_NAMES = {name for key, name in vars(Metric).items() if key.isupper()}


def is_metric(name: str) -> bool:
    """Whether a record of metrics.jsonl may hold ``name``."""
    return name in _NAMES or any(name.startswith(known) for known in _NAMES if known.endswith("/"))


class Column:
    """Columns of a file of completions or answers, one row a completion; ``score_columns`` gives the rest."""

    STEP = "step"
    SPLIT = "split"  # of an evaluation
    MODE = "mode"  # of an evaluation
    SAMPLE_ID = "sample_id"
    TASK = "task"
    SOURCE = "source"
    PROMPT = "prompt"  # as the model reads it
    PROMPT_GROUP = "prompt_group"  # the number of the group in the step
    COMPLETION_INDEX = "completion_index"  # in its group
    COMPLETION = "completion"
    NUM_TOKENS = "num_tokens"
    TOTAL = "total"
    ADVANTAGE = "advantage"  # of a step
    SAMPLE = "sample"  # the row as JSON; images by their path, from the working directory or from the run


_REWARD, _REASON = "reward_", "reason_"


def score_columns(names: Sequence[str], values: Sequence[float], reasons: Sequence[int]) -> dict[str, Any]:
    """The columns ``reward_NAME`` and ``reason_NAME`` of one completion."""
    rewards = {f"{_REWARD}{name}": nullable(value) for name, value in zip(names, values, strict=True)}
    texts = {f"{_REASON}{name}": Reason(int(code)).name for name, code in zip(names, reasons, strict=True)}
    return {**rewards, **texts}


class ScoreCell(NamedTuple):
    """One reward of one completion as a file holds it."""

    column: str
    value: float | None
    reason: str | None


def score_cells(row: Mapping[str, Any]) -> Iterator[ScoreCell]:
    """What ``score_columns`` wrote into ``row``."""
    for key, value in row.items():
        if key.startswith(_REWARD):
            name = key.removeprefix(_REWARD)
            yield ScoreCell(name, value, row.get(f"{_REASON}{name}"))


def nullable(value: float) -> float | None:
    """``value``, or None where it is not finite."""
    return float(value) if math.isfinite(value) else None


def storable(text: str) -> str:
    """``text`` as Parquet can hold it, which knows UTF-8 alone: a lone surrogate becomes "?"."""
    return text.encode("utf-8", "replace").decode()


def write_json(path: Path, content: Any) -> None:
    """Write ``content`` whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(content, indent=1), encoding="utf-8")
