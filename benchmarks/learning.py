"""Does it learn? The embedded data under several settings, from one start a seed.

    python -m benchmarks.learning --seeds 0 1 2                                # the demo's settings
    python -m benchmarks.learning --seeds 0 1 2 --families qwen2_5_vl internvl
    python -m benchmarks.learning --compare demo: fast:lr=8e-4,lr_schedule=linear entropy:temperature=1.3
    python -m benchmarks.learning --unseen yes_no multiple_choice  # from a start that cannot see them
    python -m benchmarks.learning --plot benchmarks/results/2026-12-01-learning.jsonl --out curves.png

A setting is ``name:key=value,key=value``, keys those of TrainConfig. Every run of a seed begins with the same
model, the demo's, and answers the same held-out rows before, after and every ``--eval-every`` steps. A record
is one JSON line: the curve of greedy and sampled reward by task against steps, prompts, completions and
processor seconds; the paired changes with their standard errors; entropy and the share of flat groups over
the run; the commonest answer beside the commonest gold and what the best constant answer earns; the mean
cosine of the tasks' gradients; greedy reward on training rows. Runs that ``--folder`` holds are not repeated.

Processor seconds are those of the steps, of all threads of the process, without evaluations.
"""

from __future__ import annotations

import argparse
import datetime
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import yaml
from rich.console import Console

from benchmarks.harness import hardware
from mixed_r1.cli.console import plain_table
from mixed_r1.demo import DemoSettings, demo_config, prepare_demo
from mixed_r1.ranks import Ranks
from mixed_r1.schema import task_order
from mixed_r1.train import TrainConfig, train

RESULTS = Path(__file__).parent / "results"
SEEN = 500  # training rows that are evaluated beside the held-out ones


class Setting(NamedTuple):
    name: str
    changes: dict[str, Any]

    @classmethod
    def read(cls, text: str) -> Setting:
        name, _, rest = text.partition(":")
        pairs = (pair.partition("=") for pair in rest.split(",") if pair)
        return cls(name, {key: yaml.safe_load(value) for key, _, value in pairs})


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--families", nargs="+", default=["qwen2_5_vl"], choices=["qwen2_5_vl", "internvl"])
    parser.add_argument("--compare", type=Setting.read, nargs="+", default=[Setting("demo", {})])
    parser.add_argument("--warmup-steps", type=int, default=DemoSettings.warmup_steps)
    parser.add_argument("--steps", type=int, default=DemoSettings.steps, help="GRPO steps of a run")
    parser.add_argument(
        "--unseen",
        nargs="+",
        default=[],
        metavar="TASK",
        help="warm up on other rows' answers to these tasks: a start that cannot see them",
    )
    parser.add_argument("--eval-every", type=int, default=50)
    parser.add_argument("--folder", type=Path, default=Path("runs/learning"))
    parser.add_argument(
        "--out", type=Path, help="JSON lines (default: benchmarks/results/<date>-learning.jsonl)"
    )
    parser.add_argument(
        "--plot", type=Path, metavar="RECORDS", help="draw recorded curves to --out, run nothing"
    )
    options = parser.parse_args()
    if options.plot:
        draw([json.loads(line) for line in options.plot.read_text().splitlines()], options.out)
        return
    out = options.out or RESULTS / f"{datetime.date.today().isoformat()}-learning.jsonl"
    console, records = Console(), []
    for family in options.families:
        for seed in options.seeds:
            settings = DemoSettings(
                family, seed, options.warmup_steps, options.steps, unseen=tuple(options.unseen)
            )
            base = options.folder / "-".join([family, str(seed), str(options.warmup_steps), *options.unseen])
            if not (base / "model").exists():
                with Ranks() as ranks:
                    prepare_demo(base, settings, console=console, ranks=ranks)
            for setting in options.compare:
                records.append(run(base, settings, setting, options.eval_every, console))
                with out.open("a", encoding="utf-8") as stream:
                    stream.write(json.dumps(records[-1]) + "\n")
                show(console, records)


