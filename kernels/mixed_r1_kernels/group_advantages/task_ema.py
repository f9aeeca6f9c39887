"""The state of method "task_ema": a running variance of rewards for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

__all__ = ["TaskEma"]


class TaskEma:
    """Exponential moving average of the reward variance of each task.

    ``variance <- decay * variance + (1 - decay) * batch variance`` (ddof 1) for every task with at least two
    rewards in the batch; the first batch of a task sets it. Feed it the global batch, so that every rank
    holds the same state. Source: our reading of Mixed-Reward's mix of tasks; the decay is ours.
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.variances: dict[int, float] = {}

    def update(self, rewards: np.ndarray, task_ids: np.ndarray) -> None:
        """Take in a batch [N]."""
        for task in np.unique(task_ids).tolist():
            batch = rewards[task_ids == task]
            if len(batch) < 2:
                continue
            variance = float(batch.var(ddof=1))
            old = self.variances.get(task, variance)
            self.variances[task] = self.decay * old + (1 - self.decay) * variance

    def stds(self, num_tasks: int) -> np.ndarray:
        """Standard deviations of tasks 0..num_tasks - 1; 1 for a task not seen yet."""
        return np.array([self.variances.get(task, 1.0) for task in range(num_tasks)]) ** 0.5

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"decay": self.decay, "variances": {str(k): v for k, v in sorted(self.variances.items())}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.decay = float(state["decay"])
        self.variances = {int(task): float(value) for task, value in state["variances"].items()}
