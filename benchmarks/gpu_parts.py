"""Runs the parts of gpu_check.py: each a program of its own, bounded, recorded as soon as it ends.

A part is the leader of a process group and a session. When it ends, or its time is up, everything it started
is killed with it, also what made a session of its own: such processes are known by a variable of the
environment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, NamedTuple

MARK = "MIXED_R1_GPU_PART"
_GRACE = 1.0  # seconds between the request to end and the kill
_TAIL = 4000  # characters of a part's output in its record


class Part(NamedTuple):
    """A program. ``limit``: the most seconds it may take, of what is left to its stage. ``left_out``: why it
    cannot run here, where it cannot."""

    name: str
    command: Sequence[object]
    limit: float
    environment: Mapping[str, str] = {}
    left_out: str = ""


class Stage(NamedTuple):
    """Parts of which ``at_once`` run together, for at most ``limit`` seconds in all."""

    name: str
    limit: float
    parts: Sequence[Part]
    at_once: int = 1


class Outcome(NamedTuple):
    stage: str
    name: str
    outcome: str  # "passed", "failed", "stopped" or "left out"
    seconds: float
    output: str  # the end of it, or why it was left out


@dataclass
class _Running:
    stage: str
    part: Part
    process: subprocess.Popen[bytes]
    log: IO[bytes]
    path: Path
    mark: str
    started: float
    ends: float
    asked: float | None = None  # when it was asked to end


@dataclass
class Runner:
    """Runs stages into the folder ``out``: parts.jsonl (an Outcome a line), log.txt (the whole output),
    summary.txt (a table), and running-<part>.txt while a part runs."""

    out: Path
    ends: float  # of time.monotonic()
    directory: Path
    environment: Mapping[str, str]
    title: str = ""
    outcomes: list[Outcome] = field(default_factory=list)

    def run(self, stage: Stage) -> bool:
        """True where every part passed. Interrupted, it kills what runs, records it and raises again."""
        waiting, running = list(stage.parts), []
        ends = min(self.ends, time.monotonic() + stage.limit)
        passed = True
        try:
            while waiting or running:
                while waiting and len(running) < stage.at_once:
                    part = waiting.pop(0)
                    if part.left_out:
                        self.leave_out(stage.name, part.name, part.left_out)
                        continue
                    if ends - time.monotonic() < 1:
                        passed = self.leave_out(stage.name, part.name, "no time left")
                        continue
                    running.append(self._start(stage.name, part, ends))
                time.sleep(0.05)
                for one in list(running):
                    if self._is_over(one):
                        running.remove(one)
                        passed &= self._finish(one)
        except BaseException:
            for one in running:
                one.asked = one.asked or time.monotonic()
                self._finish(one)
            raise
        return passed

    def leave_out(self, stage: str, name: str, why: str) -> bool:
        self._record(Outcome(stage, name, "left out", 0.0, why), "")
        return False

    def _start(self, stage: str, part: Part, ends: float) -> _Running:
        mark = uuid.uuid4().hex
        path = self.out / f"running-{part.name.replace(' ', '-').replace('/', '-')}.txt"
        log = path.open("wb")
        process = subprocess.Popen(
            [str(word) for word in part.command],
            cwd=self.directory,
            env={**self.environment, **part.environment, MARK: mark, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        now = time.monotonic()
        return _Running(stage, part, process, log, path, mark, now, min(ends, now + part.limit))

    def _is_over(self, one: _Running) -> bool:
        if one.process.poll() is not None:
            return True
        now = time.monotonic()
        if one.asked is None and now > one.ends - _GRACE:
            one.asked = now
            for process in _processes(one.process.pid, one.mark):
                _send(process, signal.SIGTERM)
        return one.asked is not None and now > one.asked + _GRACE

    def _finish(self, one: _Running) -> bool:
        seconds = time.monotonic() - one.started
        kill_all(one.process.pid, one.mark)
        status = one.process.wait()
        one.log.close()
        output = one.path.read_text(encoding="utf-8", errors="replace")
        outcome = "stopped" if one.asked is not None else "passed" if status == 0 else "failed"
        if outcome == "stopped":
            output += f"\n[stopped after {seconds:.0f} s]"
        elif outcome == "failed":
            output += f"\n[exit status: {status}]"
        self._record(Outcome(one.stage, one.part.name, outcome, round(seconds, 2), output[-_TAIL:]), output)
        one.path.unlink()
        return outcome == "passed"

    def _record(self, outcome: Outcome, output: str) -> None:
        self.outcomes.append(outcome)
        reason = f": {outcome.output}" if outcome.outcome == "left out" else ""
        print(f"{_line(outcome)}{reason}", flush=True)
        with (self.out / "log.txt").open("a", encoding="utf-8") as file:
            file.write(f"\n== {outcome.stage} / {outcome.name}: {outcome.outcome}{reason}\n{output}")
        with (self.out / "parts.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(outcome._asdict()) + "\n")
        self.summarise()

    def summarise(self) -> str:
        """Write and return the table of outcomes, then the end of every output that did not pass."""
        lines = [self.title, *map(_line, self.outcomes)]
        for one in self.outcomes:
            if one.outcome != "passed":
                lines.append(f"\n== {one.stage} / {one.name}: {one.outcome}\n{one.output}")
        text = "\n".join(lines) + "\n"
        (self.out / "summary.txt").write_text(text, encoding="utf-8")
        return text


def _line(one: Outcome) -> str:
    return f"{one.outcome:9}{one.seconds:7.1f} s  {one.stage} / {one.name}"


def kill_all(session: int, mark: str) -> None:
    """Kill the processes of a session or with a mark, until none is left."""
    for _ in range(200):
        found = _processes(session, mark)
        for process in found:
            _send(process, signal.SIGKILL)
        if not found:
            return
        time.sleep(0.01)


def _processes(session: int, mark: str) -> list[int]:
    """Ids of the processes, zombies apart, of ``session`` or with ``mark`` in their environment."""
    found = []
    wanted = f"{MARK}={mark}".encode()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            # After the name, which may hold anything: state, parent, group, session.
            state, _, _, of = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            is_ours = int(of) == session or wanted in (entry / "environ").read_bytes().split(b"\0")
            if is_ours and state != "Z":
                found.append(int(entry.name))
        except (OSError, ValueError):  # it has ended, or is another user's
            continue
    return found


def _send(process: int, number: signal.Signals) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        pass
