"""Settings by the names that other trainers have for them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mixed_r1.config import ConfigError
from mixed_r1.foreign_names import FOREIGN_NAMES
from mixed_r1.train import TrainConfig

PATHS = {"model": "m", "data": "d", "out": "o"}


def test_every_name_leads_to_settings_that_are_there() -> None:
    assert len(FOREIGN_NAMES) >= 40
    for name, ours in FOREIGN_NAMES.items():
        assert name not in TrainConfig.model_fields, f"{name} is a setting of ours"
        if not ours.startswith("none:"):
            keys = re.split(r", | and ", ours.partition(":")[0])
            assert set(keys) <= set(TrainConfig.model_fields), name


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("learning_rate", 1e-6, "got 'learning_rate'; learning_rate is lr"),
        ("num_generations", 8, "num_generations is completions_per_prompt"),
        ("kl_coef", 0.1, "kl_coef is beta"),
        ("num_train_epochs", 2, "num_train_epochs is steps: a run is as many steps as it says"),
        (
            "gradient_accumulation_steps",
            4,
            "there is no such setting: packs of max_tokens_per_pack tokens add up",
        ),
        (
            "actor_rollout_ref",
            {"actor": {"optim": {"lr": 1}}, "rollout": {"n": 8}},
            "n is completions_per_prompt",
        ),
        ("worker", {"actor": {"clip_ratio_low": 0.2}}, "clip_ratio_low is clip_low"),
        ("temprature", 1.0, "did you mean temperature?"),
    ],
)
def test_an_error_says_what_it_is_here(key: str, value: object, said: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(said)):
        TrainConfig.from_mapping({**PATHS, key: value})


def test_overrides_of_verl_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("model: m\ndata: d\nout: o\n")
    with pytest.raises(ConfigError, match="n is completions_per_prompt"):
        TrainConfig.load(tmp_path / "run.yaml", ["actor_rollout_ref.rollout.n=8"])
