"""What a run says about its steps: to metrics.jsonl, to trackers, and to the person who watches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from mixed_r1.diagnosis import WINDOW, Finding, diagnose
from mixed_r1.run_directory import Metric
from mixed_r1.train.metrics import JsonLines
from mixed_r1.train.tracking import open_trackers
from mixed_r1.train_config import TrainConfig

__all__ = ["RunLog"]

Record = dict[str, Any]


class RunLog:
    """The records of all steps so far. A rank without a ``path`` keeps them and tells nobody."""

    def __init__(
        self, config: TrainConfig, console: Console, path: Path | None, *, step: int, offset: int
    ) -> None:
        """Go on after ``step``, whose record ends ``offset`` bytes into ``path``; the rest is dropped."""
        self.console = console
        self.is_open = path is not None
        self.metrics = JsonLines(path, offset=offset)
        self.records = self.metrics.records()
        self.trackers = open_trackers(config, step=step) if self.is_open else []
        self.told: set[str] = set()

    def write(self, record: Record, evaluated: Sequence[Record], seen: Sequence[Record]) -> None:
        """One step's record; and what is going wrong, once, when it is first seen.

        ``evaluated`` and ``seen`` are the records of all evaluations on held-out rows and on training rows.
        """
        self.metrics.write(record)
        self.records.append(record)
        for tracker in self.trackers:
            tracker.log(record)
        step = record[Metric.STEP]
        if not self.is_open or step % WINDOW:
            return
        for finding in self.findings(evaluated, seen):
            if finding.kind not in self.told:
                self.told.add(finding.kind)
                text = f"step {step}: {finding.text} {finding.remedy}"
                self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def findings(self, evaluated: Sequence[Record], seen: Sequence[Record]) -> list[Finding]:
        return diagnose(self.records, evaluated, seen)

    def sync(self) -> int:
        """See ``JsonLines.sync``."""
        return self.metrics.sync()

    def close(self) -> None:
        for tracker in self.trackers:
            tracker.close()
