"""Chat templates that open the thought: the trainer sees it, and a completion that begins inside is well
formed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from mixed_r1.config import ConfigError
from mixed_r1.models import thought_of, tiny_adapter
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.train import TrainConfig, train

ROW = {"id": "1", "task": "chart", "question": "How high is the bar?", "answer": "42"}
COMPLETION = "It ends at 42.</think><answer>42</answer>"


def checkpoint(folder: Path, opening: str) -> dict[str, Any]:
    """Settings of a short run on a model whose chat template ends with ``opening``."""
    adapter = tiny_adapter("internvl", corpus=[ROW["question"], COMPLETION])
    adapter.tokenizer.chat_template += (
        f"{{%- if add_generation_prompt %}}{{{{- {opening!r} }}}}{{%- endif %}}"
    )
    adapter.save(folder / "model")
    (folder / "rows.jsonl").write_text("".join(json.dumps({**ROW, "id": f"{i}"}) + "\n" for i in range(2)))
    sizes = {"steps": 1, "prompts_per_step": 1, "completions_per_prompt": 2, "max_new_tokens": 4}
    return {"model": folder / "model", "data": folder / "rows.jsonl", "out": folder / "run", **sizes}


@pytest.mark.parametrize(
    ("opening", "think", "format_reward"),
    [("<think>\n", "prefilled", 1.0), ("<think>\n\n</think>\n\n", "written", 0.0), ("", "written", 0.0)],
)
def test_the_trainer_reads_the_chat_template(
    tmp_path: Path, opening: str, think: str, format_reward: float
) -> None:
    settings = checkpoint(tmp_path, opening)
    assert thought_of(settings["model"], "think") == think
    reward = MixedReward()  # settings left out: the run fills them in, and says so in what it writes down
    train(TrainConfig.from_mapping(settings), reward=reward)
    written = RewardConfig.from_mapping(TrainConfig.load(settings["out"] / "config.yaml").reward.model_dump())
    assert written.think == reward.config.think == think
    assert reward([COMPLETION], [ROW]).column("format").tolist() == [format_reward]
    assert reward([written.in_format("42")], [ROW]).total.tolist() == [1.0]


def test_another_setting_than_the_templates_is_refused(tmp_path: Path) -> None:
    settings = checkpoint(tmp_path, "<think>")
    settings["reward"] = {"think": "written"}
    with pytest.raises(
        ConfigError, match=r"reward.think must be prefilled, as .* opens <think>, .* got written"
    ):
        train(TrainConfig.from_mapping(settings))
    assert not settings["out"].exists()


@pytest.mark.parametrize("format", ["think_answer", "answer", "boxed", "think_boxed", "none"])
@pytest.mark.parametrize("think", ["written", "prefilled"])
def test_an_answer_in_the_format_is_worth_all(format: Any, think: Any) -> None:
    """``in_format``, by which constant answers are scored, for every format."""
    config = RewardConfig(format=format, think=think)
    assert MixedReward(config=config)([config.in_format("42")], [ROW]).total.tolist() == [1.0]
