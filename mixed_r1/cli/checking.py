"""``mixed-r1 data check``, ``look`` and ``convert``: of files of rows, or of the settings of a run."""

from __future__ import annotations

from pathlib import Path

import typer

from mixed_r1.cli.masked import masked_problems
from mixed_r1.data import DataError, check_samples
from mixed_r1.rewards import RewardConfig
from mixed_r1.rewards.config import OpenEndedConfig
from mixed_r1.tasks import load_tasks

SETTINGS = (".yaml", ".yml")

__all__ = ["check_rows", "convert_rows", "look_at_rows"]


def check_rows(path: Path, config: Path | None, overrides: list[str], tasks: list[str]) -> list[DataError]:
    """The problems of the rows of ``path``; notes about them are printed."""
    load_tasks(tasks)
    if path.suffix not in SETTINGS:
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


def look_at_rows(
    path: Path,
    out: Path,
    *,
    rows: int,
    seed: int,
    config: Path | None,
    embeddings: Path | None,
    overrides: list[str],
    tasks: list[str],
) -> None:
    """Write the page and say what is on it."""
    from mixed_r1.looking import look
    from mixed_r1.rewards.load import load_reward

    load_tasks(tasks)
    plain = {"open_ended": OpenEndedConfig()}  # a text is like itself however that is measured
    if path.suffix not in SETTINGS:
        settings = RewardConfig.load(config, overrides)
        reward = load_reward(
            settings.model_copy(update={"open_ended": OpenEndedConfig()}), embeddings=embeddings
        )
        looked = look(path, out, reward, rows=rows, seed=seed)
    else:
        from mixed_r1.train.scoring import effective_config
        from mixed_r1.train_config import TrainConfig

        run = effective_config(TrainConfig.load(path, overrides))
        reward = load_reward(run.reward.model_copy(update=plain), embeddings=embeddings or run.model)
        looked = look(
            run.source(),
            out,
            reward,
            rows=rows,
            seed=seed,
            system_prompt=run.system_prompt,
            clip_boxes=run.clip_boxes,
        )
    for name, earned in looked.short.items():
        typer.echo(f"row {name}: its gold earns {earned:.3g}")
    typer.echo(f"{looked.shown:,} of {looked.usable:,} rows shown, {looked.unusable:,} cannot be used: {out}")


def convert_rows(path: Path, out: Path, overrides: list[str], tasks: list[str]) -> None:
    """Write the rows that can be used as JSONL or Parquet of ours; the others are named."""
    from mixed_r1.data import read_samples, save_samples
    from mixed_r1.data.spec import SourceSpec

    load_tasks(tasks)
    if path.suffix in SETTINGS:
        spec = SourceSpec.load(path, overrides)
    else:
        spec = SourceSpec.load(None, [f"path={path}", *overrides])
    loaded = read_samples(spec)
    for problem in loaded.problems:
        typer.echo(str(problem), err=True)
    count = save_samples(loaded.samples, out)
    typer.echo(f"{count:,} rows written, {len(loaded.problems):,} left out: {out}")
