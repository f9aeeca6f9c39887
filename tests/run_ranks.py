"""Ranks that only talk: ``python run_ranks.py out-directory timeout``; see faulty_ranks."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np

from mixed_r1.ranks import Ranks
from tests.faulty_ranks import faulty


def say(ranks) -> dict[str, object]:
    columns = {
        "x": np.array([ranks.rank, np.nan, 0.1, -np.inf]),
        "who": np.array(["a", "b", "c", "long" * ranks.rank]),
    }
    merged = ranks.merge_columns(columns, rows=2)
    return {
        "gathered": ranks.gather({"rank": ranks.rank, "text": "\u00e9\n" * ranks.rank, "third": 1 / 3}),
        "merged": ranks.merge(ranks.share(list(range(7)))),
        "x": merged["x"].tolist(),
        "who": merged["who"].tolist(),
    }


if __name__ == "__main__":
    with faulty(Ranks)(timeout=float(sys.argv[2])) as ranks:
        for step in range(3):
            ranks.at("rollout", step, ["r1", "r2"])
            said = say(ranks)
    Path(sys.argv[1], f"{ranks.rank}.json").write_text(json.dumps(said))
