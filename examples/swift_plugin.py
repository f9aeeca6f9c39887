"""ms-swift 4 with Mixed-Reward: a plugin that registers it, and a data set row.

    python examples/swift_plugin.py       # prints a row and the scores of three completions

In training: ``swift rlhf --rlhf_type grpo --external_plugins examples/swift_plugin.py --reward_funcs
mixed_r1``.
"""

from __future__ import annotations

import importlib.util
import json
from typing import Any

from mixed_r1.integrations import encode
from mixed_r1.integrations.swift import MixedRewardORM
from mixed_r1.schema import Sample

SAMPLES = [
    Sample(id="1", task="yes_no", question="Is there a dog?", answer="yes"),
    Sample(id="2", task="chart", question="How many were sold in May?", answer="420"),
    Sample(id="3", task="grounding", question="Where is the dog?", answer=[10, 20, 110, 220]),
]
ANSWERS = ["yes", "about 420", "[10, 20, 110, 120]"]
COMPLETIONS = [f"<think>Let me look.</think><answer>{answer}</answer>" for answer in ANSWERS]

if importlib.util.find_spec("swift") is not None:
    from swift.rewards import orms

    orms["mixed_r1"] = MixedRewardORM


def row(sample: Sample) -> dict[str, Any]:
    """Columns other than messages and images reach the reward function by name."""
    return {"messages": [{"role": "user", "content": sample.question}], "sample": encode(sample)}


def main() -> None:
    rows = [row(sample) for sample in SAMPLES]
    print(json.dumps(rows[0]))
    for score in MixedRewardORM()(COMPLETIONS, sample=[row["sample"] for row in rows], trainer_state=None):
        print(json.dumps({"score": score}))


if __name__ == "__main__":
    main()
