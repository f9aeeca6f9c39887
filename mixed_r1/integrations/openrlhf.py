"""OpenRLHF: ``--reward.remote_url <this file>``, with rows by ``encode`` as labels."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import decode
from mixed_r1.integrations.scores import NAMES, scores

__all__ = ["STOP_TEXTS", "completion_of", "reward_func"]

IMAGE_RUNS = re.compile(r"(<\|image_pad\|>|<IMG_CONTEXT>|<image>)\1+")
STOP_TEXTS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")


def completion_of(query: str, prompt: str) -> str:
    """The query without its prompt, and without the stop token that OpenRLHF decodes with it. The query has
    an image token for each patch: runs are read as one. ValueError where it does not begin with the prompt,
    which must never be scored.
    """
    query, prompt = (IMAGE_RUNS.sub(r"\1", text) for text in (query, prompt))
    if not query.startswith(prompt):
        raise ValueError(f"queries must begin with their prompts, got {query[:60]!r} for {prompt[:60]!r}")
    text = query[len(prompt) :].rstrip()
    return next((text[: -len(stop)] for stop in STOP_TEXTS if text.endswith(stop)), text)


def reward_func(
    queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **options: Any
) -> dict[str, Any]:
    """``labels`` are rows by ``mixed_r1.integrations.encode``. Tensors come back: totals, and task scores."""
    import torch

    texts = [completion_of(query, prompt) for query, prompt in zip(queries, prompts, strict=True)]
    found = scores(default_reward()(texts, [decode(label) for label in labels]))
    columns = {name: torch.tensor([row[name] for row in found]) for name in NAMES}
    return {"rewards": columns["score"], "scores": columns["task"], "extra_logs": columns}
