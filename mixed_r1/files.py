"""Files that are there whole or not at all, also after a loss of power, and their digests."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["atomic_path", "put_in_place", "sha256_of", "sync"]


def put_in_place(temporary: Path, final: Path) -> None:
    """Rename ``temporary``, whose content is complete, to ``final``: it is there whole or not at all, also
    after a loss of power. An older file ``final`` is replaced; a directory must not be there.
    """
    sync(temporary)
    os.replace(temporary, final)
    sync(final.parent)


@contextmanager
def atomic_path(target: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside ``target``, which takes its place at the end, or goes where an error ends the
    block.

    Without ``durable`` it may be lost with the power: for files that are many, and missed when they are
    opened.
    """
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        if durable:
            put_in_place(temporary, target)
        else:
            os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: Path) -> str:
    """The SHA-256 sum of a file, in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sync(path: Path) -> None:
    """Wait until a file, or the names in a directory, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
