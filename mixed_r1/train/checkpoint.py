"""Checkpoints that are whole or absent.

A checkpoint is written to a temporary directory, every file is synced, a manifest of SHA-256 sums is added,
the directory is renamed into place, and only then does the ``latest`` link move. A reader verifies the
manifest before it parses anything, and falls back to the previous checkpoint where it does not hold.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mixed_r1.train.ranks import Ranks

__all__ = ["CheckpointError", "find_checkpoint", "save_checkpoint", "verify_checkpoint"]

MANIFEST = "manifest.json"
LATEST = "latest"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


def save_checkpoint(
    root: Path, step: int, write: Callable[[Path], None], *, keep: int = 2, ranks: Ranks | None = None
) -> Path:
    """Write a checkpoint by ``write(directory)`` and make it the latest; the newest ``keep`` stay.

    Every one of ``ranks`` writes its own files into the same directory; the first makes it a checkpoint.
    """
    ranks = ranks or Ranks()
    final = root / f"step-{step:06d}"
    temporary = root / f".writing-{step:06d}"
    if ranks.first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    ranks.gather("made")
    write(temporary)
    ranks.gather("written")
    if ranks.first:
        _publish(root, temporary, final, step, keep)
    return final


def _publish(root: Path, temporary: Path, final: Path, step: int, keep: int) -> None:
    """Manifest, sync, rename, ``latest``, in this order; then what is not needed any more goes."""
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    with ThreadPoolExecutor() as pool:
        names = [str(path.relative_to(temporary)) for path in files]
        sums = dict(zip(names, pool.map(_sha256, files), strict=True))
    (temporary / MANIFEST).write_text(json.dumps({"step": step, "sha256": sums}, indent=1))
    for path in [*files, temporary / MANIFEST]:
        _sync(path)
    for directory in [path for path in temporary.rglob("*") if path.is_dir()] + [temporary]:
        _sync(directory)
    if final.exists():  # a run that was resumed from before this step
        shutil.rmtree(final)
    temporary.rename(final)
    _sync(root)
    _point_latest(root, final)
    for stale in root.glob(".writing-*"):
        shutil.rmtree(stale, ignore_errors=True)
    for old in _steps(root)[keep:]:
        shutil.rmtree(old)


def verify_checkpoint(directory: Path) -> None:
    """Raise CheckpointError unless the files of ``directory`` are exactly those of its manifest, bit for
    bit."""
    try:
        sums = json.loads((directory / MANIFEST).read_text())["sha256"]
        expected = {str(name): str(digest) for name, digest in sums.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{directory / MANIFEST} must be a readable manifest, got {error}") from None
    present = {str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file()} - {
        MANIFEST
    }
    if present != set(expected):
        missing, added = sorted(set(expected) - present), sorted(present - set(expected))
        raise CheckpointError(
            f"{directory} must hold the files of its manifest, got {missing} missing, {added} added"
        )
    for name, digest in expected.items():
        if _sha256(directory / name) != digest:
            raise CheckpointError(
                f"{directory / name} must have the SHA-256 sum of its manifest, got another"
            )


def find_checkpoint(root: Path) -> Path | None:
    """The newest checkpoint that verifies, or None where there is none at all.

    Raises:
        CheckpointError: there are checkpoints and none of them verifies.
    """
    candidates = _steps(root) if root.is_dir() else []
    latest = root / LATEST
    if latest.is_dir() and latest.resolve() in candidates:
        candidates.remove(latest.resolve())
        candidates.insert(0, latest.resolve())
    problems = []
    for candidate in candidates:
        try:
            verify_checkpoint(candidate)
        except CheckpointError as error:
            warnings.warn(f"checkpoint skipped: {error}", stacklevel=2)
            problems.append(str(error))
        else:
            return candidate
    if problems:
        raise CheckpointError("no checkpoint can be used: " + "; ".join(problems))
    return None


def _steps(root: Path) -> list[Path]:
    """Checkpoint directories, newest first."""
    return sorted((path.resolve() for path in root.glob("step-*") if path.is_dir()), reverse=True)


def _point_latest(root: Path, final: Path) -> None:
    link = root / f".{LATEST}"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    os.replace(link, root / LATEST)
    _sync(root)


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
