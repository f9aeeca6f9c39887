"""``mixed-r1 serve``: the arguments of the reward server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mixed_r1.cli.arguments import Embeddings, RewardFile, RewardOverrides

__all__ = ["add_serve_command"]


def add_serve_command(app: typer.Typer) -> None:
    app.command(
        epilog="Example: [cyan]mixed-r1 serve --embeddings MODEL --workers 4 --host 0.0.0.0 "
        "--token-file TOKEN[/cyan]"
    )(serve)


def serve(
    overrides: RewardOverrides = None,
    embeddings: Embeddings = None,
    calibration: Annotated[
        Path | None, typer.Option(help="Training rows that open_ended.preset=robust is calibrated on.")
    ] = None,
    config: RewardFile = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes; they share the table.")] = 1,
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="File of the token clients must show; else MIXED_R1_SERVE_TOKEN in the environment."
        ),
    ] = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Serve other machines without a token.")
    ] = False,
    max_body: Annotated[int, typer.Option(min=1, help="MiB of a request.")] = 32,
    max_completions: Annotated[int, typer.Option(min=1, help="Completions in a request.")] = 1 << 16,
    max_pending: Annotated[int, typer.Option(min=1, help="Requests at once in a worker; above: 503.")] = 256,
    body_seconds: Annotated[float, typer.Option(min=0.001, help="Seconds for a request to arrive.")] = 60.0,
    shutdown_seconds: Annotated[
        int, typer.Option(min=1, help="Seconds for requests under way after SIGTERM.")
    ] = 30,
) -> None:
    """Score batches over HTTP for trainers on other machines, until SIGTERM or Ctrl-C.

    POST /score takes {"completions", "samples"}; POST /get_reward is OpenRLHF's remote reward; GET /health,
    /metrics (Prometheus) and /openapi.json tell of the server itself. Needs extra [b]serve[/b].
    """
    from mixed_r1.rewards import RewardConfig
    from mixed_r1.serve import ServeSettings, run_server

    settings = ServeSettings(
        reward=RewardConfig.load(config, overrides or []),
        embeddings=None if embeddings is None else str(embeddings),
        calibration=None if calibration is None else str(calibration),
        host=host,
        port=port,
        workers=workers,
        token_file=None if token_file is None else str(token_file),
        allow_anonymous=allow_anonymous,
        max_body_bytes=max_body << 20,
        max_completions=max_completions,
        max_pending=max_pending,
        body_seconds=body_seconds,
        shutdown_seconds=shutdown_seconds,
    )
    run_server(settings)
