"""The processes of a run: who this one is, what the others have, and how all stop when one cannot go on.

``torchrun`` and ``deepspeed`` start one process a GPU and tell each its rank. Ranks exchange small values
(rewards, lengths, flags) as JSON over gloo; gradients are the engine's affair. A thread beside the loop says
"alive" and listens to the others. An error on one rank, a rank that was killed and a rank that stands still
end all others, even inside a collective that would wait for ever.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor, TimeoutError
from datetime import timedelta
from types import TracebackType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

__all__ = ["Ranks"]

POLL = 0.5  # seconds between two looks at the others


class Ranks:
    """One process among ``world_size``; a context manager around the whole run.

    Args:
        timeout: seconds after which a silent rank, or a collective that does not complete, ends the run.
        group: make a process group even where this is the only process (DeepSpeed needs one).
    """

    def __init__(self, *, timeout: float = 600.0, group: bool = False) -> None:
        self.rank, self.world_size = (int(os.environ.get(k, v)) for k, v in (("RANK", 0), ("WORLD_SIZE", 1)))
        self.timeout = timeout
        self.phase = "start"  # what the loop is at, named when it fails
        # What this rank saw of each other it watches: its last beat, since when, and what it was at.
        self._seen: dict[int, tuple[int, float, str]] = {}
        self._done = threading.Event()
        self._store: Any = None
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
        if self.world_size == 1 and not group:
            return
        store: Any = (
            next(rendezvous("env://"))[0] if self.world_size > 1 else torch._C._distributed_c10d.HashStore()
        )
        store.set(f"phase/{self.rank}", self.phase)
        if not dist.is_initialized():
            dist.init_process_group(
                "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo",
                store=PrefixStore("group", store),
                rank=self.rank,
                world_size=self.world_size,
                timeout=timedelta(seconds=timeout),
            )
        if self.world_size > 1:
            self._store = store.clone()
            self._thread = threading.Thread(target=self._watch, args=(store.clone(),), daemon=True)
            self._thread.start()

    @property
    def first(self) -> bool:
        """Whether this is the rank that writes the run's files and talks to the user."""
        return self.rank == 0

    def at(self, what: str, step: int, rows: Iterable[str] = ()) -> None:
        """Note what the loop is at, to be named should it fail."""
        phase = f"{what} of step {step}" + "".join(f", row {row}" for row in rows)
        if self._store is not None:  # said in advance: a rank that is killed cannot say it any more
            self._store.set(f"phase/{self.rank}", phase)
        self.phase = phase

    def gather(self, value: Any) -> list[Any]:
        """``value`` (JSON) of every rank, in the order of ranks. Every rank must call it."""
        if self.world_size == 1:
            return [value]
        data = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world_size)]
        dist.all_gather(sizes, torch.tensor([data.numel()]))
        padded = torch.zeros(int(max(sizes)), dtype=torch.uint8)
        padded[: data.numel()] = data
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return [json.loads(bytes(p[: int(n)].numpy())) for p, n in zip(parts, sizes, strict=True)]

    def share(self, rows: list[Any]) -> list[Any]:
        """This rank's part of the global list ``rows``: every ``world_size``-th row."""
        return rows[self.rank :: self.world_size]

    def merge(self, rows: list[Any]) -> list[Any]:
        """The global list whose shares the ranks hold: the inverse of ``share``."""
        parts = self.gather(rows)
        merged: list[Any] = [None] * sum(len(part) for part in parts)
        for rank, part in enumerate(parts):
            merged[rank :: self.world_size] = part
        return merged

    def merge_columns(self, columns: dict[str, np.ndarray], *, rows: int) -> dict[str, np.ndarray]:
        """``merge`` of arrays whose first axis counts blocks of ``rows``."""
        if self.world_size == 1:
            return columns
        count = len(next(iter(columns.values())))
        blocks = [{k: v[i : i + rows].tolist() for k, v in columns.items()} for i in range(0, count, rows)]
        merged = self.merge(blocks)
        return {
            # texts take the width of the longest
            k: np.array(
                [row for block in merged for row in block[k]], None if v.dtype.kind == "U" else v.dtype
            )
            for k, v in columns.items()
        }

    def add_up(self, tensors: Iterable[torch.Tensor]) -> None:
        """Replace ``tensors`` by their sums over the ranks, in one message. Every rank must call it."""
        parts = list(tensors)
        if self.world_size == 1 or not parts:
            return
        flat = torch.cat([part.flatten() for part in parts])
        dist.all_reduce(flat)
        for part, total in zip(parts, torch.split(flat, [p.numel() for p in parts]), strict=True):
            part.copy_(total.view_as(part))

    def __enter__(self) -> Ranks:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave together, or tell the others why not: rank, phase and error."""
        if self._store is None:
            return
        if error is None or isinstance(error, SystemExit):
            self.gather(None)  # the store must stay until nobody listens to it any more
            self._done.set()
            self._thread.join()
            dist.destroy_process_group()
            return
        message = f"rank {self.rank}, {self.phase}: {type(error).__name__}: {error}"
        try:
            if isinstance(error, RuntimeError):
                # A broken connection only follows from the fault: wait, so that the rank at fault is named.
                beats = self._beats()
                time.sleep(2 * POLL + 1)
                silent = [r for r, (a, b) in enumerate(zip(beats, self._beats(), strict=True)) if a == b]
                last = ", ".join(f"rank {r}, last at {_phase(self._store, r)}" for r in silent)
                message += f" (no sign of life from {last})" if silent else ""
            self._done.set()
            print(message, file=sys.stderr, flush=True)
            self._store.compare_set("failure", "", message)
            time.sleep(2 * POLL)  # the store may end with this process: let the others read it first
        except RuntimeError:
            print(f"{message} ({self._gone()})", file=sys.stderr, flush=True)

    def _beats(self) -> list[int]:
        return [self._store.add(f"beat/{rank}", 0) for rank in range(self.world_size)]

    def _watch(self, store: Any) -> None:
        """End this process as soon as there is a reason to, whatever the loop is waiting for."""
        watched = range(1, self.world_size) if self.first else (0,)
        self._seen.update(dict.fromkeys(watched, (0, time.monotonic(), "start")))
        looking = ThreadPoolExecutor(1)
        reason = None
        while reason is None and not self._done.wait(POLL):
            try:
                reason = looking.submit(self._look, store).result(self.timeout)
            except TimeoutError:
                reason = self._gone(f"has not answered for {self.timeout:g} s")
            except RuntimeError:
                reason = self._gone()
        if reason is not None and not self._done.is_set():
            print(f"rank {self.rank} stops: {reason}", file=sys.stderr, flush=True)
            os._exit(1)

    def _gone(self, how: str = "has gone") -> str:
        last = f", last at {self._seen[0][2]}" if 0 in self._seen else ""
        return f"rank 0{last}, or the launcher {how}"

    def _look(self, store: Any) -> str | None:
        """The reason to stop, if there is one.

        Rank 0 watches all others, and they watch rank 0. What one of them sees reaches all through the store.
        """
        store.add(f"beat/{self.rank}", 1)
        for rank, (beat, since, _) in self._seen.items():
            now = store.add(f"beat/{rank}", 0)
            phase = _phase(store, rank)
            self._seen[rank] = (now, since if now == beat else time.monotonic(), phase)
            if now == beat and time.monotonic() - since > self.timeout:
                silence = f"rank {rank} gave no sign of life for {self.timeout:g} s, last at {phase}"
                store.compare_set("failure", "", silence)
        return store.get("failure").decode() if store.check(["failure"]) else None


def _phase(store: Any, rank: int) -> str:
    return store.get(f"phase/{rank}").decode()
