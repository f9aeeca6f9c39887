"""TRL: ``GRPOTrainer(reward_funcs=reward_functions(MixedReward(...)))``. See examples/trl_grpo.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from mixed_r1.integrations.ground_truth import rows_from_columns
from mixed_r1.rewards import MixedReward, RewardBatch

__all__ = ["reward_functions"]


def reward_functions(reward: MixedReward) -> list[Callable[..., list[float | None]]]:
    """One function per column, each weighted, so that TRL's sum (weights 1) is ``RewardBatch.total``.

    They share one scoring of each batch. None where a column does not score a row. Rows come from the data
    set's columns (see ``rows_from_columns``); completions are strings or chat messages.
    """
    last: list[Any] = [None, None]

    def scored(completions: Any, columns: dict[str, Any]) -> RewardBatch:
        if last[0] is not completions:
            texts = [_text(completion) for completion in completions]
            last[:] = completions, reward(texts, rows_from_columns(columns, len(texts)))
        return last[1]

    def column(k: int, name: str) -> Callable[..., list[float | None]]:
        def score(prompts: Any, completions: Any, **columns: Any) -> list[float | None]:
            batch = scored(completions, columns)
            weighted = batch.values[:, k] * batch.weights[:, k]
            return [None if np.isnan(value) else value for value in weighted.tolist()]

        score.__name__ = name
        return score

    return [column(k, name) for k, name in enumerate(reward.names)]


def _text(completion: Any) -> str:
    """The text of a completion: itself, or the content of its last message."""
    content = completion if isinstance(completion, str) else completion[-1]["content"]
    return content if isinstance(content, str) else "".join(part.get("text", "") for part in content)
