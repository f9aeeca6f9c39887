"""``mixed-r1 help`` and ``mixed-r1 doctor``: what can be set, and what can be run."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from mixed_r1.reference import Section

__all__ = ["add_doctor_command", "add_help_command"]


def add_help_command(app: typer.Typer) -> None:
    app.command(name="help", epilog="Example: [cyan]mixed-r1 help temperature[/cyan]")(show_help)


def add_doctor_command(app: typer.Typer) -> None:
    app.command(epilog="Example: [cyan]mixed-r1 doctor[/cyan]")(doctor)


def doctor() -> None:
    """Show what this machine and installation can run: kernels, instruction sets, GPU, packages, tools."""
    from mixed_r1.cli.console import Console
    from mixed_r1.cli.doctor import show_doctor

    show_doctor(Console(file=sys.stdout))


def show_help(
    key: Annotated[
        str | None,
        typer.Argument(
            help="A setting (lr, reward.box_score), a section (optimizer, recipe.dedup, source.coco), or "
            "what another trainer calls it. Without one: all sections."
        ),
    ] = None,
) -> None:
    """Say what a setting means: its values, default, and an example; or list the settings of a section."""
    from mixed_r1.foreign_names import hints
    from mixed_r1.reference import look_up, sections

    if key is None:
        _list(sections())
        return
    found = look_up(key)
    for note in dict.fromkeys(hints(key)):
        typer.secho(note, dim=True)
    settings = [(section, setting) for section in found for setting in section.settings]
    if len(settings) > 1:
        _table(found)
        return
    for section, setting in settings:
        typer.secho(setting.name, bold=True, nl=False)
        typer.echo(f"  ({section.title})")
        typer.echo(setting.meaning)
        typer.echo(f"  values   {setting.values}")
        typer.echo(f"  default  {setting.default or 'required'}")
        typer.echo(f"  example  {setting.example}")


def _list(found: Sequence[Section]) -> None:
    for section in found:
        name = section.name or section.title.partition(": ")[2].lower()
        typer.secho(f"{name:<24}", bold=True, nl=False)
        typer.echo(", ".join(setting.key for setting in section.settings))
    typer.echo("mixed-r1 help KEY explains one; mixed-r1 help SECTION all of a section")


def _table(found: Sequence[Section]) -> None:
    from mixed_r1.cli.console import Console, plain_table

    console = Console(file=sys.stdout)
    for section in found:
        table = plain_table(section.title, ["key"])
        for column in ("values", "default", "meaning"):
            table.add_column(column, overflow="fold")
        for setting in section.settings:
            table.add_row(setting.name, setting.values, setting.default or "required", setting.meaning)
        console.print(table)
