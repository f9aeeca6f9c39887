"""Reading a run directory.

A run may be young, stopped or still being written: what is missing is empty, not an error.
"""

from __future__ import annotations

import json
import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from mixed_r1.run_directory import MODES, Metric, RunDirectory, Split

__all__ = ["ReportError", "Run", "load_run"]

Row = dict[str, Any]


class ReportError(ValueError):
    """A run directory that cannot be shown; the message names the file, the line and the rule."""


@dataclass(frozen=True)
class Run:
    """What a run directory holds. Every part may be empty."""

    path: Path
    config: Row
    metrics: list[Row]  # one per step, by step
    evaluation: list[Row]  # on held-out rows: one per (step, mode, task), by step
    seen: list[Row]  # the same on training rows
    completion_files: list[Path]  # by step

    @property
    def files(self) -> RunDirectory:
        return RunDirectory(self.path)

    @property
    def model_dir(self) -> Path | None:
        """The newest checkpoint, where there is one."""
        latest = self.files.latest_checkpoint
        return latest if latest.is_dir() else None

    @property
    def control(self) -> dict[str, dict[str, float]]:
        """Greedy reward of image questions with their images and with blank ones, ``before`` and ``after``.

        The demo on pretrained weights writes it. Empty where there is none.
        """
        try:
            found = json.loads(self.files.control.read_text(encoding="utf-8"))
            names = ("image", "blank")
            return {when: {n: float(found[when][n]) for n in names} for when in ("before", "after")}
        except (OSError, ValueError, KeyError, TypeError):
            return {}

    @property
    def start_dir(self) -> Path | None:
        """The model the run started from, where it still is."""
        model = self.config.get("model")
        return Path(model) if isinstance(model, str) and Path(model).is_dir() else None

    def completions(self, index: int) -> list[Row]:
        """Rows of the ``index``-th completions file; one that is not complete is an error naming it."""
        import pyarrow.parquet as pq

        path = self.completion_files[index]
        try:
            return list(pq.read_table(path).to_pylist())
        except (OSError, ValueError) as error:  # pyarrow.ArrowInvalid is a ValueError
            raise ReportError(f"{path} must be a complete Parquet file, got {error}") from None


def load_run(run_dir: str | os.PathLike[str]) -> Run:
    """Read config, metrics and evaluation of ``run_dir``; completions are read on demand.

    Raises:
        ReportError: not a run directory (none of its files is there), or a file not of its format.
    """
    path = Path(run_dir)
    if not path.is_dir():
        raise ReportError(f"run must be a directory, got {path}")
    files = RunDirectory(path)
    completions = files.all_completions()
    if not completions and not files.config.is_file() and not files.metrics.is_file():
        raise ReportError(
            f"run must hold config.yaml, metrics.jsonl or completions/, got {path} without any of them"
        )
    return Run(
        path=path,
        config=_read_config(files.config),
        metrics=_by_step(_read_jsonl(files.metrics)),
        evaluation=_evaluation(files.evaluation, "validation"),
        seen=_evaluation(files.evaluation, "train"),
        completion_files=completions,
    )


def _by_step(rows: list[Row]) -> list[Row]:
    """A resumed run may write a step again: the last record of a step counts."""
    latest = {row[Metric.STEP]: row for row in rows}
    return [latest[step] for step in sorted(latest)]


def _evaluation(path: Path, split: Split) -> list[Row]:
    latest: dict[tuple[int, str, str], Row] = {}
    for number, row in enumerate(_read_jsonl(path), 1):
        mean, mode, task = row.get("mean"), row.get("mode"), row.get("task")
        if mode not in MODES:
            raise ReportError(f"{path}, record {number}: mode must be one of {MODES}, got {mode!r}")
        if not isinstance(task, str):
            raise ReportError(f"{path}, record {number}: task must be a text, got {task!r}")
        if row.get("split", "validation") != split:
            continue
        if isinstance(mean, (int, float)) and math.isfinite(mean):  # a task without a scored row has no mean
            latest[row["step"], mode, task] = row
    return [latest[key] for key in sorted(latest)]


def _read_config(path: Path) -> Row:
    if not path.is_file():
        return {}
    try:
        loaded = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReportError(f"{path} must be a readable YAML file, got {error}") from None
    if not isinstance(loaded, dict):
        raise ReportError(f"{path} must hold a mapping of keys to values, got {type(loaded).__name__}")
    return loaded


def _read_jsonl(path: Path) -> list[Row]:
    """Objects with an integer ``step``. A broken last line without a newline is a write in progress."""
    if not path.is_file():
        return []
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ReportError(f"{path} must be readable UTF-8 text, got {error}") from None
    rows = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except (json.JSONDecodeError, RecursionError) as error:
            if number == text.count("\n") + 1:
                break
            raise ReportError(f"{path}, line {number}: must be one JSON object, got {error}") from None
        step = row.get("step") if isinstance(row, dict) else None
        if not isinstance(step, int) or isinstance(step, bool):
            raise ReportError(f"{path}, line {number}: step must be an integer, got {line[:80]!r}")
        rows.append(row)
    return rows
