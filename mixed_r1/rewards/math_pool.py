"""math-verify in processes of its own, killed where an answer takes too long. No thread, no signal."""

from __future__ import annotations

import json
import os
import selectors
import subprocess
import sys
import time
from collections import OrderedDict, deque
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any, NamedTuple

from mixed_r1_kernels import Reason

__all__ = ["MathPool"]

START_SECONDS = 120.0  # importing sympy on a busy machine
MAX_CACHED = 1 << 16
VERDICTS: dict[str, tuple[float, Reason]] = {
    "equal": (1.0, Reason.OK),
    "different": (0.0, Reason.NO_MATCH),
    "unreadable": (0.0, Reason.NO_NUMBER),
    "unevaluated": (0.0, Reason.UNEVALUATED),
    "bad_gold": (float("nan"), Reason.BAD_GOLD),
    "killed": (0.0, Reason.TOO_DEEP),  # time or memory ran out
}


class Job(NamedTuple):
    """What a process judges, and the time it has for it."""

    gold: str
    answer: str
    seconds: float


class MathPool:
    """Judges (gold, answer) pairs with math-verify in ``num_workers`` processes, started when first needed.

    An answer that takes more than its seconds (``seconds`` where ``judge`` gets none), or ends its process
    twice (once may be another's doing), scores 0 (TOO_DEEP). Verdicts are kept: an answer is judged once. A
    forked child starts processes of its own. Calls must take turns (MixedReward's do).

    Raises:
        ImportError: math-verify is not installed.
        RuntimeError: a process does not start.
    """

    def __init__(self, num_workers: int = 2, seconds: float = 5.0) -> None:
        if find_spec("math_verify") is None:
            raise ImportError(
                "math_verify must be installed for math='math_verify': pip install 'mixed-r1[math]'"
            )
        self.num_workers, self.seconds = num_workers, seconds
        self._idle: list[_Worker] = []
        self._owner = os.getpid()
        self._verdicts: OrderedDict[Job, str] = OrderedDict()

    def judge(
        self, pairs: Sequence[tuple[str, str]], seconds: Sequence[float] | None = None
    ) -> list[tuple[float, Reason]]:
        """Value and reason of each (gold, answer), which may take ``seconds[i]``."""
        limits = [self.seconds] * len(pairs) if seconds is None else seconds
        jobs = [Job(*pair, limit) for pair, limit in zip(pairs, limits, strict=True)]
        if self._owner != os.getpid():
            self._idle, self._owner = [], os.getpid()  # those are the parent's: not ours to use or to kill
        waiting = deque(dict.fromkeys(job for job in jobs if job not in self._verdicts))
        busy: list[_Worker] = []
        again: set[Job] = set()
        try:
            while waiting or busy:
                while waiting and len(busy) < self.num_workers:
                    worker = self._idle_worker()
                    worker.send(waiting.popleft())
                    busy.append(worker)
                busy, died = self._collect(busy)
                waiting.extend(job for job in died if job not in again)
                for job in again.intersection(died):
                    self._verdicts[job] = "killed"
                again.update(died)
        except BaseException:
            for worker in busy:
                worker.kill()
            raise
        verdicts = [VERDICTS[self._verdicts[job]] for job in jobs]
        while len(self._verdicts) > MAX_CACHED:
            self._verdicts.popitem(last=False)
        return verdicts

    def _idle_worker(self) -> _Worker:
        while self._idle:
            worker = self._idle.pop()
            if worker.process.poll() is None:
                return worker
            worker.kill()  # it died between two batches: no answer's fault
        return _Worker()

    def _collect(self, busy: list[_Worker]) -> tuple[list[_Worker], list[Job]]:
        """Wait for a reply or the first deadline; returns the workers still at it, and the jobs of those that
        died.
        """
        with selectors.DefaultSelector() as selector:
            for worker in busy:
                selector.register(worker.replies, selectors.EVENT_READ, worker)
            earliest = min(worker.deadline for worker in busy)
            ready = {key.data for key, _ in selector.select(max(0.0, earliest - time.monotonic()))}
        still, died = [], []
        for worker in busy:
            late = time.monotonic() > worker.deadline
            if worker not in ready and not late:
                still.append(worker)
                continue
            reply = worker.read() if worker in ready else "killed"
            if reply is None:
                died.append(worker.job)
            else:
                self._verdicts[worker.job] = reply
            if reply in (None, "killed"):
                worker.kill()
            else:
                self._idle.append(worker)
        return still, died

    def close(self) -> None:
        """End the processes; the next ``judge`` starts new ones."""
        while self._idle and self._owner == os.getpid():
            self._idle.pop().kill()

    def __del__(self) -> None:
        self.close()


class _Worker:
    """One process and the pair it is judging."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "mixed_r1.rewards.math_worker"]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert self.process.stdout is not None
        self.replies: Any = self.process.stdout
        self.job = Job("", "", 0.0)
        self.deadline = 0.0
        with selectors.DefaultSelector() as selector:
            selector.register(self.replies, selectors.EVENT_READ)
            if not selector.select(START_SECONDS) or self.read() != "ready":
                self.kill()
                raise RuntimeError(f"a math-verify process must start within {START_SECONDS:g} s, it did not")

    def send(self, job: Job) -> None:
        assert self.process.stdin is not None
        self.job, self.deadline = job, time.monotonic() + job.seconds
        try:
            self.process.stdin.write(json.dumps([job.gold, job.answer]).encode() + b"\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass  # it died while idle: its end of file is read as no reply

    def read(self) -> str | None:
        """The reply, which is one short line; None where the process has died, or says something else."""
        reply = self.replies.readline().strip().decode("ascii", "replace").strip('"')
        return reply if reply == "ready" or reply in VERDICTS else None

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    pass
