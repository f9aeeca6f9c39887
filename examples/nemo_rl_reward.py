"""NeMo-RL with Mixed-Reward: the reward function as its vision-language environment calls it.

    python examples/nemo_rl_reward.py     # prints the scores of three completions

In training: add ``mixed_reward`` to the reward functions of the environment and store ``encode(sample)`` as
the ground truth of each row.
"""

from __future__ import annotations

import json

from mixed_r1.integrations import encode
from mixed_r1.integrations.nemo_rl import mixed_reward
from mixed_r1.schema import Sample

SAMPLES = [
    Sample(id="1", task="yes_no", question="Is there a dog?", answer="yes"),
    Sample(id="2", task="chart", question="How many were sold in May?", answer="420"),
    Sample(id="3", task="grounding", question="Where is the dog?", answer=[10, 20, 110, 220]),
]
ANSWERS = ["yes", "about 420", "[10, 20, 110, 120]"]
COMPLETIONS = [f"<think>Let me look.</think><answer>{answer}</answer>" for answer in ANSWERS]


def main() -> None:
    for sample, text in zip(SAMPLES, COMPLETIONS, strict=True):
        score, is_correct = mixed_reward(encode(sample), text)
        print(json.dumps({"score": score, "is_correct": is_correct}))


if __name__ == "__main__":
    main()
