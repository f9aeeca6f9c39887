"""Figures of a set: rows by split, task and source; histograms of lengths, sizes, boxes and difficulty."""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mixed_r1.data.loaders import iter_samples
from mixed_r1.images import open_image
from mixed_r1.schema import Sample

__all__ = ["SetStatistics", "commonest_golds", "set_statistics", "short_gold"]

MAX_GOLD = 64  # characters of a gold that counts as an answer one could give to every question
MAX_GOLDS = 10_000  # different golds of a task that are counted; the commonest come early


# Lower edges of the bins; the last one is open.
_LENGTHS = (0, 8, 16, 32, 64, 128, 256, 512, 1024, 2048)
_SIDES = (0, 64, 128, 256, 384, 512, 768, 1024, 1536, 2048, 4096)
_COUNTS = (0, 1, 2, 3, 4, 6, 8, 16)
_TENTHS = tuple(i / 10 for i in range(10))
_EDGES: dict[str, tuple[float, ...]] = {
    "question characters": _LENGTHS,
    "answer characters": _LENGTHS,
    "images per row": _COUNTS,
    "longer side of images, pixels": _SIDES,
    "boxes per row": _COUNTS,
    "difficulty": _TENTHS,
}


class SetStatistics:
    """Counts rows one at a time."""

    def __init__(self) -> None:
        self._groups: Counter[tuple[str, str, str]] = Counter()
        self._golds: dict[str, Counter[str]] = {}
        self._bins = {name: [0] * len(edges) for name, edges in _EDGES.items()}

    def add(
        self,
        *,
        split: str,
        task: str,
        source: str,
        gold: str | None,
        question_chars: int,
        answer_chars: int,
        sizes: Sequence[tuple[int, int]],
        num_boxes: int,
        difficulty: float | None,
    ) -> None:
        self._groups[split, task, source] += 1
        golds = self._golds.setdefault(task, Counter())
        if gold is not None and (gold in golds or len(golds) < MAX_GOLDS):
            golds[gold] += 1
        self._count("question characters", question_chars)
        self._count("images per row", len(sizes))
        for size in sizes:
            self._count("longer side of images, pixels", max(size))
        if num_boxes:
            self._count("boxes per row", num_boxes)
        else:
            self._count("answer characters", answer_chars)
        if difficulty is not None:
            self._count("difficulty", difficulty)

    def _count(self, name: str, value: float) -> None:
        self._bins[name][max(0, bisect_right(_EDGES[name], value) - 1)] += 1

    def summary(self) -> dict[str, Any]:
        """JSON-ready: rows, rows per split, task and source, and {"edges", "counts"} of each histogram."""
        by: dict[str, Counter[str]] = {"split": Counter(), "task": Counter(), "source": Counter()}
        for (split, task, source), count in self._groups.items():
            by["split"][split] += count
            by["task"][task] += count
            by["source"][source] += count
        return {
            "rows": self._groups.total(),
            **{f"rows by {name}": dict(sorted(counter.items())) for name, counter in by.items()},
            "rows by task and source": [
                {"split": split, "task": task, "source": source, "rows": count}
                for (split, task, source), count in sorted(self._groups.items())
            ],
            "commonest golds": {
                task: {"gold": gold, "share": count / by["task"][task]}
                for task, (gold, count) in _commonest(self._golds).items()
            },
            "histograms": {
                name: {"edges": list(_EDGES[name]), "counts": counts}
                for name, counts in self._bins.items()
                if any(counts)
            },
        }


def short_gold(sample: Sample) -> str | None:
    """The gold, where it is a short text that could be the answer to every question."""
    gold = sample.answer
    return gold if isinstance(gold, str) and len(gold) <= MAX_GOLD else None


def _commonest(golds: Mapping[str, Counter[str]]) -> dict[str, tuple[str, int]]:
    """By task, the commonest gold (of several the first by name) and how often it occurs."""
    first = {task: min(c.items(), key=lambda item: (-item[1], item[0])) for task, c in golds.items() if c}
    return dict(sorted(first.items()))


def commonest_golds(samples: Iterable[Sample]) -> dict[str, tuple[str, float]]:
    """By task whose golds are short texts, the commonest gold and its share: what one answer to every
    question earns of the task's reward (where numbers are taken within a tolerance, a little more)."""
    golds: dict[str, Counter[str]] = {}
    rows: Counter[str] = Counter()
    for sample in samples:
        rows[sample.task] += 1
        if (gold := short_gold(sample)) is not None:
            golds.setdefault(sample.task, Counter())[gold] += 1
    return {task: (gold, count / rows[task]) for task, (gold, count) in _commonest(golds).items()}


def set_statistics(paths: dict[str, str | os.PathLike[str]]) -> dict[str, Any]:
    """Figures of files of samples, split -> path (see ``data_files``); images are opened for their size.

    Raises:
        DataError or ImageError: a row that cannot be used.
    """
    statistics = SetStatistics()
    for split, path in paths.items():
        for sample in iter_samples(path):
            statistics.add(
                split=split,
                task=sample.task,
                source=sample.source,
                gold=short_gold(sample),
                question_chars=len(sample.question),
                answer_chars=len(sample.answer) if isinstance(sample.answer, str) else 0,
                sizes=[open_image(image).size for image in sample.images],
                num_boxes=len(sample.boxes),
                difficulty=sample.difficulty,
            )
    return statistics.summary()