def run(
    base: Path, settings: DemoSettings, setting: Setting, eval_every: int, console: Console
) -> dict[str, Any]:
    """One GRPO run, or what an earlier one left."""
    changes = {
        "eval_every": eval_every,
        "eval_train_samples": SEEN,
        "task_gradients_every": 10,
        **setting.changes,
        "out": base / setting.name,
    }
    config = TrainConfig.from_mapping({**demo_config(base, settings).model_dump(), **changes})
    done = config.out / "summary.json"
    summary = json.loads(done.read_text()) if done.exists() else train(config, resume=True, console=console)
    return {
        "op": "learning",
        "setting": setting.name,
        "changes": setting.changes,
        "family": settings.family,
        "seed": settings.seed,
        "warmup_steps": settings.warmup_steps,
        "unseen": list(settings.unseen),
        **summary_of(config, summary),
        **hardware(),
    }


def summary_of(config: TrainConfig, summary: Mapping[str, Any]) -> dict[str, Any]:
    """What a finished run says about learning."""
    metrics, evaluations = (_lines(config.out / f"{name}.jsonl") for name in ("metrics", "evaluation"))
    seconds = np.concatenate([[0.0], np.cumsum([line["time/cpu"] for line in metrics])])
    per_step = config.prompts_per_step, config.prompts_per_step * config.completions_per_prompt
    curve: dict[int, dict[str, Any]] = {}
    for line in evaluations:
        step = line["step"]
        point = curve.setdefault(
            step,
            {
                "step": step,
                "prompts": step * per_step[0],
                "completions": step * per_step[1],
                "processor_seconds": round(float(seconds[step]), 1),
            },
        )
        mode = line["mode"] if line["split"] == "validation" else "greedy_on_training_rows"
        point.setdefault(mode, {})[line["task"]] = [line["mean"], line["stderr"]]
    after = summary["evaluation"]["greedy"]["after"]
    tenth = max(1, len(metrics) // 10)
    cosines = sorted({key for line in metrics for key in line if key.startswith("gradient/cosine/")})
    return {
        "steps": len(metrics),
        "curve": [curve[step] for step in sorted(curve)],
        "change": {
            mode: {
                task: [difference["mean"], difference["stderr"]]
                for task, difference in {**entry["by_task"], "all": entry["difference"]}.items()
            }
            for mode, entry in summary["evaluation"].items()
        },
        "answers": {
            line["task"]: {key: line[key] for key in ("commonest_answer", "commonest_gold", "constant")}
            for line in after
            if line["task"] != "all"
        },
        "findings": [finding["kind"] for finding in summary["findings"]],
        **{
            name: [_mean(metrics[:tenth], name), _mean(metrics[-tenth:], name)]
            for name in ("entropy", "zero_variance", "grad_norm")
        },
        "gradient_cosines": {key.removeprefix("gradient/cosine/"): _mean(metrics, key) for key in cosines},
    }


def show(console: Console, records: Sequence[Mapping[str, Any]]) -> None:
    tasks = sorted(records[-1]["change"]["greedy"], key=task_order)
    table = plain_table("change of the greedy reward on held-out rows (+- one standard error)", [])
    for column in ("family", "seed", "setting", *tasks, "seconds"):
        table.add_column(column, no_wrap=True)
    for record in records:
        change = record["change"]["greedy"]
        cells = [f"{change[task][0]:+.3f} +- {change[task][1]:.3f}" for task in tasks if task in change]
        cost = f"{record['curve'][-1]['processor_seconds']:.0f}"
        table.add_row(record["family"], str(record["seed"]), record["setting"], *cells, cost)
    console.print(table)


def draw(records: Sequence[Mapping[str, Any]], out: Path | None) -> None:
    """Greedy reward over all rows against prompts and processor seconds, a line a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(10, 4), sharey=True, layout="constrained")
    for axis, key in zip(axes, ("prompts", "processor_seconds"), strict=True):
        for record in records:
            points = [point for point in record["curve"] if "greedy" in point]
            means, errors = np.array([point["greedy"]["all"] for point in points]).T
            label = f"{record['family']} {record['setting']}, seed {record['seed']}"
            axis.errorbar([p[key] for p in points], means, errors, label=label, capsize=2, marker="o", ms=3)
        axis.set_xlabel(key.replace("_", " "))
    axes[0].set_ylabel("greedy reward on held-out rows")
    axes[0].legend(fontsize="small")
    figure.savefig(out or "learning.png", dpi=120)


def _mean(lines: Sequence[Mapping[str, Any]], key: str) -> float | None:
    values = [line[key] for line in lines if line.get(key) is not None]
    return round(float(np.mean(values)), 4) if values else None


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


if __name__ == "__main__":
    main()
