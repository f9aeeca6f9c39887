"""TRL: ``GRPOTrainer(reward_funcs=reward_functions(MixedReward(...)))``. See examples/trl_grpo.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mixed_r1.integrations.ground_truth import rows_from_columns
from mixed_r1.rewards import MixedReward

__all__ = ["reward_functions"]


def reward_functions(reward: MixedReward) -> list[Callable[..., list[float | None]]]:
    """One function per column, weighted, so that TRL's sum (weights 1) is ``RewardBatch.total``; one scoring
    of a batch serves all. None where a column scores no row, all over a masked row: TRL leaves those out.
    """
    last: list[Any] = [[], None]

    def column(k: int, name: str) -> Callable[..., list[float | None]]:
        def score(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
            inputs = [completions, *(value for value in columns.values() if isinstance(value, list))]
            if [*map(id, inputs)] != [*map(id, last[0])]:
                rows = rows_from_columns(columns, len(completions))
                last[:] = inputs, reward([*map(_text, completions)], rows)
            batch = last[1]
            weighted = np.where(batch.mask, batch.values[:, k] * batch.weights[:, k], np.nan)
            return [None if np.isnan(value) else value for value in weighted.tolist()]

        score.__name__ = name
        return score

    return [column(k, name) for k, name in enumerate(reward.names)]


def _text(completion: Any) -> str:
    last = completion if isinstance(completion, str) else (completion or [{}])[-1].get("content") or ""
    return last if isinstance(last, str) else "".join(part.get("text") or "" for part in last)
