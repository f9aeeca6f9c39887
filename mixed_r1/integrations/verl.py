"""verl: ``custom_reward_function.path`` = this file, ``name`` = compute_score or compute_scores (reward
manager batch).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixed_r1.integrations.completions import without_tools
from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import decode
from mixed_r1.integrations.scores import Scores, scores

__all__ = ["compute_score", "compute_scores"]


def compute_score(
    data_source: str, solution_str: str, ground_truth: Any, extra_info: Any = None, **options: Any
) -> Scores:
    """One completion. ``ground_truth`` is what ``mixed_r1.integrations.encode`` made of the row."""
    return scores(default_reward()([without_tools(solution_str)], [decode(ground_truth)]))[0]


def compute_scores(
    data_sources: Sequence[str],
    solution_strs: Sequence[str],
    ground_truths: Sequence[Any],
    extra_infos: Sequence[Any] | None = None,
    **options: Any,
) -> list[Scores]:
    """A batch, in one scoring: the one to use."""
    texts = [*map(without_tools, solution_strs)]
    return scores(default_reward()(texts, [decode(truth) for truth in ground_truths]))
