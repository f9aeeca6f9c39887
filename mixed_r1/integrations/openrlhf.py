"""OpenRLHF: ``--reward.remote_url <this file>``, with rows by ``encode`` as labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixed_r1.integrations.completions import STOP_TEXTS, completion_of
from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import decode
from mixed_r1.integrations.scores import NAMES, scores

__all__ = ["STOP_TEXTS", "completion_of", "reward_func"]


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **options: Any
) -> dict[str, Any]:
    """Totals and task scores, as tensors. ``labels`` are rows by ``mixed_r1.integrations.encode``."""
    import torch

    texts = [completion_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    found = scores(default_reward()(texts, [decode(label) for label in labels]))
    columns = {name: torch.tensor([row[name] for row in found]) for name in NAMES}
    return {"rewards": columns["score"], "scores": columns["task"], "extra_logs": columns}
