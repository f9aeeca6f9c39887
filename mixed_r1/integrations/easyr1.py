"""EasyR1: ``worker.reward.reward_function=<this file>:compute_score``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import decode
from mixed_r1.integrations.scores import scores

__all__ = ["REWARD_NAME", "REWARD_TYPE", "compute_score"]

REWARD_NAME = "mixed_r1"
REWARD_TYPE = "batch"


def compute_score(reward_inputs: Sequence[Mapping[str, Any]], **options: Any) -> list[dict[str, float]]:
    """``reward_inputs``: ``response`` and ``ground_truth`` (the row, by ``mixed_r1.integrations.encode``)
    of each.
    """
    reward = default_reward()  # before the rows are read: their tasks may be ones that the settings name
    texts = [item["response"] for item in reward_inputs]
    rows = [decode(item["ground_truth"]) for item in reward_inputs]
    found = scores(reward(texts, rows))
    return [
        {"overall": s["score"], "accuracy": s["task"], "format": s["format"], "masked": s["masked"]}
        for s in found
    ]
