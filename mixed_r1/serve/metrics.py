"""What /metrics shows. Over several worker processes it is one sum, kept in files that all of them map.

prometheus_client reads PROMETHEUS_MULTIPROC_DIR when it is first imported: ``run_server`` sets it before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from mixed_r1.rewards import RewardBatch

__all__ = ["FOLDER_VARIABLE", "Metrics"]

FOLDER_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """Counters of one worker process."""

    def __init__(self) -> None:
        self.registry = own = CollectorRegistry()
        self.requests = Counter(
            "mixed_r1_requests", "Requests answered.", ["endpoint", "status"], registry=own
        )
        self.seconds = Histogram(
            "mixed_r1_request_seconds",
            "Time from a request's head to the end of its answer.",
            ["endpoint"],
            buckets=SECONDS,
            registry=own,
        )
        self.scoring = Histogram(
            "mixed_r1_scoring_seconds", "Time in MixedReward.", buckets=SECONDS, registry=own
        )
        self.pending = Gauge(
            "mixed_r1_pending_requests",
            "Requests under way.",
            multiprocess_mode="livesum",
            registry=own,
        )
        self.completions = Counter("mixed_r1_completions", "Completions scored.", ["task"], registry=own)
        self.masked = Counter(
            "mixed_r1_masked_completions", "Completions of samples that cannot be scored.", registry=own
        )
        self.rewards = Counter(
            "mixed_r1_reward", "Sum of the totals of scored completions.", ["task"], registry=own
        )
        self.reasons = Counter("mixed_r1_reasons", "Reasons of rewards.", ["reward", "reason"], registry=own)

    def count(self, batch: RewardBatch, tasks: Sequence[str], seconds: float) -> None:
        """Add a scored batch; ``tasks`` [N] are those of its rows."""
        self.scoring.observe(seconds)
        names = np.array(tasks, dtype=object)
        for task in set(tasks):
            rows = names == task
            self.completions.labels(task).inc(int(rows.sum()))
            self.rewards.labels(task).inc(float(batch.total[rows & batch.mask].sum()))
        self.masked.inc(int((~batch.mask).sum()))
        for reward, counts in batch.reason_counts().items():
            for reason, number in counts.items():
                self.reasons.labels(reward, reason).inc(number)

    def text(self) -> bytes:
        """The metrics of all workers, in Prometheus' text format."""
        folder = os.environ.get(FOLDER_VARIABLE)
        if folder is None:
            return generate_latest(self.registry)
        for file in Path(folder).glob("gauge_live*.db"):
            found = re.search(r"_(\d+)\.db$", file.name)
            if found and not _is_alive(int(found[1])):
                # A killed worker has nothing under way.
                mark_process_dead(int(found[1]), folder)  # type: ignore[no-untyped-call]
        together = CollectorRegistry()
        MultiProcessCollector(together, folder)  # type: ignore[no-untyped-call]
        return generate_latest(together)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
