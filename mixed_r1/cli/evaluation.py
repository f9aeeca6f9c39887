"""``mixed-r1 eval``: one model, one set of rows, greedy and sampled."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from mixed_r1.cli.console import mean_and_error, plain_table
from mixed_r1.config import ConfigError
from mixed_r1.data import read_samples
from mixed_r1.models import load_adapter
from mixed_r1.rollout import SamplingParams
from mixed_r1.run_directory import MODES
from mixed_r1.schema import task_order
from mixed_r1.train import TrainConfig, evaluate, make_reward
from mixed_r1.train.completions import CompletionRows, write_completions
from mixed_r1.train.rows import EvaluationRows, left_out_lines, tell

__all__ = ["run_evaluation"]


def run_evaluation(
    model: Path,
    samples: Path,
    *,
    config: Path | None,
    overrides: list[str],
    out: Path | None,
    console: Console,
) -> list[dict[str, Any]]:
    """Evaluate, print the table, and return the records of both modes.

    ``out`` gets the records where it ends in .jsonl, and where it ends in .parquet the answers, row by row.
    """
    if out is not None and out.suffix not in (".jsonl", ".parquet"):
        raise ConfigError(f"--out must end in .jsonl (means) or .parquet (answers), got {out}")
    paths = [f"model={json.dumps(str(model))}", f"data={json.dumps(str(samples))}", "out=."]
    settings = TrainConfig.load(config, [*paths, *overrides])
    loaded = read_samples(settings.source())
    chosen = EvaluationRows(settings, [], loaded.samples)
    rows = chosen.validation
    tell(console, [*left_out_lines("rows", loaded), chosen.line()])
    device = _device(settings.device)
    adapter = load_adapter(settings.model, device=device, **settings.load_options())
    known = rows
    if config is not None and settings.reward.for_task("open_ended").open_ended.is_calibrated:
        known = read_samples(TrainConfig.load(config, overrides).source()).samples  # as in training
    reward = make_reward(settings, adapter, known)
    records: list[dict[str, Any]] = []
    answers: list[list[dict[str, Any]]] = []
    rows_of = CompletionRows(adapter.tokenizer.decode, None)
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("answering", total=2 * len(rows))
        for params in (SamplingParams.of(settings), SamplingParams.of(settings, greedy=True)):
            result = evaluate(
                adapter,
                rows,
                reward,
                params=params,
                completions_per_sample=settings.eval_completions,
                seed=settings.seed,
                max_rows=settings.max_rollout_rows,
                max_tokens_at_once=settings.rollout_tokens,
                encode_options=settings.encode_options(),
                record=partial(rows_of, mode=MODES[params.temperature > 0]),
                on_progress=lambda count: progress.advance(bar, count),
            )
            records += result.records()
            answers += result.answers_kept
    tell(console, [f"row {name} left out: {problem}" for name, problem in result.skipped.items()])
    _show(console, records)
    if out is not None and out.suffix == ".parquet":
        write_completions(out, answers)
    elif out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return records


def _show(console: Console, records: list[dict[str, Any]]) -> None:
    modes = sorted({record["mode"] for record in records}, reverse=True)
    cells = {(record["task"], record["mode"]): record for record in records}
    table = plain_table("reward (+- one standard error)", ["task", "rows", *modes])
    for task in sorted({record["task"] for record in records}, key=task_order):
        found = [cells[task, mode] for mode in modes]
        table.add_row(
            task,
            str(found[0]["n"]),
            *(mean_and_error(r) for r in found),
            style="bold" if task == "all" else None,
        )
    console.print(table)


def _device(name: str) -> str:
    if name != "auto":
        return name
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
