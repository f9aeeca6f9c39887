"""``mixed-r1 report``: the page about a run, or about several side by side."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mixed_r1.report.compare import Comparison

__all__ = ["add_report_command"]


def add_report_command(app: typer.Typer) -> None:
    app.command(epilog="Example: [cyan]mixed-r1 report runs/a runs/b[/cyan]")(report)


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run directory; it may still be training. Several are compared with the first."),
    ],
    out: Annotated[
        Path | None,
        typer.Option(help="HTML file to write.", show_default="RUN/report.html; of several comparison.html"),
    ] = None,
) -> None:
    """Write one self-contained HTML page about a run: rewards, evaluation, time, reasons and rollouts.

    Of several runs: their greedy answers to the same held-out rows, paired by row, and the settings that
    differ.
    """
    from mixed_r1.report import build_comparison, build_report, compare_runs

    if len(runs) == 1:
        typer.echo(str(build_report(runs[0], out)))
        return
    _show(compare_runs(runs))
    typer.echo(str(build_comparison(runs, out or Path("comparison.html"))))


def _show(comparison: Comparison) -> None:
    from mixed_r1.cli.console import Console, plain_table

    console = Console(file=sys.stdout)
    first, *others = comparison.runs
    table = plain_table("greedy reward on held-out rows after training", ["task", "rows", first.name])
    for run in others:
        for column in (run.name, f"{run.name} - {first.name}"):
            table.add_column(column, justify="right", no_wrap=True)
    for index, row in enumerate(first.rows):
        cells = [f"{row.after:.3f}"]
        for run in others:
            other = run.rows[index]
            cells += [f"{other.after:.3f}", f"{other.difference:+.3f} +- {other.difference_stderr:.3f}"]
        table.add_row(row.task, f"{row.rows:,}", *cells, style="bold" if row.task == "all" else None)
    console.print(table)
    steps = ", ".join(f"{run.name} {run.step:,}" for run in comparison.runs)
    console.print(f"evaluated after step: {steps}", markup=False, highlight=False, soft_wrap=True)
    for key, values in comparison.settings:
        console.print(f"{key}: {', '.join(values)}", markup=False, highlight=False, soft_wrap=True)
