"""OpenRLHF with Mixed-Reward: a data set row, and the reward function as it calls it.

    python examples/openrlhf_reward.py    # prints a row and the scores of three completions

In training: ``--reward.remote_url mixed_r1/integrations/openrlhf.py`` with ``ground_truth`` as the label key,
or the address of a reward service: ``--reward.remote_url http://host:8000/get_reward`` (docs/rewards.md).
"""

from __future__ import annotations

import json
from typing import Any

from mixed_r1.integrations import encode
from mixed_r1.integrations.openrlhf import reward_func
from mixed_r1.schema import Sample

SAMPLES = [
    Sample(id="1", task="yes_no", question="Is there a dog?", answer="yes"),
    Sample(id="2", task="chart", question="How many were sold in May?", answer="420"),
    Sample(id="3", task="grounding", question="Where is the dog?", answer=[10, 20, 110, 220]),
]
ANSWERS = ["yes", "about 420", "[10, 20, 110, 120]"]
COMPLETIONS = [f"<think>Let me look.</think><answer>{answer}</answer>" for answer in ANSWERS]


def row(sample: Sample) -> dict[str, Any]:
    return {"prompt": sample.question, "ground_truth": encode(sample)}


def main() -> None:
    rows = [row(sample) for sample in SAMPLES]
    print(json.dumps(rows[0]))
    prompts = [row["prompt"] for row in rows]
    queries = [prompt + text + "<|im_end|>" for prompt, text in zip(prompts, COMPLETIONS, strict=True)]
    found = reward_func(queries, prompts, [row["ground_truth"] for row in rows])
    for reward, score in zip(found["rewards"].tolist(), found["scores"].tolist(), strict=True):
        print(json.dumps({"score": reward, "task": score}))


if __name__ == "__main__":
    main()
