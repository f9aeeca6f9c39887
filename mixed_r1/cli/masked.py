"""Which rows training would mask: for ``mixed-r1 data check``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from mixed_r1.opened import Problem
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Sample
from mixed_r1.tasks import TASKS, known_tasks, task_of

__all__ = ["masked_problems"]

UNKNOWN = (1000, 1000)  # of an image: known when it is shown, and of no matter to whether a row can be scored


@contextmanager
def masked_problems(config: RewardConfig) -> Iterator[Callable[[Sample], Sequence[Problem]]]:
    """A function that says why a row would be masked under ``config``; nothing where it would be scored."""
    own = [task_of(name) for name in known_tasks() if name not in TASKS]
    reward = MixedReward(config=config, tasks=own)

    def judge(sample: Sample) -> Sequence[Problem]:
        sizes = {name: getattr(sample, name) or UNKNOWN for name in ("image_size", "resized_size")}
        row = sample.model_copy(update=sizes)
        found = [problem for _, problem in reward.check([row])]
        if not found and _by_math_verify(row, config):
            gold = config.for_task(row.task, row.reward).in_format(str(row.answer))
            if not reward([gold], [row]).mask[0]:
                found.append(f"answer must be math that math-verify reads, got {row.answer!r}")
        return [Problem(*problem.split(" ", 1)) for problem in found]

    try:
        yield judge
    finally:
        reward.close()


def _by_math_verify(row: Sample, config: RewardConfig) -> bool:
    reader = task_of(row.task).reader
    return reader == "math" and config.for_task(row.task, row.reward).math == "math_verify"
