"""EasyR1 with Mixed-Reward: the rows of its data set, and the reward function as it calls it.

    python examples/easyr1_reward.py      # prints a row and the scores of three completions

In training: ``worker.reward.reward_function=mixed_r1/integrations/easyr1.py:compute_score
data.answer_key=answer``. EasyR1 passes neither the task nor the images, so ``answer`` holds the row as JSON
(give ``image_size`` where boxes are not in pixels).
"""

from __future__ import annotations

import json
from typing import Any

from mixed_r1.integrations import encode
from mixed_r1.integrations.easyr1 import REWARD_TYPE, compute_score
from mixed_r1.schema import Sample

SAMPLES = [
    Sample(id="1", task="yes_no", question="Is there a dog?", answer="yes"),
    Sample(id="2", task="chart", question="How many were sold in May?", answer="420"),
    Sample(id="3", task="grounding", question="Where is the dog?", answer=[10, 20, 110, 220]),
]
ANSWERS = ["yes", "about 420", "[10, 20, 110, 120]"]
COMPLETIONS = [f"<think>Let me look.</think><answer>{answer}</answer>" for answer in ANSWERS]


def row(sample: Sample) -> dict[str, Any]:
    return {"problem": sample.question, "answer": encode(sample), "images": []}


def main() -> None:
    rows = [row(sample) for sample in SAMPLES]
    print(json.dumps(rows[0]))
    assert REWARD_TYPE == "batch"
    inputs = [
        {"response": text, "response_length": len(text), "ground_truth": row["answer"]}
        for text, row in zip(COMPLETIONS, rows, strict=True)
    ]
    for scores in compute_score(inputs):
        print(json.dumps(scores))


if __name__ == "__main__":
    main()
