"""How hard a row is for a model: sample k answers, score them, keep rows inside their task's window.

Every batch of scored rows is appended to a journal and synced before the next one is sampled, so a killed run
loses at most one batch of answers. The journal outlives changes of what does not change answers: windows,
filters, servers' addresses. The result repeats exactly where the answers do.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.data.engine.table import Drops, FeatureTable
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.parquet import iter_rows
from mixed_r1.data.recipe import Difficulty, Window
from mixed_r1.files import atomic_path
from mixed_r1.schema import Sample

__all__ = ["Sampler", "Scorer", "find_too_easy_or_hard", "measure", "read_statistics", "write_statistics"]

# (rows, k) -> k answers per row
Sampler: TypeAlias = "Callable[[Sequence[Sample], int], Sequence[Sequence[str]]]"
# (completions, the row of each) -> a reward in [0, 1] each, NaN where the row cannot be scored
Scorer: TypeAlias = "Callable[[list[str], list[Sample]], Sequence[float]]"

Rewards: TypeAlias = "list[float | None]"

STATISTICS = ("pass_rate", "mean", "std", "sum")


def measure(
    table: FeatureTable,
    alive: np.ndarray,
    spec: Difficulty,
    journal: Path,
    *,
    sampler: Sampler,
    scorer: Scorer,
    progress: Callable[[int, int], None],
) -> dict[int, Rewards]:
    """Sample and score the living rows of the tasks in ``spec.windows``, but for what ``journal`` holds.

    Returns a row's rewards, None for an answer that could not be scored.
    """
    tasks, codes = table.codes("task")
    counts = np.asarray([*(spec.num_answers(task) for task in tasks), 0])[codes]
    wanted = np.flatnonzero(alive & (counts > 0)).tolist()
    known = _read_journal(journal)
    names = table.column("id").take(pa.array(wanted, type=pa.int64())).to_pylist()
    answered = [(row, known.get(name, [])) for row, name in zip(wanted, names, strict=True)]
    rewards = {row: values for row, values in answered if len(values) == counts[row]}
    missing = [row for row in wanted if row not in rewards]
    progress(len(rewards), len(wanted))
    with journal.open("a", encoding="utf-8") as stream:
        for rows, samples in _batches(table, missing, spec.rows_per_batch):
            for k in sorted({int(counts[row]) for row in rows}):
                chosen = [i for i, row in enumerate(rows) if counts[row] == k]
                scored = _scored([samples[i] for i in chosen], k, sampler, scorer)
                for i, values in zip(chosen, scored, strict=True):
                    rewards[rows[i]] = values
                    stream.write(json.dumps({"id": samples[i].id, "rewards": values}) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
            progress(len(rewards), len(wanted))
    return rewards


def find_too_easy_or_hard(table: FeatureTable, statistics: Path, spec: Difficulty) -> Drops:
    """Measured rows outside their task's window, or that could not be scored."""
    tasks, codes = table.codes("task")
    windows: dict[str, Window] = {str(task): window for task, window in spec.windows.items()}
    rows, reasons, details = [], [], []
    for line in pq.read_table(statistics).to_pylist():
        window = windows[tasks[codes[line["row"]]]]
        value = line[window.of]
        if line["num_scored"] == 0:
            reason = "unscored"
            detail = "no answer could be scored"
        elif window.holds(value):
            continue
        else:
            reason = "outside window"
            detail = f"{window.of} {value:.4g} of {line['num_scored']} answers"
        rows.append(line["row"])
        reasons.append(reason)
        details.append(detail)
    return Drops(np.asarray(rows, dtype=np.int64), reasons, details)


def read_statistics(path: Path) -> dict[int, dict[str, float]]:
    """Row -> its statistics."""
    return {line.pop("row"): line for line in pq.read_table(path).to_pylist() if line["num_scored"]}


def _read_journal(path: Path) -> dict[str, Rewards]:
    """Id of a row -> what is already scored; a torn last line is cut off."""
    if not path.is_file():
        return {}
    rewards = {}
    good = 0
    with path.open("rb") as stream:
        for raw in stream:
            try:
                line = json.loads(raw)
            except ValueError:
                break
            if not raw.endswith(b"\n"):
                break
            good += len(raw)
            rewards[line["id"]] = line["rewards"]
    os.truncate(path, good)
    return rewards


def _batches(table: FeatureTable, rows: Sequence[int], size: int) -> Iterator[tuple[list[int], list[Sample]]]:
    numbers: list[int] = []
    samples: list[Sample] = []
    wanted = np.asarray(rows, dtype=np.int64)
    for k, stem in enumerate(table.stems):
        first, last = int(table.starts[k]), int(table.starts[k + 1])
        here = {int(row) - first for row in wanted[(wanted >= first) & (wanted < last)]}
        if not here:
            continue
        for i, row in enumerate(iter_rows(stem.with_name(stem.name + ".parquet"))):
            if i in here and isinstance(row, dict):
                numbers.append(first + i)
                samples.append(Sample(**row))
                if len(samples) == size:
                    yield numbers, samples
                    numbers, samples = [], []
    if samples:
        yield numbers, samples


def _scored(samples: list[Sample], k: int, sampler: Sampler, scorer: Scorer) -> list[Rewards]:
    answers = sampler(samples, k)
    if len(answers) != len(samples) or any(len(group) != k for group in answers):
        raise BuildError(
            f"sampler must return {k} answers for each of {len(samples)} rows, got another shape"
        )
    completions = [text for group in answers for text in group]
    rewards = [float(v) for v in scorer(completions, [sample for sample in samples for _ in range(k)])]
    if len(rewards) != len(completions):
        raise BuildError(f"scorer must return {len(completions)} rewards, got {len(rewards)}")
    finite = [value if math.isfinite(value) else None for value in rewards]
    return [finite[i : i + k] for i in range(0, len(finite), k)]


def write_statistics(path: Path, rewards: dict[int, Rewards], passing: float) -> None:
    """Number of scored answers, pass rate, mean, deviation and sum of every row's rewards."""
    lines = []
    for row, values in sorted(rewards.items()):
        scored = np.asarray([value for value in values if value is not None], dtype=np.float64)
        line = {"row": row, "num_scored": len(scored), **dict.fromkeys(STATISTICS, 0.0)}
        if len(scored):
            line |= {
                "pass_rate": float((scored >= passing).mean()),
                "mean": float(scored.mean()),
                "std": float(scored.std()),
                "sum": float(scored.sum()),
            }
        lines.append(line)
    fields = [("row", pa.int64()), ("num_scored", pa.int64()), *((name, pa.float64()) for name in STATISTICS)]
    with atomic_path(path) as temporary:
        pq.write_table(pa.Table.from_pylist(lines, schema=pa.schema(fields)), temporary)
