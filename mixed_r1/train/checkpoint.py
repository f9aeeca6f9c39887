"""Checkpoints that are whole or absent.

A checkpoint is written to a temporary directory, every file is synced, a manifest of SHA-256 sums is added,
the directory is renamed into place, and only then does the ``latest`` link move. A reader verifies the
manifest before it parses anything else, and falls back to the previous checkpoint where it does not hold.
While one is written the two before it stay: a disk must have room for three.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from mixed_r1.files import put_in_place, sha256_of, sync
from mixed_r1.ranks import Ranks
from mixed_r1.run_directory import LATEST

__all__ = ["CheckpointError", "find_checkpoint", "save_checkpoint", "verify_checkpoint"]

MANIFEST = "manifest.json"


class CheckpointError(RuntimeError):
    """A checkpoint that cannot be used; the message names the file and what is wrong with it."""


def save_checkpoint(
    root: Path, step: int, write: Callable[[Path], None], *, keep: int = 2, ranks: Ranks | None = None
) -> Path:
    """Write a checkpoint by ``write(directory)`` and make it the latest; the newest ``keep`` stay.

    Every one of ``ranks`` writes its own files into the same directory; the first makes it a checkpoint.
    Checkpoints of later steps are deleted: they are left over from before the run was resumed further back.
    """
    ranks = ranks or Ranks()
    final = root / f"step-{step:06d}"
    temporary = root / f".writing-{step:06d}"
    if ranks.first:
        for stale in root.glob(".writing-*"):  # what an interrupted save left
            shutil.rmtree(stale)
        temporary.mkdir(parents=True)
    ranks.gather("made")
    write(temporary)
    ranks.gather("written")
    if ranks.first:
        _publish(root, temporary, final, step, keep)
    return final


def _publish(root: Path, temporary: Path, final: Path, step: int, keep: int) -> None:
    """Write the manifest, sync, rename, move ``latest``, in this order; then delete old checkpoints."""
    files = sorted(path for path in temporary.rglob("*") if path.is_file())
    sums = dict(zip((str(path.relative_to(temporary)) for path in files), _sums(files), strict=True))
    (temporary / MANIFEST).write_bytes(_manifest(step, sums))
    for path in temporary.rglob("*"):
        sync(path)
    replaced = final.with_name(f"{final.name}.replaced")
    if final.exists():  # the old one can be resumed from until the new one is in place
        shutil.rmtree(replaced, ignore_errors=True)
        final.rename(replaced)
    put_in_place(temporary, final)
    sync(root.parent)
    link = root / f".{LATEST}"
    link.unlink(missing_ok=True)
    link.symlink_to(final.name)
    put_in_place(link, root / LATEST)
    shutil.rmtree(replaced, ignore_errors=True)
    steps = _steps(root)
    place = steps.index(final.resolve())
    for stale in steps[:place] + steps[place + keep :]:
        shutil.rmtree(stale)


def verify_checkpoint(directory: Path) -> None:
    """Raise CheckpointError unless the files of ``directory`` are exactly those of its manifest, bit for
    bit."""
    path = directory / MANIFEST
    try:
        data = path.read_bytes()
        content = json.loads(data.decode())
        expected = dict(content["sha256"])
        sound = data == _manifest(content["step"], expected)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{path} must be a readable manifest, got {error}") from None
    if not sound:
        raise CheckpointError(f"{path} must be as it was written, got another text")
    present = {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()} - {MANIFEST}
    if present != set(expected):
        missing, added = sorted(set(expected) - present), sorted(present - set(expected))
        raise CheckpointError(
            f"{directory} must hold the files of its manifest, got {missing} missing, {added} added"
        )
    try:
        sums = _sums([directory / name for name in expected])
    except OSError as error:
        raise CheckpointError(f"{directory} must be readable, got {error}") from None
    for (name, digest), seen in zip(expected.items(), sums, strict=True):
        if digest != seen:
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
    """Checkpoint directories, newest first; one that is being replaced comes after the one that does."""
    found = {}
    for path in root.glob("step-*"):
        if (name := re.fullmatch(r"step-(\d+)(\.replaced)?", path.name)) and path.is_dir():
            found[int(name[1]), name[2] is None] = path.resolve()
    return [found[key] for key in sorted(found, reverse=True)]


def _manifest(step: int, sums: Mapping[str, str]) -> bytes:
    """The text of a manifest, which ends with the sum of its own content."""
    content = {"step": step, "sha256": sums}
    own = hashlib.sha256(json.dumps(content).encode()).hexdigest()
    return json.dumps({**content, "content": own}, indent=1).encode()


def _sums(files: list[Path]) -> list[str]:
    with ThreadPoolExecutor() as pool:
        return list(pool.map(sha256_of, files))
