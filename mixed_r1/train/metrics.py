"""What a step reports, and where it is written: metrics.jsonl always, completions to Parquet every k-th
step."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.storage import image_name
from mixed_r1.files import atomic_path
from mixed_r1.images import ImageError, open_image, source_name, thumbnail
from mixed_r1.rewards import RewardBatch
from mixed_r1.rollout import Group
from mixed_r1.run_directory import Column, Metric, nullable, score_columns, storable
from mixed_r1.schema import CLOSED_TASKS, Sample

__all__ = [
    "JsonLines",
    "answer_metrics",
    "completion_rows",
    "reward_metrics",
    "rollout_metrics",
    "write_completions",
]


SHOWN_SIDE = 1024  # pixels of the longer side of a picture that is copied for a report


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


def completion_rows(
    step: int,
    groups: Sequence[Group],
    batch: RewardBatch,
    advantages: np.ndarray,
    decode: Callable[[list[int]], str],
    images: Path,
) -> list[list[dict[str, Any]]]:
    """Per group, one record a completion, its keys those of ``Column``; ``decode`` makes text of a prompt's
    tokens. Images that are no files of their own are copied into the folder ``images``."""
    rows: list[list[dict[str, Any]]] = []
    first = 0
    for group in groups:
        shared = {
            Column.STEP: step,
            Column.SAMPLE_ID: group.sample.id,
            Column.TASK: group.sample.task,
            Column.SOURCE: group.sample.source,
            Column.PROMPT: decode(group.prompt.input_ids.tolist()),
        }
        shown = _sample_json(group.sample, images)
        records = []
        for i, completion in enumerate(group.completions):
            n = first + i
            records.append(
                {
                    **shared,
                    Column.COMPLETION_INDEX: i,
                    Column.COMPLETION: storable(completion.text),
                    Column.NUM_TOKENS: len(completion),
                    Column.TOTAL: nullable(batch.total[n]),
                    Column.ADVANTAGE: nullable(advantages[n]),
                    Column.SAMPLE: shown,
                    **score_columns(batch.names, batch.values[n], batch.reasons[n]),
                }
            )
        rows.append(records)
        first += len(group.completions)
    return rows


def write_completions(path: Path, groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
    """``completion_rows`` to Parquet, with the number of each group; written whole or not at all."""
    table = pa.Table.from_pylist(
        [{**row, Column.PROMPT_GROUP: g} for g, group in enumerate(groups) for row in group]
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary)


def _sample_json(sample: Sample, folder: Path) -> str:
    """The row as JSON, with its images by their paths."""
    paths = tuple(_image_path(image, folder) for image in sample.images)
    return sample.model_copy(update={"images": paths}).model_dump_json()


def _image_path(image: Any, folder: Path) -> str:
    """Where an image is: its own path, or that of a small copy, from the folder of the run."""
    if isinstance(image, os.PathLike) or (isinstance(image, str) and Path(image).is_file()):
        return str(image)
    try:
        copy = thumbnail(open_image(image), SHOWN_SIDE)
        target = folder / image_name(copy)
        if not target.is_file():
            folder.mkdir(parents=True, exist_ok=True)
            with atomic_path(target, durable=False) as temporary:
                temporary.write_bytes(copy)
    except (ImageError, OSError):  # the record matters more than its picture
        return source_name(image)
    return f"{folder.name}/{target.name}"


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else math.nan


def _std(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) if values.size > 1 else 0.0
