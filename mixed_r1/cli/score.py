"""``mixed-r1 score``: completions from anywhere, scored as training would."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from mixed_r1.cli.console import plain_table, task_order
from mixed_r1.config import ConfigError
from mixed_r1.data import DataError, load_samples
from mixed_r1.rewards import MixedReward, RewardBatch, RewardConfig
from mixed_r1.schema import Reason, Sample

__all__ = ["run_score"]

Row = dict[str, Any]


def run_score(
    completions: Path,
    *,
    samples: Path | None,
    embeddings: Path | None,
    config: Path | None,
    overrides: list[str],
    out: Path | None,
    console: Console,
) -> RewardBatch:
    """Score, print rewards and reasons by task, and write one row per completion to ``out``.

    Raises:
        DataError: a row of another format, an unknown id, or a bad sample; it names file and line.
        ConfigError: unusable settings, an ``out`` of another suffix, open_ended rows without ``embeddings``.
    """
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"--out must end in .jsonl or .parquet, got {out}")
    settings = RewardConfig.load(config, overrides)
    known = {sample.id: sample for sample in load_samples(samples)} if samples is not None else {}
    texts, rows = [], []
    for line, row in _read(completions):
        texts.append(_completion(completions, line, row))
        rows.append(_sample(completions, line, row, known, samples))
    if not texts:
        raise DataError(completions, 0, "file", "must hold at least one completion")
    if embeddings is None and any(row.task == "open_ended" for row in rows):
        raise ConfigError(
            "--embeddings must name a model directory where open_ended rows are scored, got none"
        )
    batch = _scorer(settings, embeddings)(texts, rows)
    _show(console, batch, rows)
    if out is not None:
        _write(out, batch, rows)
    return batch


def _scorer(settings: RewardConfig, embeddings: Path | None) -> MixedReward:
    if embeddings is None:
        return MixedReward(config=settings)
    from tokenizers import Tokenizer

    from mixed_r1_kernels import EmbeddingTable

    file = embeddings / "tokenizer.json"
    if not file.is_file():
        raise ConfigError(f"--embeddings must be a model directory with tokenizer.json, got {embeddings}")
    table = EmbeddingTable.from_pretrained(embeddings)
    return MixedReward(table, Tokenizer.from_file(str(file)), config=settings)


def _read(path: Path) -> Iterator[tuple[int, Row]]:
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


def _completion(path: Path, line: int, row: Row) -> str:
    completion = row.pop("completion", None)
    if not isinstance(completion, str):
        raise DataError(path, line, "completion", f"must be a text, got {type(completion).__name__}")
    return completion


def _sample(path: Path, line: int, row: Row, known: dict[str, Sample], samples: Path | None) -> Sample:
    if "task" in row:
        from mixed_r1.data.checks import parse_row

        sample, problems = parse_row({"id": f"line {line}", "question": "(not given)", **row})
        if sample is None:
            raise DataError(path, line, *problems[0])
        return sample
    name = row.get("id")
    if name in known:
        return known[name]
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
        record: Row = {"id": row.id, "task": row.task, "completion": batch.completions[i]}
        record |= {"answer": batch.answers[i], "total": _nullable(batch.total[i])}
        for k, name in enumerate(batch.names):
            record[f"reward_{name}"] = _nullable(batch.values[i, k])
            record[f"reason_{name}"] = Reason(int(batch.reasons[i, k])).name
        records.append(record)
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix == ".jsonl":
        out.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    else:
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(records), out)


def _nullable(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
