"""Memory of training, against the size of its file and the number of its prompts.

    python -m benchmarks.data_memory                    # 6 MB and 600 MB of Parquet, 8 to 256 prompts a step
    python -m benchmarks.data_memory --large 50 --prompts 4 16   # smaller

Two measures, each in a process of its own:

- the most resident memory of a run of two steps on a Parquet file of noise images, for a small and a large
  file. The images are read when a row is drawn, so the large one may cost 0.5 GB more at most;
- the most bytes of tensors alive while the vision tower makes the features of a rollout, without these
  features themselves, for several numbers of prompts. It must not grow by more than a tenth from the
  smallest number that fills a pass.

Exits with 1 where one of the two is over its bar.
"""

from __future__ import annotations

import argparse
import datetime
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from benchmarks.harness import hardware
from mixed_r1.cli.console import plain_table

RESULTS = Path(__file__).parent / "results"
SIDE = 256  # of the images, which noise makes as large as their pixels: 196 KB each
MAX_GROWTH_MB = 500
MAX_TOWER_RATIO = 1.1
PASS_TOKENS = 2048  # image tokens of a vision pass here: 8 images


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.data_memory",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--small", type=int, default=6, metavar="MB")
    parser.add_argument("--large", type=int, default=600, metavar="MB")
    parser.add_argument("--prompts", type=int, nargs="+", default=[8, 32, 256])
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/<date>-data_memory.jsonl")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        kind, what = options.measure
        print(json.dumps(run_bytes(Path(what)) if kind == "run" else tower_bytes(int(what))))
        return
    record = compare((options.small, options.large), options.prompts, Console())
    out = options.out or RESULTS / f"{datetime.date.today().isoformat()}-data_memory.jsonl"
    with out.open("a", encoding="utf-8") as stream:
        stream.write(json.dumps({"op": "data_memory", **record, **hardware()}) + "\n")
    sys.exit(0 if record["growth_mb"] <= MAX_GROWTH_MB and record["tower_ratio"] <= MAX_TOWER_RATIO else 1)


def compare(sizes: tuple[int, int], prompts: Sequence[int], console: Console) -> dict[str, Any]:
    """Measure and print; ``sizes`` of the two files in MB."""
    resident: dict[str, float] = {}
    for megabytes in sizes:
        with tempfile.TemporaryDirectory() as folder:
            make_run(Path(folder), megabytes)
            resident[f"{megabytes} MB"] = _measured("run", folder) / 1e6
    table = plain_table("most resident memory of a run of two steps", ["Parquet", "megabytes resident"])
    for name, value in resident.items():
        table.add_row(name, f"{value:,.0f}")
    console.print(table)

    tower = {count: _measured("tower", str(count)) / 1e6 for count in prompts}
    table = plain_table("most tensors of a vision pass", ["prompts", "megabytes beside the features"])
    for count, megabytes in tower.items():
        table.add_row(str(count), f"{megabytes:,.1f}")
    console.print(table)
    small, large = resident.values()
    return {
        "resident_mb": resident,
        "growth_mb": large - small,
        "tower_mb": tower,
        "tower_ratio": max(tower.values()) / tower[min(tower)],
    }


def make_run(folder: Path, megabytes: int) -> None:
    """A model, ``megabytes`` of rows in row groups as our files have them, and the settings of a run."""
    from mixed_r1.data.parquet import SampleWriter
    from mixed_r1.models import tiny_adapter
    from mixed_r1.schema import Sample

    tiny_adapter("qwen2_5_vl", corpus=["Is it bright? yes no"], seed=0).save(folder / "model")
    rng = np.random.default_rng(0)
    with SampleWriter(folder / "rows.parquet") as writer:
        for number in range(megabytes * 10**6 // (3 * SIDE * SIDE)):
            pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
            image = Image.fromarray(pixels)
            row = Sample(
                id=str(number), task="yes_no", question="Is it bright?", answer="yes", images=(image,)
            )
            writer.add(row)
    settings = {
        "model": str(folder / "model"),
        "data": str(folder / "rows.parquet"),
        "out": str(folder / "run"),
    }
    sizes = {"steps": 2, "prompts_per_step": 4, "completions_per_prompt": 2, "max_new_tokens": 4}
    (folder / "run.json").write_text(json.dumps({**settings, **sizes}))


def run_bytes(folder: Path) -> int:
    """The most resident memory of this process once it has trained as ``make_run`` says."""
    from mixed_r1.train import TrainConfig, train

    train(
        TrainConfig.from_mapping(json.loads((folder / "run.json").read_text())), console=Console(quiet=True)
    )
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def tower_bytes(count: int) -> int:
    """The most bytes of tensors alive while ``count`` prompts get their features, without these."""
    from benchmarks.train_step import peak_tensor_bytes
    from mixed_r1.models import tiny_adapter
    from mixed_r1.schema import Sample

    adapter = tiny_adapter("qwen2_5_vl", corpus=["What is it?"], image_size=SIDE)
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8))
    sample = Sample(id="0", task="math", question="What is it?", answer="1", images=(image,))
    prompts = [adapter.encode(sample)] * count
    made: list[Any] = []
    peak = peak_tensor_bytes(lambda: made.extend(adapter.feature_list(prompts, max_tokens=PASS_TOKENS)))
    return peak - sum(features.nbytes for features in made)


def _measured(kind: str, what: str) -> int:
    words = [sys.executable, "-m", "benchmarks.data_memory", "--measure", kind, what]
    done = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    return int(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
