"""Runs that tests start, stop and compare."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import torch
from safetensors.torch import load_file

from mixed_r1.data import load_samples
from mixed_r1.data.mini import build_mini, corpus, sft_target
from mixed_r1.demo.warmup import Example, warm_up
from mixed_r1.models import tiny_adapter
from mixed_r1.train import TrainConfig
from tests import forked


def warm_start(root: Path, family: str = "qwen2_5_vl", **sizes: object) -> Path:
    """``root`` with the embedded data set (small) and a model that has been warmed up on it a little."""
    build_mini(root / "data", size=300)  # nothing to do where it is there
    rows = load_samples(root / "data" / "train.jsonl")
    adapter = tiny_adapter(family, corpus=corpus(rows), seed=0, **sizes)
    warm_up(adapter, [Example(row, sft_target(row)) for row in rows], steps=60)
    adapter.save(str(root / "model"))
    return root


def settings_from(start: Path, out: Path, **values: object) -> TrainConfig:
    """``values`` for a run to ``out`` that begins with ``start``, see ``warm_start``."""
    data = start / "data" / "train.jsonl"
    return TrainConfig.from_mapping({"model": start / "model", "data": data, "out": out, **values})


TIMES = ("time", "tokens_per_second", "memory_mb")


class Runs:
    """Runs of equal settings in one folder, each in a process of its own."""

    def __init__(self, start: Path, folder: Path, **changes: object) -> None:
        self.folder, self.log = folder, folder / "log.txt"
        self.values = {
            "model": start / "model",
            "data": start / "data" / "train.jsonl",
            "prompts_per_step": 2,
            "completions_per_prompt": 4,
            "max_new_tokens": 16,
            "lr": 1e-3,
            "lr_schedule": "cosine",
            "warmup_steps": 2,
            "advantage": "task_ema",
            "checkpoint_every": 1,
            **changes,
        }

    def out(self, name: str) -> Path:
        return self.folder / name

    def config(self, name: str) -> Path:
        path = self.folder / f"{name}.yaml"
        TrainConfig.from_mapping({**self.values, "out": self.out(name)}).save(path)
        return path

    def copy(self, source: str, name: str) -> None:
        """Another run that has come as far."""
        shutil.rmtree(self.out(name), ignore_errors=True)
        shutil.copytree(self.out(source), self.out(name), symlinks=True)
        shutil.copy(self.config(name), self.out(name) / "config.yaml")

    def start(self, name: str, *arguments: object, **options: object):
        return forked.start(forked.train_run, self.config(name), *arguments, log=self.log, **options)

    def run(self, name: str, *arguments: object, **options: object) -> int:
        return forked.finish(self.start(name, *arguments, **options))

    def end(self, name: str, *arguments: object) -> None:
        assert self.run(name, *arguments) == 0, self.log.read_text()


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def state(checkpoint):
    content = json.loads((checkpoint / "trainer.json").read_text())
    del content["offsets"]  # the lines before them hold times
    return content


def assert_same_checkpoint(a, b):
    """Weights, optimizer, random states, and all else the next step depends on, bit for bit."""
    names = [sorted(path.name for path in folder.glob("*.safetensors")) for folder in (a, b)]
    assert names[0] == names[1] and len(names[0]) >= 3
    for name in names[0]:
        left, right = load_file(a / name), load_file(b / name)
        assert left.keys() == right.keys()
        assert all(torch.equal(left[key], right[key]) for key in left), name
    assert state(a) == state(b)


def assert_same_run(a, b):
    assert_same_checkpoint(a / "checkpoints" / "latest", b / "checkpoints" / "latest")
    for name in ("metrics", "evaluation"):
        left, right = (lines(out / f"{name}.jsonl") for out in (a, b))
        assert [{k: v for k, v in line.items() if not k.startswith(TIMES)} for line in left] == [
            {k: v for k, v in line.items() if not k.startswith(TIMES)} for line in right
        ]
    names = [sorted(path.name for path in (out / "completions").glob("*.parquet")) for out in (a, b)]
    assert names[0] == names[1] and names[0]
    for name in names[0]:
        left, right = (pq.read_table(out / "completions" / name) for out in (a, b))
        assert left.equals(right), name
