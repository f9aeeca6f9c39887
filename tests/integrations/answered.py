"""Rows of five tasks, a completion of each, and what it earns: for every adapter the same."""

from __future__ import annotations

from mixed_r1.integrations import encode
from mixed_r1.schema import Sample

SAMPLES = [
    Sample(id="1", task="yes_no", question="q", answer="yes"),
    Sample(id="2", task="multiple_choice", question="q", answer="B", options=("red", "blue")),
    Sample(id="3", task="chart", question="q", answer=("3", "4")),
    Sample(id="4", task="math", question="q", answer="1/2"),
    Sample(id="5", task="grounding", question="q", answer=[[1, 2, 3, 4], [5, 6, 7, 8]]),
]
ANSWERS = ["yes", "blue", "3, 5", "0.5", "[1, 2, 3, 4]"]
TEXTS = [f"<think>x</think><answer>{answer}</answer>" for answer in ANSWERS]
TASK = [1.0, 1.0, 0.0, 1.0, 0.5]
TOTAL = [0.9 * task + 0.1 for task in TASK]
TRUTHS = [encode(sample) for sample in SAMPLES]
