"""NeMo-RL: a reward function of its vision-language environment, ``(ground_truth, response) -> (score,
is_correct)``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import decode
from mixed_r1.integrations.scores import scores

__all__ = ["mixed_reward"]


def mixed_reward(ground_truth: Any, response: str) -> tuple[float, bool | None]:
    """The total, and whether the task is fully solved; None where that means nothing (open_ended, a masked
    row).
    """
    reward = default_reward()  # before the row is read: its task may be one that the settings name
    batch = reward([response], [decode(ground_truth)])
    row = scores(batch)[0]
    graded = not np.isnan(batch.column("open_ended")[0])
    return row["score"], None if graded or row["masked"] else row["task"] == 1.0
