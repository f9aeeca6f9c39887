"""Millions of random completions: the native ``verify`` against its reference, every field bit-equal.

    python -m tests.fuzz.differential --inputs 1000000 --seed 0

Prints a line at the end and exits with 1 at the first mismatch, which it prints. "Judged" are those whose
answer was found and read against a valid gold.
"""

from __future__ import annotations

import argparse
import random
import sys
import time

import numpy as np

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import CompiledGold, VerifySettings, compile_gold, verify
from tests.rewards.completion_pieces import BRACKETS, MATH, NUMBERS, SHAPES, TAGS, WORDS

POOLS = (
    (NUMBERS + BRACKETS, ""),
    (WORDS, " "),
    (WORDS + BRACKETS + NUMBERS, ""),
    (TAGS + BRACKETS + NUMBERS, ""),
    (MATH + NUMBERS + BRACKETS, ""),
    (MATH + ["1", "2", "3", *BRACKETS[:6]], ""),
    (NUMBERS, ", "),
    (TAGS + WORDS, " "),
)
FITTING = {
    "think_answer": SHAPES[0],
    "answer": SHAPES[3],
    "boxed": SHAPES[4],
    "think_boxed": SHAPES[12],
    "none": SHAPES[2],
}
CHOICES = [
    *"ABCDabcd",
    "(A)",
    "B.",
    "option ",
    "answer: ",
    "The answer is ",
    "not ",
    "or",
    "and",
    " ",
    ": ",
    " - ",
    "$",
    "It is ",
    "is wrong",
    "rule out ",
    "Point ",
    "\n",
    "\u9009",
    "**",
    ", ",
    "=",
]
UNJUDGED = (*range(Reason.EMPTY, Reason.AMBIGUOUS), Reason.BAD_GOLD)
BATCH = 64


def answer_text(rng: random.Random) -> str:
    kind = rng.random()
    if kind < 0.1:
        return "".join(
            chr(rng.choice((rng.randrange(32, 127), rng.randrange(0x3000)))) for _ in range(rng.randrange(12))
        )
    if kind < 0.2:
        return str([[rng.randint(-5, 1000) for _ in range(4)] for _ in range(rng.randrange(4))])
    pool, glue = rng.choice(POOLS)
    return glue.join(rng.choices(pool, k=rng.randrange(1, 3 if kind < 0.4 else 10)))


def completion(rng: random.Random, compiled: CompiledGold) -> str:
    """Mostly in the form that the gold asks for; its own answer and options are met often."""
    spec, kind = compiled.spec, rng.random()
    answer = answer_text(rng)
    if spec.options and kind < 0.6:
        answer = "".join(rng.choices([*CHOICES, *spec.options], k=rng.randrange(1, 6)))
    elif isinstance(spec.answer, str) and kind < 0.1:
        answer = spec.answer
    elif isinstance(spec.answer, tuple) and kind < 0.3:
        answer = rng.choice((", ", ";", "\n", ",\n")).join(spec.answer)
    shape = FITTING[spec.settings.format] if rng.random() < 0.8 else rng.choice(SHAPES)
    text = shape.format(answer)
    if rng.random() < 0.2 and text:  # a mutation: one character gone, doubled, or another
        i = rng.randrange(len(text))
        text = text[:i] + rng.choice(("", text[i] * 2, chr(rng.randrange(0x250)), "\ud800")) + text[i + 1 :]
    return text


def gold(rng: random.Random) -> CompiledGold:
    settings = VerifySettings(
        format=rng.choice(("think_answer", "think_answer", "answer", "boxed", "think_boxed", "none")),  # type: ignore[arg-type]
        chart_score=rng.choice(("relaxed", "graded")),  # type: ignore[arg-type]
        chart_text=rng.choice(("exact", "anls")),  # type: ignore[arg-type]
        chart_tolerance=rng.choice((0.05, 0.0, 0.5)),
        max_bytes=rng.choice((1 << 20,) * 9 + (40,)),
        max_answer_bytes=rng.choice((4096,) * 9 + (12,)),
        max_items=rng.choice((64, 2)),
        max_boxes=rng.choice((256, 1)),
        max_depth=rng.choice((64, 2)),
        think=rng.choice(("written", "written", "prefilled")),  # type: ignore[arg-type]
        box=rng.choice(("only", "last")),  # type: ignore[arg-type]
        list_order=rng.choice(("auto", "ordered", "any")),  # type: ignore[arg-type]
        chart_years=rng.choice(("exact", "tolerant")),  # type: ignore[arg-type]
        places=rng.choice(("boxes", "boxes", "point")),  # type: ignore[arg-type]
    )
    task = rng.choice(
        ("yes_no", "multiple_choice", "chart", "chart", "math", "math", "grounding", "open_ended")
    )
    if task == "yes_no":
        return compile_gold(task, rng.choice(("yes", "no")), settings=settings)
    if task == "multiple_choice":
        options = rng.choices([*WORDS, *NUMBERS, "a dog", "A cat."], k=rng.randrange(1, 6))
        if rng.random() < 0.1:
            options = [f"{letter}. {option}" for letter, option in zip("ABCDE", options, strict=False)]
        return compile_gold(
            task, rng.choice(("A", "B", "C", "D", "E", "AC")), options=options, settings=settings
        )
    if task == "chart" and rng.random() < 0.3:
        return compile_gold(
            task, tuple(answer_text(rng) for _ in range(rng.randrange(1, 4))), settings=settings
        )
    if task in ("chart", "math"):
        answer = rng.choice((rng.choice(NUMBERS), answer_text(rng)))
        return compile_gold(task, answer, settings=settings)
    return compile_gold(task, None, settings=settings)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--inputs", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng, start = random.Random(args.seed), time.perf_counter()
    done = judged = won = 0
    while done < args.inputs:
        compiled = gold(rng)
        texts = [completion(rng, compiled) for _ in range(BATCH)]
        native, reference = (
            verify(texts, [compiled], gold_of=[0] * BATCH, impl=impl) for impl in ("native", "reference")
        )
        pairs = zip(native._fields, native, reference, strict=True)
        differ = [name for name, a, b in pairs if not np.array_equal(a, b, equal_nan=a.dtype.kind == "f")]
        if differ or compiled.native.valid != (compiled.error is None):
            print(
                f"mismatch in {differ or 'validity'}: {compiled!r} {compiled.spec.settings}", texts, sep="\n"
            )
            print(native, reference, sep="\n")
            return 1
        done += BATCH
        judged += int((~np.isin(native.task_reason, UNJUDGED)).sum())
        won += int((native.task_value == 1.0).sum())
    seconds = time.perf_counter() - start
    print(f"{done} inputs, seed {args.seed}, 0 mismatches; {judged} judged, {won} right; {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
