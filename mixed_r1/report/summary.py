"""The numbers of the page: headline, evaluation table, time split and reasons."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from mixed_r1.diagnosis import is_learnt, learnt_sentence
from mixed_r1.report.charts import Curve, Estimate
from mixed_r1.report.run_files import Row, Run
from mixed_r1.report.wording import REASON_TEXT, title
from mixed_r1.rewards.config import TASK_COLUMNS
from mixed_r1.run_directory import Metric
from mixed_r1.schema import task_order

__all__ = [
    "Change",
    "ColumnReasons",
    "Headline",
    "Mode",
    "TimePart",
    "curve",
    "evaluations",
    "greedy_curves",
    "headline",
    "reasons",
    "sampled_estimates",
    "time_split",
]

_MODE_TITLES = {"greedy": "Greedy answers", "sampled": "Sampled answers"}
_TIME_PARTS = (
    ("rollout", "Sampling", Metric.ROLLOUT_SECONDS),
    ("reward", "Rewards", Metric.REWARD_SECONDS),
    ("train", "Update", Metric.TRAIN_SECONDS),
)


class Change(NamedTuple):
    """One task before and after; ``delta`` is None where there is one evaluation only."""

    task: str
    title: str
    n: int
    before: Estimate
    after: Estimate
    delta: float | None
    delta_stderr: float
    paired: bool  # the standard error is that of the differences of the same rows
    constant: float | None  # what the best constant answer earns on these rows

    @property
    def is_learnt(self) -> bool:
        return (
            self.task != "all"
            and self.delta is not None
            and is_learnt(self.delta, self.delta_stderr, self.after.mean, self.after.stderr, self.constant)
        )


class Mode(NamedTuple):
    name: str
    title: str
    changes: list[Change]  # tasks in the schema's order, all tasks last

    @property
    def overall(self) -> Change | None:
        return next((change for change in self.changes if change.task == "all"), None)


@dataclass(frozen=True)
class Headline:
    """The one sentence of the run. ``before`` is None where a single evaluation exists. ``learnt`` are the
    tasks that beat their start and the best constant answer; None without two evaluations.
    """

    what: str
    before: float | None
    before_stderr: float | None
    after: float
    after_stderr: float | None
    delta: float | None
    delta_stderr: float | None
    learnt: list[str] | None

    @property
    def tone(self) -> str:
        """How the change is shown: "" for good news, "flat" for none that is sure, "loss"."""
        if self.delta is not None and self.delta < 0 and abs(self.delta) > 2 * (self.delta_stderr or 0.0):
            return "loss"
        sure = self.delta_stderr is None or (self.delta or 0.0) > 2 * self.delta_stderr
        return "" if sure and (self.learnt is None or self.learnt) else "flat"

    @property
    def learnt_sentence(self) -> str:
        return "" if self.learnt is None else learnt_sentence(self.learnt)


class TimePart(NamedTuple):
    name: str
    title: str
    share: float
    per_step: float
    total: float


class ReasonBar(NamedTuple):
    """A reason's share of the scored completions, early and late in the run."""

    name: str
    meaning: str
    early: float
    late: float


class ColumnReasons(NamedTuple):
    column: str
    bars: list[ReasonBar]
    total: int


def curve(metrics: Sequence[Row], key: str) -> Curve | None:
    """The finite values of one metric; None where there is none."""
    points = [(row[Metric.STEP], row[key]) for row in metrics if _finite(row.get(key))]
    return Curve(*zip(*points, strict=True)) if points else None


def evaluations(run: Run) -> list[Mode]:
    """First and last evaluation, greedy before sampled."""
    modes = []
    for name, heading in _MODE_TITLES.items():
        rows = [row for row in run.evaluation if row["mode"] == name]
        tasks = sorted({row["task"] for row in rows}, key=task_order)
        changes = [_change(run, name, [row for row in rows if row["task"] == task]) for task in tasks]
        if changes:
            modes.append(Mode(name, heading, changes))
    return modes


def greedy_curves(run: Run) -> dict[str, list[Estimate]]:
    """Every greedy evaluation by task, where there are more than two: how the run got there."""
    by_task: dict[str, list[Estimate]] = {}
    for row in run.evaluation:
        if row["mode"] == "greedy":
            by_task.setdefault(row["task"], []).append(_estimate(row))
    return {task: by_task[task] for task in sorted(by_task, key=task_order) if len(by_task[task]) > 2}


def sampled_estimates(run: Run) -> list[Estimate]:
    """Every sampled evaluation over all tasks, drawn beside the curve of the training reward."""
    rows = [row for row in run.evaluation if row["mode"] == "sampled" and row["task"] == "all"]
    return [_estimate(row) for row in rows]


