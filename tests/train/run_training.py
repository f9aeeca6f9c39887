"""One rank of a training run that fails on order: ``python run_training.py config.yaml [--resume]``.

The environment variable ``FAULT`` ("kind rank phase", such as "kill 1 rollout of step 2") says what happens to
which rank when it comes to that phase: it raises, is killed, is stopped, or gets SIGTERM.
"""

from __future__ import annotations

import os
import signal
import sys
import time

import mixed_r1.train.trainer as trainer
from mixed_r1.train import TrainConfig, train
from mixed_r1.train.ranks import Ranks


class FaultyRanks(Ranks):
    """Ranks that hear of every phase of the loop, and act at the one that was ordered."""

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        kind, _, rest = os.environ.get("FAULT", "none -1 -").partition(" ")
        rank, _, phase = rest.partition(" ")
        if name != "phase" or int(rank) != self.rank or not value.startswith(phase):
            return
        print(f"fault at {time.time()}", file=sys.stderr, flush=True)
        if kind == "raise":
            raise ArithmeticError("ordered by the test")
        os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": signal.SIGTERM}[kind])


if __name__ == "__main__":
    trainer.Ranks = FaultyRanks
    train(TrainConfig.load(sys.argv[1]), resume="--resume" in sys.argv)
