"""The rows of a run: read once, told what is left out, and some of them chosen for evaluation."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console

from mixed_r1.data import Loaded, read_samples
from mixed_r1.data.mixture import held_out
from mixed_r1.schema import Sample, task_order
from mixed_r1.train_config import TrainConfig

__all__ = ["EvaluationRows", "RunRows", "left_out_lines", "tell"]

SHOWN = 3  # bad rows that are printed at the start of a run


class EvaluationRows:
    """The rows that every evaluation of a run answers: held-out ones, and some of those it trains on.

    They are a seeded choice, tasks in proportion: the first rows of a built file are all of one source.
    """

    def __init__(self, config: TrainConfig, samples: Sequence[Sample], held: Sequence[Sample]) -> None:
        self.validation = held_out(held, config.eval_samples) if held else []
        self.seen = held_out(samples, config.eval_train_samples) if config.eval_train_samples else []
        self.num_held = len(held)

    def line(self) -> str:
        """What is evaluated, for a terminal; "" where nothing is."""
        if not self.validation:
            return ""
        tasks = Counter(sample.task for sample in self.validation)
        shown = ", ".join(f"{tasks[task]:,} {task}" for task in sorted(tasks, key=task_order))
        return f"evaluating {len(self.validation):,} of {self.num_held:,} validation rows: {shown}"


class RunRows:
    """``train`` and ``evaluation`` rows of a run; ``messages`` say what was left out of the files.

    Raises:
        DataError: a file that cannot be read, or holds no row that can be used.
    """

    def __init__(self, config: TrainConfig) -> None:
        loaded = read_samples(config.source())
        self.train = loaded.samples
        self.messages = left_out_lines("data", loaded)
        held: list[Sample] = []
        if config.validation is not None:
            validation = read_samples(config.source("validation"))
            held = validation.samples
            self.messages += left_out_lines("validation", validation)
        self.evaluation = EvaluationRows(config, self.train, held)


def left_out_lines(name: str, loaded: Loaded) -> list[str]:
    """What is not used of the rows that the setting ``name`` names, for a terminal."""
    lines = []
    if loaded.problems:
        total = len(loaded.problems) + len(loaded.samples)
        lines.append(f"{name}: {len(loaded.problems):,} of {total:,} rows left out (see mixed-r1 data check)")
        lines += [f"  {problem}" for problem in loaded.problems[:SHOWN]]
    if loaded.renamed:
        lines.append(f"{name}: {loaded.renamed:,} rows repeat an id and are told apart by their place")
    if loaded.ignored:
        lines.append(f"{name}: columns that are not used: {', '.join(sorted(loaded.ignored))}")
    return lines


def tell(console: Console, lines: Sequence[str]) -> None:
    """Print ``lines`` as they are, of any length."""
    for line in lines:
        console.print(line, style="yellow", markup=False, highlight=False, soft_wrap=True)
