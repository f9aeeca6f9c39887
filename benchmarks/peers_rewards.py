"""Mixed rewards as reward functions are commonly written: one completion at a time, with re, json and loops.

The verdicts are those of ``MixedReward`` on the completions of the benchmark, which checks that first.
"""

from __future__ import annotations

import itertools
import json
import re
import string
from typing import Any

import numpy as np

from mixed_r1.schema import Sample

__all__ = ["per_sample_rewards"]

NUMBER = re.compile(r"^[$]?(-?[\d,]*\.?\d+)\s*(%?)$")


def per_sample_rewards(completions: list[str], samples: list[Sample]) -> np.ndarray:
    """0.9 task + 0.1 format for each completion."""
    rewards = []
    for completion, sample in zip(completions, samples, strict=True):
        rewards.append(0.9 * task_reward(completion, sample) + 0.1 * format_reward(completion))
    return np.array(rewards)


def format_reward(completion: str) -> float:
    if any(completion.count(tag) != 1 for tag in ("<think>", "</think>", "<answer>", "</answer>")):
        return 0.0
    pattern = r"^\s*<think>.*?</think>\s*<answer>.*?</answer>\s*$"
    return 1.0 if re.match(pattern, completion, re.DOTALL) else 0.0


def task_reward(completion: str, sample: Sample) -> float:
    matches = re.findall(r"<answer>(.*?)</answer>", completion, re.DOTALL)
    if len(matches) != 1:
        return 0.0
    return TASKS[sample.task](matches[0].strip(), sample)


def yes_no(answer: str, sample: Sample) -> float:
    words = {word.strip(string.punctuation) for word in answer.lower().split()}
    said_yes, said_no = bool(words & {"yes", "true", "correct"}), bool(words & {"no", "false", "incorrect"})
    return float(said_yes != said_no and said_yes == (sample.answer == "yes"))


def multiple_choice(answer: str, sample: Sample) -> float:
    options = [option.strip().lower() for option in sample.options or ()]
    if answer.strip().rstrip(".").lower() in options:
        letter = "ABCDEFGHIJ"[options.index(answer.strip().rstrip(".").lower())]
        return float(letter == sample.answer)
    match = re.match(
        r"^(?:the answer is|answer:|option)?\s*\(?([A-Za-z])[).:]?(?:\s+(.*))?$", answer.strip(), re.I | re.S
    )
    if not match or (
        match.group(2) and match.group(2).strip().rstrip(".").lower() != options[ord(sample.answer) - 65]
    ):
        return 0.0
    return float(match.group(1).upper() == sample.answer)


def chart(answer: str, sample: Sample) -> float:
    predicted, gold = NUMBER.match(answer.rstrip(".")), NUMBER.match(str(sample.answer))
    if gold is None:
        return float(answer.strip().rstrip(".").lower() == str(sample.answer).strip().lower())
    if predicted is None:
        return 0.0
    value, target = float(predicted.group(1).replace(",", "")), float(gold.group(1).replace(",", ""))
    if re.fullmatch(r"[12]\d\d\d", str(sample.answer)) or target == 0:
        return float(value == target)
    return float(abs(value - target) <= 0.05 * abs(target))


def grounding(answer: str, sample: Sample) -> float:
    try:
        parsed = json.loads(answer)
        boxes = parsed if isinstance(parsed, list) else [parsed]
        boxes = [box["bbox_2d"] if isinstance(box, dict) else box for box in boxes]
        if boxes and not isinstance(boxes[0], list):
            boxes = [boxes]
    except (ValueError, KeyError, TypeError):
        found = re.findall(r"\[\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*,\s*([\d.]+)\s*\]", answer)
        boxes = [[float(v) for v in box] for box in found]
    if not boxes or any(len(box) != 4 or box[0] >= box[2] or box[1] >= box[3] for box in boxes):
        return 0.0
    golds = sample.answer
    overlaps = [[iou(box, gold) for gold in golds] for box in boxes]
    return best_assignment(overlaps) / max(len(boxes), len(golds))


def iou(a: Any, b: Any) -> float:
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    return shared / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - shared)


def best_assignment(overlaps: list[list[float]]) -> float:
    rows, columns = len(overlaps), len(overlaps[0])
    if rows > columns:
        overlaps = [list(column) for column in zip(*overlaps, strict=True)]
        rows, columns = columns, rows
    choices = itertools.permutations(range(columns), rows)
    return max(sum(overlaps[i][j] for i, j in enumerate(choice)) for choice in choices)


TASKS = {"yes_no": yes_no, "multiple_choice": multiple_choice, "chart": chart, "grounding": grounding}
