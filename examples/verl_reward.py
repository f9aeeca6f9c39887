"""verl with Mixed-Reward: the rows of its data set, and the batch reward function as it calls it.

    python examples/verl_reward.py        # prints a row and the scores of three completions

In training:

    python -m verl.trainer.main_ppo data.train_files=rows.parquet \\
        reward.custom_reward_function.path=mixed_r1/integrations/verl.py \\
        reward.custom_reward_function.name=compute_score

(compute_scores for a reward manager that takes batches; before verl 0.9 the key is custom_reward_function)
with MIXED_R1_REWARD_CONFIG (a YAML of RewardConfig) and, for open_ended rows, MIXED_R1_REWARD_MODEL (a
checkpoint directory) in the environment of the workers.
"""

from __future__ import annotations

import json
from typing import Any

from mixed_r1.integrations import encode
from mixed_r1.integrations.verl import compute_scores
from mixed_r1.schema import Sample

SAMPLES = [
    Sample(id="1", task="yes_no", question="Is there a dog?", answer="yes"),
    Sample(id="2", task="chart", question="How many were sold in May?", answer="420"),
    Sample(id="3", task="grounding", question="Where is the dog?", answer=[10, 20, 110, 220]),
]
ANSWERS = ["yes", "about 420", "[10, 20, 110, 120]"]
COMPLETIONS = [f"<think>Let me look.</think><answer>{answer}</answer>" for answer in ANSWERS]


def row(sample: Sample) -> dict[str, Any]:
    return {
        "data_source": sample.source,
        "prompt": [{"role": "user", "content": sample.question}],
        "reward_model": {"style": "rule", "ground_truth": encode(sample)},
    }


def main() -> None:
    rows = [row(sample) for sample in SAMPLES]
    print(json.dumps(rows[0]))
    truths = [row["reward_model"]["ground_truth"] for row in rows]
    for scores in compute_scores(
        [row["data_source"] for row in rows], COMPLETIONS, truths, [None] * len(rows)
    ):
        print(json.dumps(scores))


if __name__ == "__main__":
    main()
