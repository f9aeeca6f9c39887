"""Ranks that fail on order, for programs that tests start.

The environment variable ``FAULT`` ("kind rank phase", such as "kill 1 rollout of step 2") says what happens
to which rank when it comes to that phase: ``raise``, ``kill`` (SIGKILL), ``stop`` (SIGSTOP), ``term``
(SIGTERM).
"""

from __future__ import annotations

import os
import signal
import sys
import time

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}


def faulty(ranks_class: type) -> type:
    """A subclass of ``Ranks`` that hears of every phase of the loop, and acts at the one that was ordered."""

    class FaultyRanks(ranks_class):
        def __setattr__(self, name, value):
            super().__setattr__(name, value)
            kind, rank, phase = os.environ.get("FAULT", "none -1 nowhere").split(" ", 2)
            if name == "phase" and int(rank) == self.rank and value.startswith(phase):
                print(f"fault at {time.time()}", file=sys.stderr, flush=True)
                if kind == "raise":
                    raise ArithmeticError("ordered by the test")
                os.kill(os.getpid(), SIGNALS[kind])

    return FaultyRanks