def headline(run: Run, modes: Sequence[Mode]) -> Headline | None:
    """The held-out reward, greedy or else sampled; without an evaluation, the training reward's two ends."""
    for mode in modes:
        change = mode.overall
        if change is None:
            continue
        known = change.delta is not None
        when = "" if known else f" at step {change.after.step:,}" if change.after.step else " before training"
        return Headline(
            what=f"mean {mode.name} reward on {change.n:,} held-out prompts{when}",
            before=change.before.mean if known else None,
            before_stderr=change.before.stderr if known else None,
            after=change.after.mean,
            after_stderr=change.after.stderr,
            delta=change.delta,
            delta_stderr=change.delta_stderr if known else None,
            learnt=[task.title for task in mode.changes if task.is_learnt] if known else None,
        )
    points = curve(run.metrics, Metric.REWARD_MEAN)
    if points is None:
        return None
    ends = max(1, len(points.values) // 10)
    first, last = _mean(points.values[:ends]), _mean(points.values[-ends:])
    plural = f"{ends} steps" if ends > 1 else "step"
    known = len(points.values) > 1
    return Headline(
        what=f"mean training reward, first {plural} to last {plural}"
        if known
        else "mean training reward, first step",
        before=first if known else None,
        before_stderr=None,
        after=last,
        after_stderr=None,
        delta=last - first if known else None,
        delta_stderr=None,
        learnt=None,
    )


def time_split(run: Run) -> list[TimePart]:
    """Seconds of the steps by part; evaluation and checkpoints are not part of a step."""
    seconds = {name: curve(run.metrics, key) for name, _, key in _TIME_PARTS}
    totals = {name: sum(points.values) if points else 0.0 for name, points in seconds.items()}
    whole = sum(totals.values())
    if whole <= 0:
        return []
    steps = max(len(points.values) for points in seconds.values() if points)
    return [
        TimePart(name, heading, totals[name] / whole, totals[name] / steps, totals[name])
        for name, heading, _ in _TIME_PARTS
    ]


def reasons(run: Run) -> tuple[list[ColumnReasons], int]:
    """Reasons by reward column in the first and last third of the steps, and how many steps a third is."""
    third = max(1, len(run.metrics) // 3)
    columns: dict[str, list[str]] = {}
    for key in sorted({key for row in run.metrics for key in row if key.startswith(Metric.REASON)}):
        column, separator, name = key.removeprefix(Metric.REASON).rpartition("/")
        if separator and name != "NOT_APPLICABLE":
            columns.setdefault(column, []).append(name)
    result = []
    for column, names in columns.items():
        early, late = (
            _counts(run.metrics[:third], column, names),
            _counts(run.metrics[-third:], column, names),
        )
        whole = _counts(run.metrics, column, names)
        bars = [
            ReasonBar(name, REASON_TEXT.get(name, name), _share(early, name), _share(late, name))
            for name in sorted(names, key=lambda n: (n != "OK", -whole[n], n))
        ]
        result.append(ColumnReasons(column, bars, sum(whole.values())))
    return sorted(result, key=lambda c: _column_rank(c.column)), third


def _change(run: Run, mode: str, rows: Sequence[Row]) -> Change:
    before, after = rows[0], rows[-1]
    task = before["task"]
    delta, stderr, paired = None, 0.0, False
    if before["step"] != after["step"]:
        delta = after["mean"] - before["mean"]
        stderr = math.hypot(_stderr(before), _stderr(after))
        recorded = _recorded_difference(run, mode, task)
        if recorded is not None and math.isclose(recorded[0], delta, abs_tol=1e-9):
            stderr, paired = recorded[1], True
    n = int(after.get("n") or 0)
    constant = (after.get("constant") or (None, None))[1]
    estimates = _estimate(before), _estimate(after)
    return Change(task, title(task), n, *estimates, delta, stderr, paired, constant)


def _recorded_difference(run: Run, mode: str, task: str) -> tuple[float, float] | None:
    """The paired difference that the trainer wrote at the end; evaluation.jsonl holds means only."""
    try:
        entry = json.loads(run.files.summary.read_text())["evaluation"][mode]
        difference = entry["difference"] if task == "all" else entry["by_task"][task]
        return float(difference["mean"]), float(difference["stderr"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _estimate(row: Row) -> Estimate:
    return Estimate(row["step"], float(row["mean"]), _stderr(row))


def _stderr(row: Row) -> float:
    value = row.get("stderr")
    return float(value) if value is not None and _finite(value) else 0.0


def _counts(rows: Sequence[Row], column: str, names: Sequence[str]) -> dict[str, int]:
    return {name: sum(int(row.get(f"{Metric.REASON}{column}/{name}") or 0) for row in rows) for name in names}


def _share(counts: dict[str, int], name: str) -> float:
    whole = sum(counts.values())
    return counts[name] / whole if whole else 0.0


def _column_rank(column: str) -> tuple[int, str]:
    """Task columns, then the user's own, then format."""
    known = TASK_COLUMNS.index(column) if column in TASK_COLUMNS else len(TASK_COLUMNS)
    return (len(TASK_COLUMNS) + 1 if column == "format" else known, column)


def _finite(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
