"""GRPO on a task that mixed_r1 does not know: counting squares, with the reward of counting_task.py.

    python examples/train_counting.py --out runs/counting --steps 20      # two cores, no GPU, no download

Needs ``pip install 'mixed-r1[train]'``. The model is a Qwen2.5-VL of 0.4 M parameters, made and warmed up on
the spot; ``--model DIRECTORY`` takes another.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from mixed_r1.data import load_samples, save_samples
from mixed_r1.data.mini import corpus, sft_target
from mixed_r1.demo.warmup import Example, warm_up
from mixed_r1.models import tiny_adapter
from mixed_r1.report import build_report
from mixed_r1.schema import Sample
from mixed_r1.tasks import load_tasks
from mixed_r1.train import TrainConfig, train

SIDE, CELLS = 48, 3  # an image of 48 x 48 pixels has room for 9 squares


def main() -> None:
    args = parse_args()
    load_tasks(["counting_task:Counting"])  # the rows below are of this task; settings do the same
    rng = np.random.default_rng(args.seed)
    for split, count in (("train", 200), ("validation", 24)):
        save_samples((squares(f"{split}-{i}", rng) for i in range(count)), args.out / f"{split}.jsonl")
    model = args.model or warm_model(args.out, args.warmup_steps)
    config = TrainConfig.from_mapping(
        {
            "model": model,
            "data": args.out / "train.jsonl",
            "validation": args.out / "validation.jsonl",
            "out": args.out / "run",
            "seed": args.seed,
            "steps": args.steps,
            "prompts_per_step": 8,
            "completions_per_prompt": 8,
            "max_new_tokens": 32,
            "lr": 4e-4,
            "freeze": [],
            "completions_every": 1,
            "reward": {
                "custom_tasks": ["counting_task:Counting"],
                "functions": {"short": "counting_task:short"},
                "weights": {"short": 0.1},
            },
        }
    )
    summary = train(config)
    difference = summary["evaluation"]["sampled"]["difference"]
    print(f"mean sampled reward: {difference['mean']:+.3f} (standard error {difference['stderr']:.3f})")
    print(f"report: {build_report(config.out)}")


def squares(name: str, rng: np.random.Generator) -> Sample:
    """A row: some squares on a grid, and how many there are."""
    image = Image.new("RGB", (SIDE, SIDE), "white")
    draw, cell = ImageDraw.Draw(image), SIDE // CELLS
    count = int(rng.integers(1, CELLS**2 + 1))
    for place in rng.choice(CELLS**2, size=count, replace=False):
        x, y = int(place) % CELLS * cell, int(place) // CELLS * cell
        draw.rectangle((x + 3, y + 3, x + cell - 4, y + cell - 4), fill=(30, 60, 200))
    return Sample(
        id=name, task="counting", question="How many squares are there?", images=(image,), answer=count
    )


def warm_model(out: Path, steps: int) -> Path:
    """A small model that has seen the answer format."""
    rows = load_samples(out / "train.jsonl")
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus(rows), seed=0)
    warm_up(adapter, [Example(row, sft_target(row)) for row in rows], steps=steps)
    adapter.save(str(out / "model"))
    return out / "model"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GRPO on a task of one's own.")
    parser.add_argument("--model", type=Path, help="model directory (default: a tiny one is made)")
    parser.add_argument("--out", type=Path, default=Path("runs/counting"))
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--warmup-steps", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


if __name__ == "__main__":
    main()
