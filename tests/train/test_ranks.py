"""Several ranks: what they tell each other, and that a run is the same whatever their number."""

from __future__ import annotations

import json
import math

from mixed_r1.train.ranks import Ranks


def test_one_process_needs_nothing():
    with Ranks() as ranks:
        rows = list(range(5))
        assert ranks.first and ranks.gather("x") == ["x"]
        assert ranks.share(rows) == rows and ranks.merge(rows) == rows


def test_values_reach_all_ranks_exactly(launch, tmp_path):
    for rank in launch("run_ranks.py", tmp_path, 60):
        assert rank.wait() == 0, rank.text
    said = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]
    assert said[0]["gathered"] == said[1]["gathered"]
    assert said[0]["gathered"] == [
        {"rank": 0, "text": "", "third": 1 / 3},
        {"rank": 1, "text": "\u00e9\n", "third": 1 / 3},
    ]
    assert said[0]["merged"] == list(range(7))
    assert said[0]["who"] == ["a", "b", "a", "b", "c", "", "c", "long"]  # blocks of two rows, in turn
    x = said[1]["x"]
    assert [x[0], x[2]] == [0.0, 1.0] and math.isnan(x[1]) and math.isnan(x[3])
    assert x[4:] == [0.1, -math.inf, 0.1, -math.inf]
