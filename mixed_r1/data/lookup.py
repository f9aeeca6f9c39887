"""Text rows whose answer is a number in the text: "figs 41, cups 17, pens 8. What is the value of cups?"

The number asked for is the first, second or third equally often, so no fixed place answers more than a third.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mixed_r1.schema import Sample

__all__ = ["lookup_rows"]

THINGS = ("apples", "pears", "plums", "figs", "nuts", "eggs", "cups", "pens", "hats", "dogs", "cats", "keys")
NUMBERS = range(10, 100)


def lookup_rows(split: Literal["train", "test"], *, count: int, seed: int = 0) -> list[Sample]:
    """``count`` rows of task ``math``, no two with the same three numbers in the same order.

    The three numbers decide the split (their sum modulo 5: 0 is ``test``), so no row of one split shares its
    numbers with one of the other.
    """
    rng = np.random.default_rng([seed, split == "test"])
    rows: list[Sample] = []
    seen: set[tuple[int, ...]] = set()
    while len(rows) < count:
        numbers = tuple(int(n) for n in rng.choice(NUMBERS, size=3, replace=False))
        things = [str(thing) for thing in rng.choice(THINGS, size=3, replace=False)]
        if numbers in seen or (sum(numbers) % 5 == 0) != (split == "test"):
            continue
        seen.add(numbers)
        place = len(rows) % 3
        listed = ", ".join(f"{thing} {number}" for thing, number in zip(things, numbers, strict=True))
        rows.append(
            Sample(
                id=f"lookup-{split}-{len(rows):05d}",
                task="math",
                source="lookup",
                question=f"{listed}. What is the value of {things[place]}?",
                answer=str(numbers[place]),
            )
        )
    return rows
