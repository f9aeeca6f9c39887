"""Arguments and options that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

__all__ = ["Embeddings", "Overrides", "OwnTasks", "RewardFile", "RewardOverrides"]

Overrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Settings, values read as YAML.", show_default=False),
]
OwnTasks = Annotated[
    list[str] | None,
    typer.Option(
        metavar="MODULE:CLASS", help="A task of your own that rows have; may be repeated.", show_default=False
    ),
]
RewardOverrides = Annotated[
    list[str] | None,
    typer.Argument(metavar="KEY=VALUE", help="Reward settings, values read as YAML.", show_default=False),
]
RewardFile = Annotated[Path | None, typer.Option(help="YAML file of reward settings.")]
Embeddings = Annotated[
    Path | None,
    typer.Option(help="Model directory whose tokenizer and input embeddings BMAS uses (open_ended)."),
]
