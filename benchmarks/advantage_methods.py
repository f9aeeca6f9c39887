"""The advantage methods on the embedded data: ``python -m benchmarks.advantage_methods [--seeds 0 1 2]``.

For each seed one starting model (the demo's), from which every method trains with the demo's settings. The
record of a run is the sampled and greedy reward on the held-out rows, before and after, and their paired
change with its standard error over rows. Runs that are in ``--folder`` already are not run again.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, get_args

import numpy as np
from rich.console import Console

from benchmarks.harness import hardware
from mixed_r1.cli.console import plain_table
from mixed_r1.demo import DemoSettings, demo_config, prepare_demo
from mixed_r1.train import TrainConfig, train

RESULTS = Path(__file__).parent / "results"
METHODS: tuple[str, ...] = get_args(TrainConfig.model_fields["advantage"].annotation)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.advantage_methods", description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--steps", type=int, default=DemoSettings.steps, help="GRPO steps of a run")
    parser.add_argument("--folder", type=Path, default=Path("runs/advantage-methods"))
    parser.add_argument("--out", type=Path, help="JSON lines (default: benchmarks/results/<date>-...)")
    options = parser.parse_args()
    out = options.out or RESULTS / f"{datetime.date.today().isoformat()}-advantage_methods.jsonl"
    console = Console()
    records = []
    for seed in options.seeds:
        settings = DemoSettings(seed=seed, steps=options.steps)
        base = options.folder / f"seed-{seed}"
        if not (base / "model").exists():
            prepare_demo(base, settings, console=console)
        for method in options.methods:
            record = run(base, settings, method, console)
            records.append(record)
            with out.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")
            show(console, records)


def run(base: Path, settings: DemoSettings, method: str, console: Console) -> dict[str, Any]:
    """One GRPO run, or what an earlier one left."""
    config = demo_config(base, settings)
    config = TrainConfig.from_mapping({**config.model_dump(), "advantage": method, "out": base / method})
    done = config.out / "summary.json"
    summary = json.loads(done.read_text()) if done.exists() else train(config, resume=True, console=console)
    record: dict[str, Any] = {"op": "advantage_methods", "method": method, "seed": settings.seed}
    for mode, entry in summary["evaluation"].items():
        before, after = ({r["task"]: r["mean"] for r in entry[when]} for when in ("before", "after"))
        record[mode] = {"before": before, "after": after, "change": entry["difference"]}
    metrics = [json.loads(line) for line in (config.out / "metrics.jsonl").read_text().splitlines()]
    last = metrics[-max(1, len(metrics) // 10) :]
    for name in ("entropy", "zero_variance", "grad_norm"):
        record[name] = float(np.mean([line[name] for line in last]))
    return {**record, "steps": len(metrics), **hardware()}


def show(console: Console, records: Iterable[dict[str, Any]]) -> None:
    """Change of the reward by method: mean over seeds, and the change of each seed +- one standard error."""
    rows: dict[str, list[dict[str, Any]]] = {}
    for record in records:
        rows.setdefault(record["method"], []).append(record)
    table = plain_table("change of the sampled reward on held-out rows", ["method", "mean", "each seed"])
    for method, runs in rows.items():
        changes = [record["sampled"]["change"] for record in runs]
        each = ", ".join(f"{change['mean']:+.3f} +- {change['stderr']:.3f}" for change in changes)
        table.add_row(method, f"{np.mean([change['mean'] for change in changes]):+.3f}", each)
    console.print(table)


if __name__ == "__main__":
    main()
