"""One command in several processes on this machine."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

__all__ = ["is_started", "restart"]


def is_started() -> bool:
    """Whether a launcher (torchrun, deepspeed) started this process as one of several."""
    return "WORLD_SIZE" in os.environ


def restart(processes: int) -> NoReturn:
    """Start this command again, under torchrun, in ``processes`` processes; this one becomes the launcher."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    os.execv(sys.executable, [sys.executable, *launcher, "-m", "mixed_r1", *sys.argv[1:]])
