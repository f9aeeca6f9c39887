"""``mixed-r1 demo --weights``: the demo on pretrained weights."""

from __future__ import annotations

from pathlib import Path

import typer

from mixed_r1.cli.console import Console, show_summary

__all__ = ["run_weights_demo"]


def run_weights_demo(
    weights: str,
    out: Path,
    *,
    seed: int,
    family: str,
    processes: int | None,
    warmup_steps: int | None,
    steps: int | None,
    held_out: int | None,
) -> None:
    """Train, print the tables and the control with blank images, write the report."""
    if weights != "smollm2":
        raise typer.BadParameter(f"must be smollm2, got {weights}", param_hint="--weights")
    if family not in ("internvl", "qwen2_5_vl"):  # the second is the default of the option
        raise typer.BadParameter(
            f"must be internvl where --weights is smollm2, got {family}", param_hint="--family"
        )
    if processes not in (None, 1):  # each process would hold the whole model
        raise typer.BadParameter(
            f"must be 1 where --weights is given, got {processes}", param_hint="--processes"
        )
    from mixed_r1.demo.real_weights import RealWeightsSettings, run_real_weights
    from mixed_r1.report import build_report

    given = {"warmup_steps": warmup_steps, "steps": steps, "test_rows": held_out}
    settings = RealWeightsSettings(seed=seed, **{key: v for key, v in given.items() if v is not None})
    console = Console()
    summary = run_real_weights(out, settings, console=console)
    show_summary(console, summary)
    for when, record in summary["control"].items():
        console.print(
            f"greedy reward of {record['rows']} image questions {when} training: {record['image']:.3f} with "
            f"the image, {record['blank']:.3f} with a blank one ({record['difference']:+.3f} +- "
            f"{record['stderr']:.3f})",
            markup=False,
            soft_wrap=True,
        )
    console.print(f"report: {build_report(out / 'run')}", markup=False, soft_wrap=True)
