"""The state of a build on disk: ``OUT/.work``, one folder per stage, each done or not, and a log.

A stage's folder is bound to a fingerprint of everything its result depends on; where that changed, the
folder is emptied. ``done.json`` appears last, by rename, so a stage that was killed is simply not done.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from mixed_r1.files import atomic_path

__all__ = ["BuildError", "Stage", "fingerprint", "locked", "write_json"]


class BuildError(RuntimeError):
    """A build that cannot go on; what is done stays, and the same command continues from there."""


class Stage(NamedTuple):
    """One stage's folder."""

    root: Path
    name: str
    fingerprint: str

    @property
    def folder(self) -> Path:
        return self.root / self.name

    def open(self) -> dict[str, Any] | None:
        """Prepare the folder; returns the stage's result if it is done for this fingerprint."""
        mark = self.folder / "fingerprint"
        if not mark.is_file() or mark.read_text() != self.fingerprint:
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            with atomic_path(mark) as temporary:
                temporary.write_text(self.fingerprint)
        for leftover in self.folder.rglob(".*.tmp"):
            leftover.unlink()
        done = self.folder / "done.json"
        return json.loads(done.read_text()) if done.is_file() else None

    def finish(self, result: dict[str, Any]) -> dict[str, Any]:
        write_json(self.folder / "done.json", result)
        return result

    def log(self, **event: Any) -> None:
        line = json.dumps({"time": round(time.time(), 3), "stage": self.name, **event})
        with (self.root / "log.jsonl").open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def fingerprint(*parts: Any) -> str:
    """A hash of JSON-ready values."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, value: Any) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@contextmanager
def locked(root: Path) -> Iterator[None]:
    """Hold ``root`` for this process; the lock goes with the process, however it ends."""
    root.mkdir(parents=True, exist_ok=True)
    with (root / "lock").open("a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise BuildError(f"out must not be in use by another build, got {root.parent}") from None
        stream.truncate(0)
        stream.write(str(os.getpid()))
        stream.flush()
        yield
