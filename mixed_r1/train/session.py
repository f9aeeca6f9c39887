"""What surrounds the loop: the run directory, clocks, the progress display and signals."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from mixed_r1.config import ConfigError
from mixed_r1.files import put_in_place
from mixed_r1.train.checkpoint import find_checkpoint
from mixed_r1.train.scoring import effective_config
from mixed_r1.train_config import TrainConfig

__all__ = ["Clock", "on_sigterm", "open_run", "progress_display"]

# Settings that decide no number of the run: they may differ when it is resumed.
FREE_ON_RESUME = {
    *("out", "eval_every", "checkpoint_every", "completions_every", "max_rollout_rows", "device"),
    *("engine", "zero_stage", "offload", "rank_timeout"),
    *("server_urls", "server_concurrency", "server_timeout", "server_retries", "vllm_memory", "track"),
}


@dataclass
class Clock:
    """Seconds spent in each part of a step."""

    rollout: float = 0.0
    reward: float = 0.0
    train: float = 0.0

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        setattr(self, part, getattr(self, part) + time.perf_counter() - start)


def open_run(config: TrainConfig, resume: bool) -> Path | None:
    """Make the run directory, or find what to resume from; refuses to mix two runs."""
    saved = config.out / "config.yaml"
    if not saved.exists():
        config.out.mkdir(parents=True, exist_ok=True)
        config.save(config.out / ".config.yaml")
        put_in_place(config.out / ".config.yaml", saved)
        return None
    if not resume:
        raise ConfigError(f"out must be a new directory (or resume it), got {config.out}, which holds a run")
    before = effective_config(TrainConfig.load(saved))
    old, new = (settings.model_dump(mode="json") for settings in (before, config))
    changed = [key for key in new if key not in FREE_ON_RESUME and old[key] != new[key]]
    if changed:
        difference = "; ".join(f"{key} was {old[key]!r}, got {new[key]!r}" for key in changed)
        raise ConfigError(f"settings must be those of the run in {config.out}: {difference}")
    return find_checkpoint(config.out / "checkpoints")


@contextmanager
def on_sigterm(action: Callable[[], None]) -> Iterator[None]:
    """Inside, SIGTERM calls ``action`` instead of ending the process. Only the main thread can have that."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(signum: int, frame: FrameType | None) -> None:
        action()

    previous = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def progress_display(console: Console, *, disable: bool = False) -> Progress:
    """Bars with counts, elapsed time, ETA and a note."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        disable=disable,
    )
