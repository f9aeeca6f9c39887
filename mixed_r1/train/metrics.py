"""What a step reports, and where it is written: metrics.jsonl always, completions to Parquet every k-th
step."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.rewards import RewardBatch
from mixed_r1.schema import Sample
from mixed_r1.train.rollout import Group
from mixed_r1_kernels.reason import Reason

__all__ = ["JsonLines", "reward_metrics", "rollout_metrics", "write_completions"]


class JsonLines:
    """A JSONL file that a resumed run cuts back to where its checkpoint was."""

    def __init__(self, path: Path, *, offset: int | None = None) -> None:
        """Open for appending; with ``offset`` (bytes) drop what comes after it first."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self._stream = path.open("ab")
        if offset is not None:
            if offset > os.path.getsize(path):
                raise ValueError(
                    f"offset must be within {path}, got {offset} of {os.path.getsize(path)} bytes"
                )
            self._stream.truncate(offset)

    def write(self, record: Mapping[str, Any]) -> None:
        self._stream.write((json.dumps(_finite(record), allow_nan=False) + "\n").encode())
        self._stream.flush()

    @property
    def offset(self) -> int:
        return os.fstat(self._stream.fileno()).st_size

    def close(self) -> None:
        self._stream.close()


def _finite(record: Mapping[str, Any]) -> dict[str, Any]:
    """JSON has no NaN: such a value is null."""
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in record.items()}


def reward_metrics(batch: RewardBatch, samples: Sequence[Sample]) -> dict[str, float]:
    """Mean and std of the total, per task and per source; each column's share; reasons by column."""
    scored = np.asarray(batch.mask, dtype=bool)
    total = np.asarray(batch.total)
    metrics: dict[str, float] = {
        "reward/mean": _mean(total[scored]),
        "reward/std": _std(total[scored]),
        "reward/masked": float((~scored).sum()),
    }
    for kind in ("task", "source"):
        labels = np.array([getattr(sample, kind) for sample in samples])
        for label in sorted(set(labels.tolist())):
            chosen = total[scored & (labels == label)]
            metrics[f"reward/{kind}/{label}"] = _mean(chosen)
            metrics[f"reward_std/{kind}/{label}"] = _std(chosen)
    metrics |= {f"reward/column/{name}": mean for name, mean in batch.means().items()}
    metrics |= {f"reward/share/{name}": share for name, share in batch.shares().items()}
    for name, counts in batch.reason_counts().items():
        metrics |= {f"reason/{name}/{reason}": count for reason, count in counts.items()}
    return metrics


def rollout_metrics(groups: Sequence[Group], flat: np.ndarray) -> dict[str, float]:
    """Lengths, how many completions were cut, and the share of groups that teach nothing (``flat``)."""
    lengths = np.array([len(c) for group in groups for c in group.completions])
    stopped = np.array([c.stopped for group in groups for c in group.completions])
    return {
        "length/mean": float(lengths.mean()),
        "length/max": int(lengths.max()),
        "length/cut": float(1 - stopped.mean()),
        "zero_variance": float(flat.mean()),
    }


def write_completions(
    path: Path, step: int, groups: Sequence[Group], batch: RewardBatch, advantages: np.ndarray, decode: Any
) -> None:
    """One row a completion, in the format the report reads; written whole or not at all."""
    samples = [group.sample for group in groups for _ in group.completions]
    completions = [c for group in groups for c in group.completions]
    prompts = [decode(group.prompt.input_ids.tolist()) for group in groups]
    columns: dict[str, list[Any]] = {
        "step": [step] * len(samples),
        "sample_id": [s.id for s in samples],
        "task": [s.task for s in samples],
        "source": [s.source for s in samples],
        "prompt": [text for text, group in zip(prompts, groups, strict=True) for _ in group.completions],
        "prompt_group": [g for g, group in enumerate(groups) for _ in group.completions],
        "completion_index": [i for group in groups for i in range(len(group.completions))],
        "completion": [c.text.encode("utf-8", "replace").decode() for c in completions],
        "num_tokens": [len(c) for c in completions],
        "total": _nullable(batch.total),
        "advantage": _nullable(advantages),
        "sample": [_sample_json(s) for s in samples],
    }
    for k, name in enumerate(batch.names):
        columns[f"reward_{name}"] = _nullable(batch.values[:, k])
        columns[f"reason_{name}"] = [Reason(code).name for code in batch.reasons[:, k].tolist()]
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    pq.write_table(pa.table(columns), temporary)
    temporary.replace(path)


def _sample_json(sample: Sample) -> str:
    """The row as JSON; images that are not paths are left out, they are in the data set."""
    paths = tuple(str(image) for image in sample.images if isinstance(image, (str, os.PathLike)))
    return sample.model_copy(update={"images": paths}).model_dump_json()


def _nullable(values: np.ndarray) -> list[float | None]:
    return [float(v) if np.isfinite(v) else None for v in values]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _std(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
