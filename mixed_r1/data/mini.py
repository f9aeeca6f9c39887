"""The mini set: a mixed data set of real images small enough for a 0.4 M-parameter model on two cores.

Handwritten digits, photographs and tables that ship in PyPI packages become yes/no, multiple choice, chart,
grounding, caption and text-only rows. Splits share no digit image, no photo region, no table and no pair of
numbers. Row i of a kind depends only on (seed, split, kind, i). ``metadata`` holds ``kind``, ``think`` (the
target reasoning) and ``origins`` (the material of the row).

Golds from a closed list take turns: row i of a yes/no kind has the answer ``("no", "yes")[i % 2]``, row i of
a choice among n options the letter ``"ABC"[i % n]``. So no constant answer earns more than its share, which
reinforcement learning would find sooner than the task itself. Training rows come by the shares of their
kinds, held-out rows with as many of each task.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, overload

import numpy as np

from mixed_r1.data.engine import build
from mixed_r1.data.mini_kinds import KINDS, Fields
from mixed_r1.data.mini_material import SPLITS, Material, load_material
from mixed_r1.data.recipe import Output, Recipe, SourceSpec
from mixed_r1.data.storage import image_payload
from mixed_r1.options import option_lines
from mixed_r1.schema import Sample
from mixed_r1.tasks import task_of

__all__ = ["MINI_RECIPE", "MiniRows", "build_mini", "corpus", "mini_plan", "mini_row", "sft_target"]

_HELD_OUT = {"validation": (0.05, 250), "test": (0.15, 2000)}  # share of all rows, and at most so many

MINI_RECIPE = Path(__file__).parent / "recipes" / "mini.yaml"


def build_mini(
    out_dir: str | os.PathLike[str],
    *,
    seed: int = 0,
    size: int = 5000,
    image_size: int = 48,
    format: Literal["jsonl", "parquet"] = "jsonl",
    workers: int = 1,
) -> dict[str, Path]:
    """Build the recipe ``mini.yaml`` into ``out_dir``; returns split -> its JSONL file, or the stem of its
    Parquet shards.

    ``size`` is the number of rows of all splits together: 5% are validation (at most 250), 15% test (at most
    2,000), the rest is for training. ``workers`` processes draw them. Equal arguments give equal bytes; an
    ``out_dir`` that already holds them is left as it is.

    Raises:
        ValueError: an ``image_size`` that is not a multiple of 3, or below 12.
        BuildError: ``out_dir`` holds other files, or is being built.
    """
    if image_size < 12 or image_size % 3:
        raise ValueError(f"image_size must be a multiple of 3, at least 12, got {image_size}")
    recipe = Recipe.read(MINI_RECIPE)
    source = SourceSpec(
        name="mini", kind="mini", options={"seed": seed, "size": size, "image_size": image_size}
    )
    update = {"seed": seed, "sources": (source,), "output": Output(format=format)}
    result = build(recipe.model_copy(update=update), out_dir, keep_work=False, workers=workers)
    suffix = ".jsonl" if format == "jsonl" else ""
    return {split: result.out / f"{split}{suffix}" for split in SPLITS if split in result.rows}


class MiniRows(Sequence[Sample]):
    """``size`` rows of ``split``, kinds mixed by their shares, each drawn when it is asked for: a stream.

    Rows of each kind are numbered from ``first`` on. Sets of other numbers are fresh: the same digits,
    photographs and tables in new combinations. ``weights`` multiplies the share of a kind (1 where it says
    nothing).
    """

    def __init__(
        self,
        split: str,
        *,
        size: int,
        seed: int = 0,
        first: int = 0,
        image_size: int = 48,
        weights: Mapping[str, float] = {},
    ) -> None:
        self._split, self._seed, self._first, self._image_size = split, seed, first, image_size
        self._material = load_material(seed)[split]
        self._plan = _mixed(size, seed, split, weights)

    def __len__(self) -> int:
        return len(self._plan)

    @overload
    def __getitem__(self, index: int) -> Sample: ...
    @overload
    def __getitem__(self, index: slice) -> list[Sample]: ...
    def __getitem__(self, index: int | slice) -> Sample | list[Sample]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        kind, number = self._plan[index]
        return Sample(
            **mini_row(
                self._material,
                kind,
                self._first + number,
                split=self._split,
                seed=self._seed,
                image_size=self._image_size,
            )
        )


def mini_plan(split: str, *, seed: int, size: int) -> list[tuple[str, int]]:
    """(kind, number) of every row of one split in a seeded order: training rows by the shares of their
    kinds, held-out rows with as many of each task, so that what is measured of each is as certain.
    """
    held_out = {name: min(round(size * share), most) for name, (share, most) in _HELD_OUT.items()}
    if split not in held_out:
        return _mixed(size - sum(held_out.values()), seed, split)
    of_task: dict[str, float] = {}
    for kind in KINDS.values():
        of_task[kind.task] = of_task.get(kind.task, 0) + kind.share
    even = {name: 1 / of_task[kind.task] for name, kind in KINDS.items()}
    return _mixed(held_out[split], seed, split, even)


def _mixed(rows: int, seed: int, split: str, weights: Mapping[str, float] = {}) -> list[tuple[str, int]]:
    counts = _apportion(rows, [kind.share * weights.get(name, 1) for name, kind in KINDS.items()])
    plan = [(kind, i) for kind, count in zip(KINDS, counts, strict=True) for i in range(count)]
    return [plan[k] for k in np.random.default_rng([seed, SPLITS.index(split)]).permutation(len(plan))]


def mini_row(material: Material, kind: str, number: int, *, split: str, seed: int, image_size: int) -> Fields:
    """The fields of one row."""
    rng = np.random.default_rng([seed, SPLITS.index(split), list(KINDS).index(kind), number])
    fields = {"task": KINDS[kind].task, **KINDS[kind].make(material, rng, image_size, number)}
    fields["metadata"] = {
        "kind": kind,
        "split": split,
        "think": fields.pop("think"),
        "origins": fields.pop("origins"),
    }
    image = fields.pop("image", None)
    if image is not None:
        fields["images"] = [image_payload(image)]
    return {"id": f"{split}-{kind}-{number:05d}", **fields}


def sft_target(sample: Sample) -> str:
    """The completion a model should give: ``<think>...</think><answer>...</answer>`` with the right answer.

    Boxes are rendered in ``sample.frame`` as ``[x1, y1, x2, y2]``, several as ``[[...], [...]]``; whole
    numbers without a point.
    """
    answer = task_of(sample.task).written(sample.answer)
    return f"<think>{sample.metadata.get('think', '')}</think><answer>{answer}</answer>"


def corpus(samples: Iterable[Sample]) -> Iterator[str]:
    """Every text of ``samples``: what a tokenizer for them is trained on."""
    for sample in samples:
        yield sample.question
        yield from option_lines(sample.options)
        yield sft_target(sample)


def _apportion(total: int, shares: list[float]) -> list[int]:
    """Whole numbers in proportion to ``shares`` that add up to ``total`` (largest remainders)."""
    exact = [total * share / sum(shares) for share in shares]
    counts = [int(value) for value in exact]
    by_remainder = sorted(range(len(shares)), key=lambda i: counts[i] - exact[i])
    for i in by_remainder[: total - sum(counts)]:
        counts[i] += 1
    return counts
