"""``mixed-r1 data build | mix | card | stats``: the data engine on the command line."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from mixed_r1.cli.arguments import Overrides, OwnTasks

__all__ = ["add_data_commands"]

Splits = Annotated[
    list[str],
    typer.Argument(metavar="[SPLIT=]PATH...", help="Rows: .jsonl, .parquet, or the stem of one."),
]


def add_data_commands(data: typer.Typer) -> None:
    """Register the commands on the ``data`` group."""
    data.command(epilog="Example: [cyan]mixed-r1 data build recipe.yaml --out data/mixed[/cyan]")(build)
    data.command(epilog="Example: [cyan]mixed-r1 data mix --surrogate runs.csv[/cyan]")(mix)
    data.command(epilog="Example: [cyan]mixed-r1 data card train=data/train --out card.html[/cyan]")(card)
    data.command(epilog="Example: [cyan]mixed-r1 data stats data/train.jsonl[/cyan]")(stats)


def build(
    recipe: Annotated[Path, typer.Argument(help="YAML recipe; its relative paths are those of its folder.")],
    out: Annotated[Path, typer.Option(help="Directory for the set; new, empty or an earlier build.")],
    overrides: Overrides = None,
    engine: Annotated[
        Literal["local", "ray"], typer.Option(help="Where partitions are worked on.")
    ] = "local",
    workers: Annotated[
        int, typer.Option(min=0, help="Processes, or on Ray jobs at once; 0: all there are.")
    ] = 1,
    embeddings: Annotated[
        Path | None, typer.Option(help="Model directory for BMAS, where difficulty scores open_ended rows.")
    ] = None,
    keep_work: Annotated[bool, typer.Option(help="Keep OUT/.work, to redo only what changes.")] = True,
) -> None:
    """Build a curated set from a recipe: sources, filters, deduplication, difficulty, balance, splits.

    Run it again after a crash or a change: it does what is missing. Equal inputs give equal bytes.
    """
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    from mixed_r1.cli.console import Console, plain_table
    from mixed_r1.data.engine import build as run_build
    from mixed_r1.data.recipe import Recipe
    from mixed_r1.difficulty import open_difficulty

    settings = Recipe.read(recipe, tuple(overrides or ()))
    sampler, scorer = (None, None) if settings.difficulty is None else open_difficulty(settings, embeddings)
    columns = (TextColumn("{task.description:<14}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console()) as bars:
        shown: dict[str, Any] = {}

        def progress(stage: str, done: int, total: int) -> None:
            if stage not in shown:
                shown[stage] = bars.add_task(stage)
            bars.update(shown[stage], completed=done, total=total)

        result = run_build(
            settings,
            out,
            engine=engine,
            workers=workers,
            sampler=sampler,
            scorer=scorer,
            keep_work=keep_work,
            progress=progress,
        )
    table = plain_table(f"{settings.name}: rows", ["", "rows"])
    for split, count in sorted(result.rows.items()):
        table.add_row(split, f"{count:,}")
    for stage, reasons in result.dropped.items():
        for reason, count in reasons.items():
            table.add_row(f"dropped by {stage}: {reason}", f"{count:,}")
    Console(file=sys.stdout).print(table)
    typer.echo(f"{'up to date' if result.up_to_date else 'built'}: {result.out / 'card.html'}")


def mix(
    path: Annotated[
        Path | None, typer.Argument(help="Rows to mix: .jsonl, .parquet, or the stem of one.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="equal, proportional, or a YAML mapping such as '{chart: 2, math: 1}'.")
    ] = "proportional",
    by: Annotated[Literal["source", "task"], typer.Option(help="What is mixed.")] = "source",
    surrogate: Annotated[
        Path | None, typer.Option(help="CSV of seed runs: a weight column per source, and the score.")
    ] = None,
    score: Annotated[str, typer.Option(help="The score's column in the CSV.")] = "score",
    seed: Annotated[int, typer.Option(help="Seed of the resampling.")] = 0,
) -> None:
    """Show the shares of a mixture, or propose one from the results of seed runs.

    The proposal maximises a quadratic surrogate fitted to the runs; it comes with an interval from resampled
    runs, and with a warning where the runs do not support it.
    """
    if (path is None) == (surrogate is None):
        raise typer.BadParameter("must be given as rows or as --surrogate, one of the two", param_hint="path")
    if surrogate is not None:
        _show_surrogate(surrogate, score, seed)
    elif path is not None:
        _show_shares(path, weights, by)


def _show_shares(path: Path, weights: str, by: str) -> None:
    from collections import Counter

    import yaml

    from mixed_r1.cli.console import Console, plain_table
    from mixed_r1.data import iter_samples
    from mixed_r1.data.mixture import mixture_weights

    sizes = dict(sorted(Counter(str(getattr(sample, by)) for sample in iter_samples(path)).items()))
    chosen: Any = weights if weights in ("equal", "proportional") else yaml.safe_load(weights)
    try:
        shares = mixture_weights(sizes, chosen)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--weights") from None
    table = plain_table(f"mixture by {by}", [by, "rows", "share", "passes per 1,000 draws"])
    for name, share in shares.items():
        table.add_row(name, f"{sizes[name]:,}", f"{share:.3f}", f"{1000 * share / sizes[name]:.3f}")
    Console(file=sys.stdout).print(table)


def _show_surrogate(path: Path, score: str, seed: int) -> None:
    from mixed_r1.cli.console import Console, plain_table
    from mixed_r1.data.surrogate import fit_surrogate, read_runs

    try:
        fit = fit_surrogate(*read_runs(path, score=score), seed=seed)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--surrogate") from None
    table = plain_table("proposed mixture", ["source", "weight", "10%", "90%", "best run"])
    for name, (weight, low, high) in fit.proposal.items():
        table.add_row(name, f"{weight:.3f}", f"{low:.3f}", f"{high:.3f}", f"{fit.best_run[name]:.3f}")
    Console(file=sys.stdout).print(table)
    typer.echo(f"predicted {fit.predicted:.4g} +- {fit.predicted_std:.2g}, best run {fit.best_score:.4g}")
    typer.echo(
        f"{fit.num_runs} runs, {fit.num_coefficients} coefficients, left-out R2 {fit.cv_r2:.2f}, "
        f"RMSE {fit.cv_rmse:.3g}"
    )
    for warning in fit.warnings:
        typer.secho(f"warning: {warning}", fg="yellow", err=True)


def card(
    paths: Splits,
    out: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("card.html"),
    title: Annotated[str, typer.Option(help="Title of the page.")] = "data set",
    task: OwnTasks = None,
) -> None:
    """Write a page about a set: rows by task and source, distributions, sample rows with their boxes.

    ``data build`` writes one by itself, with the dropped rows by reason.
    """
    from mixed_r1.data.card import card_of_files
    from mixed_r1.tasks import load_tasks

    load_tasks(task or ())
    card_of_files(_named(paths), out, title=title)
    typer.echo(str(out))


def stats(paths: Splits, task: OwnTasks = None) -> None:
    """Print a set's figures as JSON: rows by split, task and source, and histograms."""
    from mixed_r1.data.stats import set_statistics
    from mixed_r1.tasks import load_tasks

    load_tasks(task or ())
    typer.echo(json.dumps(set_statistics(dict(_named(paths))), indent=1))


def _named(paths: list[str]) -> Mapping[str, Path]:
    """``train=data/train`` is split train; a bare path is named by its stem."""
    named: dict[str, Path] = {}
    for given in paths:
        split, separator, path = given.partition("=")
        found = Path(path if separator else given)
        named[split if separator else found.stem] = found
    return named
