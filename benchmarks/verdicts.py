"""Verdicts on realistic answers: ``python -m benchmarks.verdicts [--impl native] [--show] [--record FILE]``.

Reads benchmarks/verdicts.txt, scores every answer against its gold, and prints false positives (wrong answers
that are paid) and false negatives (right answers that are not) of each task. The exit code is 1 where a task
has a false positive, more than 1% of false negatives, or an answer whose reason is not the one in the file.
"""

from __future__ import annotations

import argparse
import datetime
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.harness import commit
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Reason

__all__ = ["FILE", "Answer", "Judged", "judge", "read_answers"]

FILE = Path(__file__).with_name("verdicts.txt")
MAX_FALSE_NEGATIVES = 0.01
FULL = 1.0 - 1e-9


class Answer(NamedTuple):
    """One answer and what is expected of it: OK, BELOW (a box short of 1), or the reason of a 0."""

    row: dict[str, Any]
    text: str
    expected: str

    @property
    def is_right(self) -> bool:
        return self.expected == "OK"


class Judged(NamedTuple):
    """What an answer earned."""

    answer: Answer
    value: float
    reason: str

    @property
    def is_false_positive(self) -> bool:
        limit = FULL if self.answer.expected == "BELOW" else 0.0
        return not self.answer.is_right and self.value > limit

    @property
    def is_false_negative(self) -> bool:
        return self.answer.is_right and self.value < FULL

    @property
    def has_other_reason(self) -> bool:
        expected = "OK" if self.answer.expected == "BELOW" else self.answer.expected
        return not self.is_false_negative and self.reason != expected


def read_answers(path: Path = FILE) -> list[Answer]:
    answers: list[Answer] = []
    row: dict[str, Any] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        first, *rest = line.split("\t")
        if first == "@":
            task, gold, *options = rest
            row = {"id": f"{task} {gold}", "task": task, "question": "?", "answer": json.loads(gold)}
            row["options"] = json.loads(options[0]) if options else None
        elif rest:
            text = re.sub(r"\\u([0-9A-F]{4})", lambda match: chr(int(match[1], 16)), rest[0])
            answers.append(Answer(row, text.replace("\u00b6", "\n"), first))
    return answers


def judge(answers: Sequence[Answer], impl: str = "auto") -> list[Judged]:
    """Each answer as the whole completion."""
    batch = MixedReward(config=RewardConfig(format="none"), impl=impl)(
        [answer.text for answer in answers], [answer.row for answer in answers]
    )
    columns = np.argmax(batch.reasons[:, :-1] != Reason.NOT_APPLICABLE, axis=1)
    every = np.arange(len(answers))
    values, reasons = batch.values[every, columns].tolist(), batch.reasons[every, columns].tolist()
    return [
        Judged(answer, value, Reason(reason).name)
        for answer, value, reason in zip(answers, values, reasons, strict=True)
    ]


def counts(judged: Sequence[Judged]) -> dict[str, dict[str, int]]:
    """By task: how many answers are right and wrong, and how many of them are judged otherwise."""
    found: dict[str, dict[str, int]] = {}
    for task in dict.fromkeys(item.answer.row["task"] for item in judged):
        chosen = [item for item in judged if item.answer.row["task"] == task]
        right = sum(item.answer.is_right for item in chosen)
        found[task] = {
            "right": right,
            "false negatives": sum(item.is_false_negative for item in chosen),
            "wrong": len(chosen) - right,
            "false positives": sum(item.is_false_positive for item in chosen),
            "other reason": sum(item.has_other_reason for item in chosen),
        }
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description=__doc__)
    parser.add_argument("--impl", default="auto", choices=("auto", "native", "reference"))
    parser.add_argument("--show", action="store_true", help="print every answer that is not as expected")
    parser.add_argument("--record", type=Path, help="JSON lines to append to, one a task")
    args = parser.parse_args()
    judged = judge(read_answers(), args.impl)
    found = counts(judged)
    heads = tuple(next(iter(found.values())))
    print(f"{'task':16}" + "".join(f"{head:>17}" for head in heads))
    total = {head: sum(row[head] for row in found.values()) for head in heads}
    for task, row in {**found, "all": total}.items():
        print(f"{task:16}" + "".join(f"{row[head]:17}" for head in heads))
    for item in judged if args.show else ():
        if item.is_false_negative or item.is_false_positive or item.has_other_reason:
            print(f"{item.answer.row['id']}: {item.answer.text!r} got {item.value:g} {item.reason}")
    if args.record:
        shared = {"op": "verdicts", "date": datetime.date.today().isoformat(), "commit": commit()}
        with args.record.open("a", encoding="utf-8") as stream:
            for task, row in found.items():
                stream.write(json.dumps({**shared, "impl": args.impl, "task": task, **row}) + "\n")
    failed = [
        row["false positives"]
        or row["other reason"]
        or row["false negatives"] > MAX_FALSE_NEGATIVES * row["right"]
        for row in found.values()
    ]
    return 1 if any(failed) else 0


if __name__ == "__main__":
    sys.exit(main())
