"""What commands print: one console, and the tables several of them share."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from rich import box
from rich.console import Console as RichConsole
from rich.table import Table

from mixed_r1.diagnosis import is_learnt, learnt_sentence
from mixed_r1.schema import task_order

__all__ = ["Console", "mean_and_error", "plain_table", "show_summary"]


def Console(file: TextIO | None = None) -> RichConsole:  # noqa: N802 (it stands for the class)
    """Prints progress to stderr and a command's result to ``file``.

    Where that is not a terminal there is no colour, and lines are as long as they are.
    """
    console = RichConsole(file=file, stderr=file is None, highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console.width = 200
    return console


def plain_table(title: str, columns: Sequence[str]) -> Table:
    """A table with a left first column and right-aligned numbers."""
    table = Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", no_wrap=True)
    return table


def mean_and_error(record: Mapping[str, Any]) -> str:
    mean = record.get("mean")
    return "n/a" if mean is None else f"{mean:.3f} +- {record.get('stderr') or 0.0:.3f}"


def show_summary(console: RichConsole, summary: Mapping[str, Any]) -> None:
    """The evaluations of a training run, greedy answers first: reward by task, before and after, +- one
    standard error, beside what the best constant answer earns; then what went wrong, if anything did."""
    for mode, entry in sorted(summary.get("evaluation", {}).items()):  # greedy, sampled
        after = {record["task"]: record for record in entry["after"]}
        before = {record["task"]: record for record in entry.get("before", ())}
        changes = {**entry.get("by_task", {}), "all": entry.get("difference")}
        columns = ["task", "rows", "constant", *(["before"] if before else []), "after"]
        columns += ["change"] if before else []
        table = plain_table(f"{mode} reward on held-out rows (+- one standard error)", columns)
        for task in sorted(after, key=task_order):
            constant = after[task].get("constant")
            cells = [task, str(after[task]["n"]), f"{constant[1]:.3f}" if constant else ""]
            if before:
                cells.append(mean_and_error(before.get(task, {})))
            cells.append(mean_and_error(after[task]))
            if before:
                cells.append(_change(changes.get(task)))
            table.add_row(*cells, style="bold" if task == "all" else None)
        console.print(table)
        if before and "difference" in entry:
            console.print(_verdict(mode, entry["difference"]), markup=False)
            tasks = [task for task in sorted(after, key=task_order) if task != "all"]
            learnt = [task for task in tasks if _is_learnt(after[task], changes.get(task))]
            console.print(f"{learnt_sentence(learnt)}\n", markup=False, soft_wrap=True)
    for finding in summary.get("findings", ()):
        console.print(f"{finding['text']} {finding['remedy']}", markup=False, soft_wrap=True)


def _is_learnt(after: Mapping[str, Any], change: Mapping[str, Any] | None) -> bool:
    if change is None or after["mean"] is None:
        return False
    constant = (after.get("constant") or (None, None))[1]
    return is_learnt(change["mean"], change["stderr"], after["mean"], after["stderr"], constant)


def _verdict(mode: str, change: Mapping[str, Any]) -> str:
    """The change of all rows in words: beyond two standard errors, or not."""
    answers = "Answers drawn as in training" if mode == "sampled" else "The likeliest answers"
    if abs(change["mean"]) <= 2 * change["stderr"]:
        return f"{answers}: no change beyond chance (two standard errors)."
    how = "better" if change["mean"] > 0 else "worse"
    return f"{answers}: {how} than before training, by {abs(change['mean']):.3f} of 1 on average."


def _change(paired: Mapping[str, Any] | None) -> str:
    return "n/a" if paired is None else f"{paired['mean']:+.3f} +- {paired['stderr']:.3f}"
