"""What a step reports, and metrics.jsonl, where it is written."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixed_r1.rewards import RewardBatch
from mixed_r1.run_directory import Metric
from mixed_r1.schema import CLOSED_TASKS

__all__ = [
    "JsonLines",
    "answer_metrics",
    "reward_metrics",
    "rollout_metrics",
]


class JsonLines:
    """A JSONL file that a resumed run cuts back to where its checkpoint was."""

    def __init__(self, path: Path | None, *, offset: int = 0) -> None:
        """Open for appending after ``offset`` bytes; whatever follows them is dropped. None: nowhere."""
        self._stream = None
        if path is None:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._stream = path.open("ab")
        if offset > os.path.getsize(path):
            raise ValueError(f"offset must be within {path}, got {offset} of {os.path.getsize(path)} bytes")
        self._stream.truncate(offset)

    def write(self, record: Mapping[str, Any]) -> None:
        if self._stream is not None:
            self._stream.write((json.dumps(_finite(record), allow_nan=False) + "\n").encode())
            self._stream.flush()

    def records(self) -> list[dict[str, Any]]:
        """What is in the file now; nothing where there is none."""
        if self._stream is None:
            return []
        return [json.loads(line) for line in self._path.read_bytes().splitlines()]

    def sync(self) -> int:
        """The offset to resume from, once all before it is on disk."""
        if self._stream is None:
            return 0
        os.fsync(self._stream.fileno())
        return os.fstat(self._stream.fileno()).st_size


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: such a value is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def reward_metrics(batch: RewardBatch, tasks: np.ndarray, sources: np.ndarray) -> dict[str, float]:
    """Mean and std of the total over all completions, by task and by source ([N] texts each). Of each reward
    column the mean, its share of the total, and how often each reason was given."""
    scored = np.asarray(batch.mask, dtype=bool)
    total = np.asarray(batch.total)
    metrics: dict[str, float] = {
        Metric.REWARD_MEAN: _mean(total[scored]),
        Metric.REWARD_STD: _std(total[scored]),
        Metric.REWARD_MASKED: float((~scored).sum()),
    }
    for labels, mean_of, std_of in (
        (tasks, Metric.REWARD_OF_TASK, Metric.STD_OF_TASK),
        (sources, Metric.REWARD_OF_SOURCE, Metric.STD_OF_SOURCE),
    ):
        for label in sorted(set(labels.tolist())):
            chosen = total[scored & (labels == label)]
            metrics[mean_of + label] = _mean(chosen)
            metrics[std_of + label] = _std(chosen)
    metrics |= {Metric.COLUMN_MEAN + name: mean for name, mean in batch.means().items()}
    metrics |= {Metric.COLUMN_SHARE + name: share for name, share in batch.shares().items()}
    for name, counts in batch.reason_counts().items():
        metrics |= {f"{Metric.REASON}{name}/{reason}": count for reason, count in counts.items()}
    return metrics


def rollout_metrics(lengths: np.ndarray, stopped: np.ndarray, flat: np.ndarray) -> dict[str, float]:
    """Lengths, how many completions were cut, and the share in groups that teach nothing (``flat``)."""
    return {
        Metric.COMPLETIONS: len(lengths),
        Metric.LENGTH_MEAN: float(lengths.mean()),
        Metric.LENGTH_MAX: int(lengths.max()),
        Metric.LENGTH_CUT: float(1 - stopped.mean()),
        Metric.FLAT: float(flat.mean()),
    }


def answer_metrics(
    tasks: np.ndarray, answers: np.ndarray, golds: np.ndarray, flat: np.ndarray
) -> dict[str, float]:
    """By task: the share of completions in groups that teach nothing, and for tasks whose gold is one of a
    short list the share of the commonest answer beside that of the commonest gold."""
    metrics: dict[str, float] = {}
    for task in sorted(set(tasks.tolist())):
        chosen = tasks == task
        metrics[Metric.FLAT_OF_TASK + task] = float(flat[chosen].mean())
        if task in CLOSED_TASKS:
            metrics[Metric.COMMONEST_ANSWER + task] = _largest_share(answers[chosen])
            metrics[Metric.COMMONEST_GOLD + task] = _largest_share(golds[chosen])
    return metrics


def _largest_share(texts: np.ndarray) -> float:
    return float(np.unique(texts, return_counts=True)[1].max() / texts.size)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _std(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
