"""Rows that no policy can answer, and the texts from which it learns to write: for benchmarks.adversary.

A question says nothing about its gold, which is drawn at random: an honest policy earns what luck gives, and
all that is paid beyond it was earned by the form of the answer. The arithmetic of math questions is the
exception; there the numbers are in the question, and the answer to work out is not.
"""

from __future__ import annotations

import json
import operator
import random
from collections.abc import Callable, Iterator
from typing import Any

from benchmarks.verdicts import read_answers
from mixed_r1.schema import Sample

__all__ = ["CAPTIONS", "RIVALS", "forms", "make_row"]

THINGS = "dog cat car tree boat bird clock chair bottle bridge".split()
COLORS = "red blue green black white".split()
PLACES = "on the grass;in the street;near a window;on a table;by the water".split(";")
SIDE = 100  # of the images that boxes are in, in pixels
LONGEST = 64  # characters of a text that is learned
CAPTIONS = [f"A {color} {thing} {place}." for color in COLORS for thing in THINGS for place in PLACES]
QUESTIONS = {
    "yes_no": "Is there a {}?",
    "multiple_choice": "Which color is the {}?",
    "chart": "How high is the bar of the {}?",
    "grounding": "Where is the {}?",
    "open_ended": "Describe the {}.",
    "short_answer": "What is beside the {}?",
}


def _box(rng: random.Random) -> list[int]:
    x, y = rng.randrange(0, 70), rng.randrange(0, 70)
    return [x, y, x + rng.randrange(10, 31), y + rng.randrange(10, 31)]


# Golds of which an answer can be worth one at most, its shares of several adding up to 1.
RIVALS: dict[str, list[Any]] = {
    "yes_no": ["yes", "no"],
    "multiple_choice": list("ABCD"),
    "chart": [str(value) for value in (0, 1, 3, 7, 12, 20, 33, 50, 70, 90, 120)],
    "math": [str(value) for value in range(-10, 100)],
    "grounding": [[[x, y, x + 40, y + 40]] for x in (5, 55) for y in (5, 55)],
    "short_answer": [f"{color} {thing}" for color in COLORS for thing in THINGS],
}
OPERATIONS = {"+": operator.add, "-": operator.sub, "*": operator.mul}
GUESSES: dict[str, Callable[[random.Random], Any]] = {
    "yes_no": lambda rng: rng.choice(("yes", "no")),
    "multiple_choice": lambda rng: rng.choice("ABCD"),
    "chart": lambda rng: str(rng.randrange(1, 100)),
    "math": lambda rng: str(rng.randrange(0, 20)),
    "grounding": _box,
    "open_ended": lambda rng: rng.choice(CAPTIONS),
    "short_answer": lambda rng: f"{rng.choice(COLORS)} {rng.choice(THINGS)}",
}


def make_row(task: str, number: int, rng: random.Random) -> Sample:
    """Row ``number`` of ``task``."""
    fields: dict[str, Any] = {"id": f"{task}-{number}", "task": task, "answer": GUESSES[task](rng)}
    if task == "multiple_choice":
        fields["options"] = tuple(rng.sample(COLORS, 4))
    if task == "grounding":
        fields |= {"image_size": (SIDE, SIDE), "answer": [fields["answer"]]}
    if task == "math":
        a, b, sign = rng.randrange(2, 10), rng.randrange(2, 10), rng.choice("+-*")
        fields |= {"question": f"What is {a} {sign} {b}?", "answer": str(OPERATIONS[sign](a, b))}
    else:
        fields["question"] = QUESTIONS[task].format(rng.choice(THINGS))
    return Sample(**fields)


def forms(task: str, rng: random.Random) -> Iterator[tuple[Sample, str]]:
    """Endless pairs of a row and a completion to imitate: the forms of the corpus of verdicts, right and
    wrong ones, their gold replaced by guesses; ends of the question; several guesses at once.
    """
    texts = [
        (answer.text, answer.row["answer"])
        for answer in read_answers()
        if answer.row["task"] == task and len(answer.text) <= LONGEST and answer.text.isascii()
    ] or [(caption, caption) for caption in CAPTIONS]
    guess = GUESSES[task]
    for number in range(1 << 62):
        sample = make_row(task, number, rng)
        kind = rng.random()
        if kind < 0.7:
            text, gold = rng.choice(texts)
            for item in gold if isinstance(gold, list) else [gold]:
                text = text.replace(
                    json.dumps(item) if isinstance(item, list) else str(item), str(guess(rng))
                )
        elif kind < 0.85:
            words = sample.question.rstrip("?.").split()
            start = rng.randrange(len(words))
            text = " ".join(words[start:]) + rng.choice(("", ".", " = ", f" = {guess(rng)}"))
        else:
            joint = rng.choice((" or ", ", ", " and ", "\n", " ", "; ", " = "))
            text = joint.join(str(guess(rng)) for _ in range(rng.choice((2, 2, 3))))
        yield sample, text
