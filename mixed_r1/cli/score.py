"""``mixed-r1 score``: completions from anywhere, scored as training would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import Progress

from mixed_r1.cli.console import plain_table
from mixed_r1.cli.explanation import show_explanation
from mixed_r1.config import ConfigError
from mixed_r1.data import DataError, load_samples
from mixed_r1.rewards import MixedReward, RewardBatch, RewardConfig, explain
from mixed_r1.rewards.load import load_reward
from mixed_r1.run_directory import Column, nullable, score_columns, storable
from mixed_r1.schema import Reason, Sample, task_order
from mixed_r1.tasks import known_tasks, task_of

__all__ = ["run_score"]

Row = dict[str, Any]

CHUNK = 1024  # completions scored between two moves of the bar


def run_score(
    completions: Path,
    *,
    samples: Path | None,
    embeddings: Path | None,
    calibration: Path | None,
    config: Path | None,
    overrides: list[str],
    out: Path | None,
    min_mean: list[str],
    explained: list[str],
    console: Console,
    progress: Console,
) -> list[str]:
    """Score, print rewards and reasons by task, and write one row per completion to ``out``.

    ``min_mean`` holds bounds ``VALUE`` (all rows) or ``TASK=VALUE``; ``explained`` ids of samples whose
    completions are explained. Returns what is wrong with the means: a line for each that is below its bound.

    Raises:
        DataError: a row of another format, an unknown id, or a bad sample; it names file and line.
        ConfigError: unusable settings, an ``out`` of another suffix, open_ended rows without ``embeddings``.
    """
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"--out must end in .jsonl or .parquet, got {out}")
    if out is not None and not next(folder for folder in out.parents if folder.exists()).is_dir():
        raise ConfigError(f"--out must be in a directory, got {out}")
    settings, bounds = RewardConfig.load(config, overrides), dict(map(_bound, min_mean))
    texts, rows = _pairs(completions, samples)
    if embeddings is None and any(task_of(row.task).scorer == "embedding" for row in rows):
        raise ConfigError(
            "--embeddings must name a model directory where open_ended rows are scored, got none"
        )
    for name in explained:
        if all(row.id != name for row in rows):
            raise ConfigError(f"--explain must name the id of a scored sample, got {name!r}")
    if embeddings is not None and settings.for_task("open_ended").open_ended.is_calibrated:
        calibration = calibration or samples
    reward = load_reward(settings, embeddings=embeddings, calibration=calibration)
    batch = _scored(reward, texts, rows, progress)
    _show(console, batch, rows)
    for text, row in zip(texts, rows, strict=True):
        if row.id in explained:
            show_explanation(console, row.id, explain(reward, text, row))
    if out is not None:
        _write(out, batch, rows)
    return [problem for task, bound in bounds.items() if (problem := _below(batch, rows, task, bound))]


def _pairs(completions: Path, samples: Path | None) -> tuple[list[str], list[Sample]]:
    """The completions and the row of each."""
    known = {sample.id: sample for sample in load_samples(samples)} if samples is not None else {}
    texts, rows = [], []
    for line, row in _read(completions):
        texts.append(_completion(completions, line, row))
        rows.append(_sample(completions, line, row, known, samples))
    if not texts:
        raise DataError(completions, 0, "file", "must hold at least one completion")
    return texts, rows


def _scored(reward: MixedReward, texts: list[str], rows: list[Sample], console: Console) -> RewardBatch:
    batches = []
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("scoring", total=len(texts))
        for start in range(0, len(texts), CHUNK):
            batches.append(reward(texts[start : start + CHUNK], rows[start : start + CHUNK]))
            progress.advance(bar, len(batches[-1]))
    return RewardBatch.concatenate(batches)


def _bound(text: str) -> tuple[str, float]:
    task, _, value = text.rpartition("=")
    try:
        bound = float(value)
    except ValueError:
        bound = float("nan")
    if not np.isfinite(bound) or task not in ("", "all", *known_tasks()):
        raise ConfigError(f"--min-mean must be a number, or TASK=NUMBER, got {text!r}")
    return task or "all", bound


def _below(batch: RewardBatch, rows: Sequence[Sample], task: str, bound: float) -> str | None:
    chosen = np.array([task in ("all", row.task) for row in rows]) & batch.mask
    if not chosen.any():
        return f"mean reward of {task} must be at least {bound:g}, got no scored completions"
    mean = float(batch.total[chosen].mean())
    return f"mean reward of {task} must be at least {bound:g}, got {mean:.4f}" if mean < bound else None


def _read(path: Path) -> Iterator[tuple[int, Row]]:
    if path.suffix == ".parquet":
        yield from _read_parquet(path)
        return
    with path.open("rb") as stream:
        for line, raw in enumerate(stream, start=1):
            if not raw.strip():
                continue
            try:
                row = json.loads(raw)
            except (ValueError, RecursionError) as error:
                raise DataError(path, line, "row", f"must be one JSON object, got {error}") from None
            if not isinstance(row, dict):
                raise DataError(path, line, "row", f"must be one JSON object, got {type(row).__name__}")
            yield line, row


def _read_parquet(path: Path) -> Iterator[tuple[int, Row]]:
    """Rows of ``CompletionRows``, each with the sample that it was written with."""
    import pyarrow.parquet as pq

    try:
        rows = pq.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise DataError(path, 0, "file", f"must be a complete Parquet file, got {error}") from None
    for line, row in enumerate(rows, start=1):
        kept = {Column.SAMPLE: row.get(Column.SAMPLE), "completion": row.get(Column.COMPLETION)}
        yield line, {"id": row.get(Column.SAMPLE_ID, row.get("id")), **kept}


def _completion(path: Path, line: int, row: Row) -> str:
    completion = row.pop("completion", None)
    if not isinstance(completion, str):
        raise DataError(path, line, "completion", f"must be a text, got {type(completion).__name__}")
    return completion


def _sample(path: Path, line: int, row: Row, known: dict[str, Sample], samples: Path | None) -> Sample:
    if "task" in row:
        from mixed_r1.data.reading import parse_row

        sample, problems = parse_row({"id": f"line {line}", "question": "(not given)", **row})
        if sample is None:
            raise DataError(path, line, *problems[0])
        return sample
    name = row.get("id", row.get(Column.SAMPLE_ID))
    if isinstance(name, str) and name in known:
        return known[name]
    if (written := row.get(Column.SAMPLE)) is not None and not known:
        try:
            return Sample.model_validate_json(written)
        except (TypeError, ValueError) as error:
            raise DataError(path, line, Column.SAMPLE, f"must be a row as JSON, got {error}") from None
    where = (
        f"must be one of {samples}"
        if samples
        else "must come with --data, or the row with the sample's fields"
    )
    raise DataError(path, line, "id", f"{where}, got {name!r}")


def _show(console: Console, batch: RewardBatch, rows: Sequence[Sample]) -> None:
    tasks = np.array([row.task for row in rows])
    names = [name for k, name in enumerate(batch.names) if np.isfinite(batch.values[:, k]).any()]
    table = plain_table("reward by task", ["task", "completions", "reward", *names, "masked"])
    for task in sorted({*tasks.tolist(), "all"}, key=task_order):
        chosen = tasks == task if task != "all" else np.ones(len(tasks), dtype=bool)
        scored = batch.total[chosen & batch.mask]
        error = scored.std(ddof=1) / np.sqrt(scored.size) if scored.size > 1 else 0.0
        total = f"{scored.mean():.3f} +- {error:.3f}" if scored.size else "n/a"
        means = [_mean(batch.column(name)[chosen & batch.mask]) for name in names]
        masked = str(int((chosen & ~batch.mask).sum()))
        table.add_row(
            task, f"{chosen.sum():,}", total, *means, masked, style="bold" if task == "all" else None
        )
    console.print(table)
    console.print(_reasons(batch, tasks))


def _mean(values: np.ndarray) -> str:
    values = values[np.isfinite(values)]
    return f"{values.mean():.3f}" if values.size else "-"


def _reasons(batch: RewardBatch, tasks: np.ndarray) -> Any:
    table = plain_table("reasons", ["task", "reward", "reason", "completions", "share"])
    for task in sorted(set(tasks.tolist()), key=task_order):
        chosen = tasks == task
        for k, name in enumerate(batch.names):
            counts = np.bincount(batch.reasons[chosen, k], minlength=len(Reason))
            counts[Reason.NOT_APPLICABLE] = 0
            for code in sorted(np.flatnonzero(counts).tolist(), key=lambda c: -counts[c]):
                share = f"{100 * counts[code] / chosen.sum():.1f}%"
                table.add_row(task, name, Reason(code).name, f"{counts[code]:,}", share)
    for column in table.columns[1:3]:
        column.justify = "left"
    return table


def _write(out: Path, batch: RewardBatch, rows: Sequence[Sample]) -> None:
    records = []
    for i, row in enumerate(rows):
        record: Row = {Column.SAMPLE_ID: row.id, Column.TASK: row.task}
        record |= {Column.COMPLETION: batch.completions[i], "answer": batch.answers[i]}
        record[Column.TOTAL] = nullable(batch.total[i])
        record |= score_columns(batch.names, batch.values[i], batch.reasons[i])
        records.append(record)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".jsonl":
        out.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        for record in records:
            for name in (Column.COMPLETION, "answer"):
                record[name] = storable(record[name])
        pq.write_table(pa.Table.from_pylist(records), out)
