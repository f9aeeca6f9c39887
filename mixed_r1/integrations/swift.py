"""ms-swift: ``orms["mixed_r1"] = MixedRewardORM`` in a file given as ``--external_plugins``; see
examples/swift_plugin.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import rows_from_columns
from mixed_r1.integrations.scores import scores

__all__ = ["MixedRewardORM"]


class MixedRewardORM:
    """Called with the completions and the data set's columns (see ``rows_from_columns``).

    Every row gets a number: ms-swift makes 0 of a row of Nones, so a masked row is 0 for its whole group.
    """

    def __init__(self, args: Any = None, **options: Any) -> None:
        self.args = args

    def __call__(self, completions: Sequence[str], **columns: Any) -> list[float]:
        reward = default_reward()  # before the rows are read: their tasks may be ones that the settings name
        rows = rows_from_columns(columns, len(completions))
        return [row["score"] for row in scores(reward(list(completions), rows))]
