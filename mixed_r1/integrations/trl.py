"""TRL: ``GRPOTrainer(reward_funcs=reward_functions(MixedReward(...)))``. See examples/trl_grpo.py."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import numpy as np

from mixed_r1.integrations.completions import text_of, with_prompted_thought
from mixed_r1.integrations.ground_truth import rows_from_columns
from mixed_r1.rewards import MixedReward

__all__ = ["reward_functions"]


def reward_functions(reward: MixedReward) -> list[Callable[..., list[float | None]]]:
    """One function per column, weighted, so that TRL's sum (weights 1) is ``RewardBatch.total``; one scoring
    of a batch serves all. None where a column scores no row, all over a masked row: TRL leaves those out.
    """
    last: list[Any] = [None, None]

    def column(k: int, name: str) -> Callable[..., list[float | None]]:
        def score(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
            own = map(text_of, completions)
            texts = [*map(with_prompted_thought, prompts or [None] * len(completions), own)]
            inputs = texts, {name: value for name, value in columns.items() if isinstance(value, list)}
            if inputs != last[0]:
                last[:] = deepcopy(inputs), reward(texts, rows_from_columns(columns, len(completions)))
            batch = last[1]
            weighted = np.where(batch.mask, batch.values[:, k] * batch.weights[:, k], np.nan)
            return [None if np.isnan(value) else value for value in weighted.tolist()]

        score.__name__ = name
        return score

    return [column(k, name) for k, name in enumerate(reward.names)]
