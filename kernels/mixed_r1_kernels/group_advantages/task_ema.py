"""The state of method "task_ema": a running variance of rewards for each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from mixed_r1_kernels.group_advantages.reference import is_constant

__all__ = ["TaskEma"]


class TaskEma:
    """Exponential moving average of the reward variance of each task.

    ``variance <- decay * variance + (1 - decay) * batch variance`` (ddof 1, over the task's rewards in the
    batch); a task's first batch sets it. A batch in which the task's rewards are all equal says nothing of
    their scale and changes nothing. Feed it the global batch, so that every rank holds the same state.
    Source: our reading of Mixed-Reward's mix of tasks; the decay is ours.

    Raises:
        ValueError: ``decay`` is not in [0, 1).
    """

    def __init__(self, decay: float = 0.99) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}")
        self.decay = decay
        self.variances: dict[int, float] = {}

    def update(self, rewards: np.ndarray, task_ids: np.ndarray) -> None:
        """Take in a batch: finite rewards [N] and their tasks [N]."""
        for task in np.unique(task_ids).tolist():
            batch = rewards[task_ids == task]
            if is_constant(batch):
                continue
            variance = float(batch.var(ddof=1))
            old = self.variances.get(task, variance)
            self.variances[task] = self.decay * old + (1 - self.decay) * variance

    def stds(self, task_ids: np.ndarray) -> np.ndarray:
        """Standard deviation of each row's task [N]; 1 for a task not seen yet."""
        tasks, index = np.unique(task_ids, return_inverse=True)
        return np.sqrt([self.variances.get(task, 1.0) for task in tasks.tolist()])[index]

    def state_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {"decay": self.decay, "variances": {str(k): v for k, v in sorted(self.variances.items())}}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` gave."""
        self.decay = float(state["decay"])
        self.variances = {int(task): float(value) for task, value in state["variances"].items()}
