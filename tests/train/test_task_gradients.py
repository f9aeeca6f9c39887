"""What the tasks' gradients have in common, against the gradient of the update itself."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from mixed_r1.config import ConfigError
from mixed_r1.engines import open_engine
from mixed_r1.ranks import Ranks
from mixed_r1.train import TrainConfig, train


def config(start, out, **changes):
    values = {
        "model": start / "model",
        "data": start / "data" / "train.jsonl",
        "out": out,
        "freeze": [],
        "steps": 2,
        "prompts_per_step": 12,
        "completions_per_prompt": 4,
        "max_new_tokens": 32,
        "lr": 1e-3,
    }
    return TrainConfig.from_mapping({**values, **changes})


def recorded(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_norms_and_cosines_add_up_to_the_gradient_of_the_step(start, tmp_path):
    """|sum g|^2 = sum |g_a|^2 + 2 sum |g_a| |g_b| cos(a, b), and the update is what it is without them."""
    train(config(start, tmp_path / "with", task_gradients_every=1))
    train(config(start, tmp_path / "without"))
    for with_them, without in zip(*(recorded(tmp_path / n) for n in ("with", "without")), strict=True):
        norms = {k.rsplit("/", 1)[1]: v for k, v in with_them.items() if k.startswith("gradient/norm/")}
        assert len(norms) >= 3
        total = sum(norm**2 for norm in norms.values())
        for a, b in itertools.combinations(sorted(norms), 2):
            total += 2 * norms[a] * norms[b] * with_them[f"gradient/cosine/{a}/{b}"]
        assert math.sqrt(total) == pytest.approx(with_them["grad_norm"], rel=1e-4)
        assert with_them["grad_norm"] == without["grad_norm"]
        assert not any(name.startswith("gradient/") for name in without)


def test_they_need_whole_gradients(start, tmp_path):
    settings = config(start, tmp_path / "x", engine="deepspeed", task_gradients_every=5)
    with pytest.raises(ConfigError, match="task_gradients_every must be 0 where engine is deepspeed, got 5"):
        open_engine(settings, None, Ranks())
