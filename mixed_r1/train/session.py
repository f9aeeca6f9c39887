"""What surrounds the loop: opening a run, random states, clocks, the progress display and signals."""

from __future__ import annotations

import fcntl
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import IO

import torch
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from safetensors.torch import load_file, save_file

from mixed_r1.config import ConfigError
from mixed_r1.files import atomic_path
from mixed_r1.run_directory import RunDirectory
from mixed_r1.train.checkpoint import find_checkpoint
from mixed_r1.train.scoring import effective_config
from mixed_r1.train_config import TrainConfig

__all__ = [
    "Clock",
    "close_run",
    "load_random_states",
    "on_sigterm",
    "open_run",
    "progress_display",
    "save_random_states",
]

# Settings that change no result of the run: they may differ when it is resumed.
FREE_ON_RESUME = {
    *("out", "eval_every", "checkpoint_every", "completions_every", "max_rollout_rows", "device"),
    *("engine", "zero_stage", "offload", "rank_timeout"),
    *("server_urls", "server_concurrency", "server_timeout", "server_retries", "vllm_memory", "track"),
}


# The directories that this process holds, by their locked file.
_held: dict[Path, IO[str]] = {}


@dataclass
class Clock:
    """Seconds spent in each part of a step."""

    rollout: float = 0.0
    reward: float = 0.0
    train: float = 0.0

    @property
    def total(self) -> float:
        return self.rollout + self.reward + self.train

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        setattr(self, part, getattr(self, part) + time.perf_counter() - start)


def open_run(config: TrainConfig, resume: bool) -> Path | None:
    """Make the run directory, or find what to resume from; refuses to mix two runs.

    A directory whose run ended before its first step holds nothing that is worth keeping: a new run may have
    it. One in which a run is under way may nobody have, until this process ends.
    """
    files = RunDirectory(config.out)
    _claim(files)
    started = files.config.exists() and (_has_content(files.metrics) or any(files.checkpoints.glob("step-*")))
    if not started and (not resume or not files.config.exists()):
        files.evaluation.unlink(missing_ok=True)
        files.before.unlink(missing_ok=True)
        with atomic_path(files.config) as temporary:
            config.save(temporary)
        return None
    if not resume:
        raise ConfigError(f"out must be a new directory (or resume it), got {config.out}, which holds a run")
    before = effective_config(TrainConfig.load(files.config))
    old, new = (settings.model_dump(mode="json") for settings in (before, config))
    changed = [key for key in new if key not in FREE_ON_RESUME and old[key] != new[key]]
    if changed:
        difference = "; ".join(f"{key} was {old[key]!r}, got {new[key]!r}" for key in changed)
        raise ConfigError(f"settings must be those of the run in {config.out}: {difference}")
    return find_checkpoint(files.checkpoints)


def close_run(config: TrainConfig) -> None:
    """Let others have the directory of a run."""
    stream = _held.pop(config.out.resolve(), None)
    if stream is not None:
        stream.close()


def _claim(files: RunDirectory) -> None:
    """Make the directory of a run and hold it for this process; the lock goes with the process."""
    if files.path.resolve() in _held:  # of a run of this process that failed before it began
        return
    try:
        files.path.mkdir(parents=True, exist_ok=True)
        stream = files.lock.open("a")
    except (FileExistsError, NotADirectoryError):
        raise ConfigError(
            f"out must be a directory, got {files.path}, which is a file or below one"
        ) from None
    except OSError as error:
        problem = f"{files.path}: {error.strerror}"
        raise ConfigError(f"out must be a directory that can be written, got {problem}") from None
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        stream.close()
        raise ConfigError(f"out must not be in use by another run, got {files.path}") from None
    _held[files.path.resolve()] = stream


def _has_content(path: Path) -> bool:
    return path.is_file() and path.stat().st_size > 0


def save_random_states(directory: Path, rank: int) -> None:
    """Write torch's generators of this rank into a checkpoint."""
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    save_file(states, _random_states_file(directory, rank))


def load_random_states(directory: Path, rank: int) -> None:
    """Set them again; a rank that the stopped run did not have goes on with those of the seed."""
    path = _random_states_file(directory, rank)
    if not path.exists():
        return
    states = load_file(path)
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _random_states_file(directory: Path, rank: int) -> Path:
    return directory / f"rng-{rank:05d}.safetensors"


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
