"""Runs side by side: their greedy answers to the same held-out rows, paired by row."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mixed_r1.report.charts import Curve, LineChart, line_chart
from mixed_r1.report.page import environment, write_page
from mixed_r1.report.run_files import ReportError, Run, load_run
from mixed_r1.report.summary import greedy_curves
from mixed_r1.report.wording import title
from mixed_r1.run_directory import Column
from mixed_r1.schema import task_order

__all__ = ["Comparison", "Paired", "build_comparison", "compare_runs"]

CHART = (400, 190)
UNCOMPARED = ("out",)  # settings that are different in any two runs


class Row(NamedTuple):
    """A held-out row. Rows of two files may have one id and be others: question and gold must agree too."""

    name: str
    task: str
    question: str
    gold: str


Rewards = dict[Row, float]


class Paired(NamedTuple):
    """One task of one run beside the first run's. ``change``: after training, minus before it, of this run.
    ``difference``: after training, this run minus the first. Both on the rows that all runs answered, with
    their paired standard errors.
    """

    task: str
    title: str
    rows: int
    before: float
    after: float
    change: float
    change_stderr: float
    difference: float
    difference_stderr: float


class Compared(NamedTuple):
    """One run of several."""

    name: str
    path: Path
    rows: list[Paired]  # tasks in the schema's order, all tasks last
    left_out: int  # rows that it answered and another run did not
    step: int
    curves: list[tuple[str, LineChart]]


class Comparison(NamedTuple):
    """``settings``: the keys that differ, and their value in each run."""

    runs: list[Compared]
    settings: list[tuple[str, list[str]]]


def compare_runs(run_dirs: Sequence[str | os.PathLike[str]]) -> Comparison:
    """Compare the first and the last evaluation of two or more runs, row by row; the first is the measure.

    Raises:
        ReportError: fewer than two runs, a directory that is no run or has no answers by row, or runs that
            answered no row in common.
    """
    if len(run_dirs) < 2:
        raise ReportError(f"runs must be two or more directories, got {len(run_dirs)}")
    runs = [load_run(path) for path in run_dirs]
    first, last = zip(*(_ends(run) for run in runs), strict=True)
    common = sorted(set.intersection(*(set(rewards) for rewards in (*first, *last))))
    if not common:
        raise ReportError(f"runs must have answered the same rows, got none: {', '.join(map(str, run_dirs))}")
    names = _names([run.path for run in runs])
    tasks = sorted({row.task for row in common}, key=task_order)
    compared = []
    for run, name, before, after in zip(runs, names, first, last, strict=True):
        paired = [
            _paired(task, [row for row in common if task in ("all", row.task)], before, after, last[0])
            for task in [*tasks, "all"]
        ]
        step = max(run.files.all_answers())
        compared.append(Compared(name, run.path, paired, len(after) - len(common), step, _curves(run)))
    return Comparison(compared, _settings(runs))


def build_comparison(
    run_dirs: Sequence[str | os.PathLike[str]], out: str | os.PathLike[str] = "comparison.html"
) -> Path:
    """Write ``compare_runs`` as one HTML file without any outside reference; returns its path."""
    found = compare_runs(run_dirs)
    page = (
        environment()
        .get_template("compare.html.j2")
        .render(comparison=found, tasks=found.runs[0].rows, name=" / ".join(run.name for run in found.runs))
    )
    return write_page(Path(out), page)


def _ends(run: Run) -> tuple[Rewards, Rewards]:
    """The greedy rewards of the first and of the last evaluation."""
    files = run.files.all_answers()
    if len(files) < 2:
        raise ReportError(
            f"{run.path} must hold evaluations/ of its start and of a later step (validation rows; an ended "
            f"run, or eval_every), got {len(files)}"
        )
    return _rewards(files[min(files)]), _rewards(files[max(files)])


def _rewards(path: Path) -> Rewards:
    import pyarrow.parquet as pq

    columns = [Column.SAMPLE_ID, Column.TASK, Column.TOTAL, Column.SPLIT, Column.MODE, Column.SAMPLE]
    try:
        rows = pq.read_table(path, columns=columns).to_pylist()
        return {
            _row(row): row[Column.TOTAL]
            for row in rows
            if (row[Column.SPLIT], row[Column.MODE]) == ("validation", "greedy")
            and row[Column.TOTAL] is not None
        }
    except (OSError, ValueError) as error:  # pyarrow.ArrowInvalid is a ValueError
        raise ReportError(f"{path} must be a complete Parquet file of answers, got {error}") from None


def _row(row: Mapping[str, Any]) -> Row:
    sample = json.loads(row[Column.SAMPLE])
    asked = [sample.get(key) for key in ("question", "messages", "options")]
    return Row(row[Column.SAMPLE_ID], row[Column.TASK], json.dumps(asked), json.dumps(sample.get("answer")))


def _paired(task: str, rows: Sequence[Row], before: Rewards, after: Rewards, measure: Rewards) -> Paired:
    ends = [np.array([rewards[row] for row in rows]) for rewards in (before, after, measure)]
    change, difference = ends[1] - ends[0], ends[1] - ends[2]
    return Paired(
        task,
        title(task),
        len(rows),
        float(ends[0].mean()),
        float(ends[1].mean()),
        float(change.mean()),
        _stderr(change),
        float(difference.mean()),
        _stderr(difference),
    )


def _stderr(values: np.ndarray) -> float:
    return float(values.std(ddof=1) / np.sqrt(values.size)) if values.size > 1 else 0.0


def _curves(run: Run) -> list[tuple[str, LineChart]]:
    """The greedy reward on held-out rows over the steps, by task."""
    charts = []
    for task, estimates in greedy_curves(run).items():
        points = Curve([e.step for e in estimates], [e.mean for e in estimates])
        label = f"{title(task)}: greedy reward on held-out prompts over steps"
        chart = line_chart(
            points, size=CHART, label=label, estimates=estimates, smoothed=False, domain=(0.0, 1.0)
        )
        charts.append((title(task), chart))
    return charts


def _names(paths: Sequence[Path]) -> list[str]:
    """As short as tells them apart: the last part of each path, or its last two ..."""
    parts = [path.resolve().parts for path in paths]
    for count in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-count:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return [f"{path} ({number})" for number, path in enumerate(paths, 1)]


def _settings(runs: Sequence[Run]) -> list[tuple[str, list[str]]]:
    flat = [_flat(run.config) for run in runs]
    keys = list(dict.fromkeys(key for settings in flat for key in settings))
    values = {key: [settings.get(key, "") for settings in flat] for key in keys}
    return [(key, found) for key, found in values.items() if len(set(found)) > 1 and key not in UNCOMPARED]


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    found: dict[str, str] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = str(value)
    return found
