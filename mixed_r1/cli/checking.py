"""``mixed-r1 data check``: of a file of rows, or of the settings of a run."""

from __future__ import annotations

from pathlib import Path

import typer

from mixed_r1.cli.masked import masked_problems
from mixed_r1.data import DataError, check_samples
from mixed_r1.rewards import RewardConfig
from mixed_r1.tasks import load_tasks

__all__ = ["check_rows"]


def check_rows(path: Path, config: Path | None, overrides: list[str], tasks: list[str]) -> list[DataError]:
    """The problems of the rows of ``path``; notes about them are printed."""
    load_tasks(tasks)
    if path.suffix not in (".yaml", ".yml"):
        with masked_problems(RewardConfig.load(config, overrides)) as judge:
            return check_samples(path, judge=judge)
    from mixed_r1.checking import check_run
    from mixed_r1.train.scoring import effective_config
    from mixed_r1.train_config import TrainConfig

    settings = effective_config(TrainConfig.load(path, overrides))
    with masked_problems(settings.reward) as judge:
        checked = check_run(settings, judge)
    for note in checked.notes:
        typer.echo(note, err=True)
    return checked.problems
