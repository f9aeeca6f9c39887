"""What a run's own records say is going wrong, in words, with what to try.

A policy gradient that cannot see a task finds the answer that is right most often, and a reward that rises
while the held-out greedy reward does not is the answer format, or temperature. Both look like success in a
reward curve; these rules look for them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from mixed_r1.run_directory import Metric
from mixed_r1.schema import CLOSED_TASKS

__all__ = ["Finding", "diagnose", "is_learnt", "learnt_sentence"]

WINDOW = 10  # steps at either end that are compared
CONSTANT_SHARE = 0.8  # of a task's answers that are one and the same
CONSTANT_EXCESS = 0.15  # of that share over the commonest gold's
COLLAPSED_ENTROPY = 0.05  # nats per token, and a tenth of what it was
FLAT_SHARE = 0.9
UNFORMED_SHARE = CUT_SHARE = 0.5
LOST_SHARE = 0.1
EPOCHS = 3

Record = Mapping[str, Any]


class Finding(NamedTuple):
    """Something that a person should know about a run. ``kind`` names it, with its task where it has one."""

    kind: str
    text: str
    remedy: str


def is_learnt(
    gain: float, gain_stderr: float, after: float, after_stderr: float, constant: float | None
) -> bool:
    """Whether a task's reward on held-out rows is two standard errors above its start, and above what the
    best constant answer earns there (where that is known).
    """
    beats_constant = constant is None or after > constant + 2 * after_stderr
    return gain > 2 * gain_stderr and beats_constant


def learnt_sentence(tasks: Sequence[str]) -> str:
    """What is said of the tasks for which ``is_learnt`` holds."""
    if not tasks:
        return "No task is better than both its start and the best constant answer by two standard errors."
    better = "Better than their start and than the best constant answer, by two standard errors"
    return f"{better}: {', '.join(tasks)}."


def diagnose(
    metrics: Sequence[Record], evaluation: Sequence[Record] = (), seen: Sequence[Record] = ()
) -> list[Finding]:
    """Findings, the gravest first.

    Args:
        metrics: records of metrics.jsonl, by step.
        evaluation: records of evaluation.jsonl on held-out rows, by step.
        seen: those on training rows.
    """
    steps = metrics[-WINDOW:]
    findings = [_falling(evaluation), _constant(steps), _collapsed(metrics)]
    findings += [_unformed(steps), _cut(steps), _masked(steps), _left_out(steps)]
    findings += [_flat(steps), _repeated(steps), _parted(evaluation, seen)]
    return [finding for group in findings for finding in group]


def _falling(evaluation: Sequence[Record]) -> list[Finding]:
    """Tasks whose greedy reward is two standard errors below what it was."""
    findings = []
    for task, (first, last) in _greedy_ends(evaluation).items():
        error = math.hypot(first["stderr"], last["stderr"])
        if task != "all" and last["mean"] < first["mean"] - 2 * error:
            findings.append(
                Finding(
                    f"falling/{task}",
                    f"{task}: the greedy reward on held-out rows fell from {first['mean']:.3f} to "
                    f"{last['mean']:.3f}.",
                    "Give the task more weight (mixture), or look at its completions: another task's form "
                    "of answer may have spread.",
                )
            )
    return findings


def _constant(steps: Sequence[Record]) -> list[Finding]:
    findings = []
    for task in CLOSED_TASKS:
        share = _mean(steps, Metric.COMMONEST_ANSWER + task)
        gold = _mean(steps, Metric.COMMONEST_GOLD + task)
        if len(steps) == WINDOW and share >= CONSTANT_SHARE and share - gold >= CONSTANT_EXCESS:
            findings.append(
                Finding(
                    f"constant/{task}",
                    f"{task}: {share:.0%} of the answers of the last {len(steps)} steps are the same, and "
                    f"{gold:.0%} of the golds. The policy gives a constant instead of looking.",
                    "Even out the golds (balance: gold in the recipe), begin with a model that can see the "
                    "task, show more prompts a step, or slow down with a lower lr or beta above 0.",
                )
            )
    return findings


def _collapsed(metrics: Sequence[Record]) -> list[Finding]:
    if len(metrics) < 2 * WINDOW:
        return []
    first, last = (_mean(part, Metric.ENTROPY) for part in (metrics[:WINDOW], metrics[-WINDOW:]))
    if not (last < COLLAPSED_ENTROPY and last < 0.1 * first):
        return []
    text = f"Entropy fell from {first:.3f} to {last:.3f} nats a token: all completions of a prompt are alike."
    return [Finding("entropy", text, "Lower lr, raise temperature, or hold the policy with beta above 0.")]


def _unformed(steps: Sequence[Record]) -> list[Finding]:
    """Most completions lack the answer format: a reward that hardly ever comes cannot be reinforced."""
    prefix = f"{Metric.REASON}format/"
    counts: dict[str, float] = {}
    for record in steps:
        for name, count in record.items():
            if name.startswith(prefix):
                counts[name.removeprefix(prefix)] = counts.get(name.removeprefix(prefix), 0) + count
    wrong = {reason: count for reason, count in counts.items() if reason not in ("OK", "NOT_APPLICABLE")}
    if len(steps) < WINDOW or sum(wrong.values()) <= UNFORMED_SHARE * sum(counts.values()):
        return []
    commonest = max(wrong, key=lambda reason: wrong[reason])
    text = (
        f"{sum(wrong.values()) / sum(counts.values()):.0%} of the completions of the last {len(steps)} steps "
        f"are not in the answer format (most often {commonest})."
    )
    remedy = (
        "Ask for the format in system_prompt, begin with a model that writes it, or take another one: "
        "reward.format=answer, boxed, none."
    )
    return [Finding("format", text, remedy)]


def _cut(steps: Sequence[Record]) -> list[Finding]:
    share = _mean(steps, Metric.LENGTH_CUT)
    if len(steps) < WINDOW or not share > CUT_SHARE:
        return []
    text = f"{share:.0%} of the completions are cut at max_new_tokens, most of them before their answer."
    return [Finding("cut", text, "Raise max_new_tokens, or shorten answers with overlong: penalty.")]


def _masked(steps: Sequence[Record]) -> list[Finding]:
    share = _share(steps, Metric.REWARD_MASKED, Metric.COMPLETIONS)
    if not share > LOST_SHARE:
        return []
    text = f"{share:.0%} of the completions could not be scored: the loss leaves them out."
    return [Finding("masked", text, "mixed-r1 data check names their rows, and what mends each.")]


def _left_out(steps: Sequence[Record]) -> list[Finding]:
    lost = _share(steps, Metric.SKIPPED, Metric.PROMPTS)
    if not lost > LOST_SHARE:
        return []
    text = f"For every 100 prompts {100 * lost:.0f} rows were left out: no prompt could be made of them."
    return [
        Finding(
            "left_out", text, "Raise max_prompt_tokens or lower max_pixels; mixed-r1 data check names them."
        )
    ]


def _flat(steps: Sequence[Record]) -> list[Finding]:
    share = _mean(steps, Metric.FLAT)
    if len(steps) < WINDOW or not share > FLAT_SHARE:
        return []
    text = f"{share:.0%} of the completions are in groups of equal rewards, which teach nothing."
    remedy = (
        "Take rows that are neither always right nor always wrong (difficulty in the recipe), or fresh ones."
    )
    return [Finding("flat", text, remedy)]


def _repeated(steps: Sequence[Record]) -> list[Finding]:
    epoch = steps[-1].get(Metric.EPOCH, 0) if steps else 0
    if epoch < EPOCHS:
        return []
    text = f"The training rows have been drawn {epoch:.1f} times each."
    return [Finding("repeated", text, "More rows: fresh ones teach more than rows that are known by heart.")]


def _parted(evaluation: Sequence[Record], seen: Sequence[Record]) -> list[Finding]:
    """Training rows rise by two standard errors more than held-out ones."""
    held_out, training = (_greedy_ends(records).get("all") for records in (evaluation, seen))
    if held_out is None or training is None or held_out[0]["step"] == held_out[1]["step"]:
        return []
    gains = [last["mean"] - first["mean"] for first, last in (held_out, training)]
    error = math.sqrt(sum(r["stderr"] ** 2 for r in (*held_out, *training)))
    if gains[1] - gains[0] <= 2 * error:
        return []
    text = (
        f"Greedy reward rose by {gains[1]:+.3f} on training rows and by {gains[0]:+.3f} on held-out ones: "
        "what is learnt is the rows."
    )
    return [Finding("parted", text, "More rows, fewer epochs, or a lower lr.")]


def _greedy_ends(evaluation: Sequence[Record]) -> dict[str, tuple[Record, Record]]:
    """First and last greedy record by task."""
    by_task: dict[str, list[Record]] = {}
    for record in evaluation:
        if record["mode"] == "greedy" and record["mean"] is not None:
            by_task.setdefault(record["task"], []).append(record)
    return {task: (records[0], records[-1]) for task, records in by_task.items()}


def _mean(records: Sequence[Record], key: str) -> float:
    """The mean of a metric where it was recorded; NaN where it never was."""
    values = [record[key] for record in records if record.get(key) is not None]
    return float(np.mean(values)) if values else math.nan


def _share(records: Sequence[Record], part: str, whole: str) -> float:
    """The sum of one metric over that of another; NaN where either was never recorded."""
    sums = [sum(record[key] for record in records if record.get(key) is not None) for key in (part, whole)]
    return sums[0] / sums[1] if sums[1] else math.nan
