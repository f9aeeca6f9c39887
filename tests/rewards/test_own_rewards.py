"""Tasks and reward functions of a user's own, by name and as objects, in every place that scores."""

from __future__ import annotations

import json
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from typer.testing import CliRunner

from mixed_r1 import tasks
from mixed_r1.cli import app
from mixed_r1.config import ConfigError
from mixed_r1.integrations import decode, encode
from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.openrlhf import reward_func
from mixed_r1.integrations.swift import MixedRewardORM
from mixed_r1.integrations.trl import reward_functions
from mixed_r1.integrations.verl import compute_score
from mixed_r1.rewards import MixedReward, RewardConfig, explain
from mixed_r1.schema import Sample
from mixed_r1_kernels import Reason
from tests.serve.reward_server import RewardServer

MODULE = """
from mixed_r1.tasks import Task

class Tally(Task):
    name = "tally"

    def checked(self, answer, options):
        if not isinstance(answer, int):
            raise ValueError(f"answer must be a whole number for task tally, got {answer!r}")
        return answer

    def score(self, answers, samples):
        return [None if answer == "pass" else 1 / (1 + abs(len(answer) - sample.answer))
                for answer, sample in zip(answers, samples, strict=True)]

    def why(self, answer, sample):
        return f"{len(answer)} strokes where {sample.answer} are right."

class Silent(Tally):
    name = "silent"

    def why(self, answer, sample):
        return ""

class Patient(Tally):
    name = "patient"

    async def score(self, answers, samples):
        import asyncio
        await asyncio.sleep(0)
        return super().score(answers, samples)

def brevity(completions, answers, samples):
    return [1.0 if len(answer) < 4 else 0.0 for answer in answers]

async def slow(completions, answers, samples):
    return [0.25] * len(answers)

NUMBER = 3
"""
SETTINGS = {
    "custom_tasks": ["own_rewards_of_a_test:Tally"],
    "functions": {"brevity": "own_rewards_of_a_test:brevity"},
    "weights": {"brevity": 0.5},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A module that can be imported; what it registers is forgotten afterwards."""
    path = tmp_path_factory.mktemp("own")
    (path / "own_rewards_of_a_test.py").write_text(MODULE)
    known = dict(tasks._known)
    sys.path.insert(0, str(path))
    yield path
    sys.path.remove(str(path))
    tasks._known.clear()
    tasks._known.update(known)


@pytest.fixture
def settings(folder: Path) -> RewardConfig:
    return RewardConfig.from_mapping(SETTINGS)


def tagged(answer: str) -> str:
    return f"<think>because</think><answer>{answer}</answer>"


def row(settings: RewardConfig, **fields: Any) -> Sample:
    return Sample(**{"id": "1", "task": "tally", "question": "?", "answer": 3, **fields})


def test_a_task_and_a_function_by_name(settings: RewardConfig) -> None:
    reward = MixedReward(config=settings)
    assert reward.names[-3:] == ("tally", "brevity", "format")
    answers = ["|||", "||||", "pass", ""]
    batch = reward([tagged(a) for a in answers] + ["no tags"], [row(settings)] * 5)
    np.testing.assert_array_equal(batch.column("tally"), [1.0, 0.5, np.nan, 0.0, 0.0])
    np.testing.assert_array_equal(batch.column("brevity"), [1.0, 0.0, 0.0, 1.0, 1.0])
    reasons = [Reason(code).name for code in batch.reasons[:, batch.names.index("tally")]]
    assert reasons == ["OK", "OK", "INTERNAL_ERROR", "EMPTY", "NO_ANSWER_TAG"]
    assert batch.mask.tolist() == [True, True, False, True, True]
    np.testing.assert_allclose(batch.total, [1.5, 0.55, np.nan, 0.6, 0.5])


def test_rows_as_mappings_and_beside_other_tasks(settings: RewardConfig) -> None:
    reward = MixedReward(config=settings)
    rows = [
        {"id": "1", "task": "tally", "question": "?", "answer": 3},
        {"id": "2", "task": "chart", "question": "?", "answer": "42"},
        {"id": "3", "task": "tally", "question": "?", "answer": 1},
    ]
    batch = reward([tagged("|||"), tagged("42"), tagged("|||")], rows)
    np.testing.assert_array_equal(batch.column("tally"), [1.0, np.nan, 1 / 3])
    np.testing.assert_array_equal(batch.column("chart"), [np.nan, 1.0, np.nan])
    assert explain(reward, tagged("|||"), rows[2]).cells["tally"].value == 1 / 3


def test_explained_in_their_own_words(settings: RewardConfig) -> None:
    """A task says why in ``why``; where it says nothing, and for functions, what decided is named."""
    reward = MixedReward(config=settings)
    rules = {name: cell.rule for name, cell in explain(reward, tagged("||||"), row(settings)).cells.items()}
    assert rules["tally"] == "4 strokes where 3 are right."
    assert rules["brevity"] == "The function brevity gave this value."
    empty = explain(reward, tagged(""), row(settings)).cells["tally"]
    assert (empty.reason, empty.rule[:16]) == (Reason.EMPTY, "Nothing was left")
    silent = MixedReward(
        config=settings.model_copy(update={"custom_tasks": ("own_rewards_of_a_test:Silent",)})
    )
    rule = explain(silent, tagged("|||"), row(settings, task="silent")).cells["silent"].rule
    assert rule == "The score of Silent gave this value."


def test_weights_and_settings_by_task_and_by_row(folder: Path) -> None:
    config = RewardConfig.from_mapping(
        {**SETTINGS, "weights": {}, "tasks": {"tally": {"task_weight": 0.4, "max_answer_bytes": 5}}}
    )
    reward = MixedReward(config=config, weights={"brevity": 0.0, "tally": 0.4})
    light = row(config, reward={"weights": {"tally": 0.2}, "format": "none"})
    batch = reward([tagged("|||"), tagged("|" * 6), "|||"], [row(config), row(config), light])
    np.testing.assert_allclose(batch.total, [0.5, 0.1, 0.3])
    assert batch.reasons[1, batch.names.index("tally")] == Reason.TOO_LONG
    with pytest.raises(ConfigError, match="weights must name columns of .*'tally', 'brevity'.* got 'tall'"):
        MixedReward(config=config, weights={"tall": 1.0})


def test_the_same_as_objects_in_python(folder: Path, settings: RewardConfig) -> None:
    import own_rewards_of_a_test as own

    reward = MixedReward(
        tasks=[own.Tally, own.Patient()], functions={"slow": own.slow, "one": lambda *_: [1.0]}
    )
    assert reward.names[-5:] == ("tally", "patient", "slow", "one", "format")
    rows = [row(settings), row(settings, task="patient")]
    batch = reward([tagged("|||")], rows[1:])
    assert (batch.column("patient")[0], batch.column("slow")[0]) == (1.0, 0.25)  # both are async
    recorded = reward.settings()
    assert recorded.custom_tasks == ("own_rewards_of_a_test:Tally", "own_rewards_of_a_test:Patient")
    assert recorded.functions == {
        "slow": "own_rewards_of_a_test:slow"
    }  # a lambda has no name that leads back
    assert MixedReward(config=recorded)([tagged("|||")], rows[:1]).column("tally")[0] == 1.0


def test_async_code_where_a_loop_runs_already(folder: Path, settings: RewardConfig) -> None:
    import asyncio

    import own_rewards_of_a_test as own

    reward = MixedReward(functions={"slow": own.slow})

    async def inside() -> float:
        return float(reward([tagged("42")], [row(settings, task="chart", answer="42")]).column("slow")[0])

    assert asyncio.run(inside()) == 0.25


def test_a_task_that_fails_masks_its_rows_alone(folder: Path) -> None:
    class Broken(tasks.Task):
        name = "broken_in_a_test"

        def score(self, answers: Any, samples: Any) -> list[float]:
            raise RuntimeError("no")

    reward = MixedReward(tasks=[Broken])
    rows = [
        {"id": "1", "task": "broken_in_a_test", "question": "?", "answer": "x"},
        {"id": "2", "task": "chart", "question": "?", "answer": "42"},
    ]
    with pytest.warns(UserWarning, match="task broken_in_a_test masks a batch, it raised RuntimeError: no"):
        batch = reward([tagged("42")] * 2, rows)
    assert batch.mask.tolist() == [False, True] and batch.total[1] == 1.0


def test_a_task_the_reward_does_not_have_masks_its_rows(settings: RewardConfig) -> None:
    """It is registered, so the row can be made, but nobody scores it here."""
    with pytest.warns(UserWarning, match="task must be one of .*or given to MixedReward"):
        assert not MixedReward()([tagged("|||")], [row(settings)]).mask[0]


def test_rows_name_no_code(settings: RewardConfig) -> None:
    """A data set or a client decides no import."""
    reward = MixedReward()
    for override in ({"functions": {"x": "os:system"}}, {"custom_tasks": ["os:path"]}, {"tasks": {}}):
        bad = {"id": "1", "task": "chart", "question": "?", "answer": "42", "reward": override}
        name = next(iter(override))
        assert f"{name} must not be set for one task or one row" in reward.check([bad])[0][1]
        with pytest.raises(ConfigError, match=f"{name} must not be set for one task or one row"):
            RewardConfig.from_mapping({"tasks": {"chart": override}})


@pytest.mark.parametrize(
    ("settings_given", "says"),
    [
        ({"custom_tasks": ["Tally"]}, "custom_tasks must be of the form package.module:object, got 'Tally'"),
        ({"custom_tasks": ["no_such_module_here:X"]}, "No module named 'no_such_module_here'"),
        ({"custom_tasks": ["own_rewards_of_a_test:NUMBER"]}, "task must be a mixed_r1.tasks.Task, got 3"),
        ({"functions": {"x": "own_rewards_of_a_test:nothing"}}, "has no attribute 'nothing'"),
        ({"functions": {"x": "own_rewards_of_a_test:NUMBER"}}, "functions.x must name a function"),
        ({"tasks": {"tali": {}}}, "must be one of yes_no"),
    ],
)
def test_names_that_lead_nowhere_are_errors(folder: Path, settings_given: Any, says: str) -> None:
    with pytest.raises(ConfigError) as problem:
        RewardConfig.from_mapping(settings_given)
    assert says in str(problem.value)


def test_names_and_columns_are_of_one_task(folder: Path) -> None:
    class Tally(tasks.Task):
        name = "chart"

    with pytest.raises(ConfigError, match="task must have a name of its own, got 'chart' again"):
        tasks.register(Tally)
    with pytest.raises(ConfigError, match="functions must have names of their own, got 'tally'"):
        MixedReward(config=RewardConfig.from_mapping({**SETTINGS, "functions": {}}), functions={"tally": len})
    with pytest.raises(TypeError, match="name must be a text"):
        type("Nameless", (tasks.Task,), {})
    with pytest.raises(ValidationError, match="task: must be one of|must be one of yes_no"):
        Sample(id="1", task="nothing", question="?", answer="x")


def test_every_adapter_knows_them(
    folder: Path, settings: RewardConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "reward.yaml").write_text(json.dumps(SETTINGS))
    monkeypatch.setenv("MIXED_R1_REWARD_CONFIG", str(tmp_path / "reward.yaml"))
    default_reward.cache_clear()
    truth, text = encode(row(settings)), tagged("|||")
    assert decode(truth) == row(settings, question="?")
    assert compute_score("x", text, truth) == {"score": 1.5, "task": 1.0, "format": 1.0, "masked": 0.0}
    assert MixedRewardORM()([text], sample=[truth]) == [1.5]
    assert reward_func(["Q" + text], ["Q"], [truth])["rewards"].tolist() == [1.5]
    columns = {f.__name__: f(["Q"], [text], sample=[truth])[0] for f in reward_functions(default_reward())}
    assert (columns["tally"], columns["brevity"], columns["format"]) == (0.9, 0.5, 0.1)
    default_reward.cache_clear()


def test_score_and_data_check_know_them(folder: Path, tmp_path: Path) -> None:
    data, answers, out = tmp_path / "rows.jsonl", tmp_path / "answers.jsonl", tmp_path / "out.jsonl"
    data.write_text('{"id": "a", "task": "tally", "question": "?", "answer": 3}\n')
    answers.write_text(json.dumps({"id": "a", "completion": tagged("|||")}) + "\n")
    (tmp_path / "reward.yaml").write_text(json.dumps(SETTINGS))
    arguments = ["score", answers, "--data", data, "--config", tmp_path / "reward.yaml", "--out", out]
    result = CliRunner().invoke(app, [*map(str, arguments), "--min-mean", "tally=1.5"])
    assert result.exit_code == 0, result.output
    scored = json.loads(out.read_text())
    assert (scored["total"], scored["reward_tally"], scored["reward_brevity"]) == (1.5, 1.0, 1.0)
    checked = ["data", "check", str(data), "--task", SETTINGS["custom_tasks"][0]]
    assert CliRunner().invoke(app, checked).exit_code == 0


def test_the_server_knows_them(
    folder: Path, settings: RewardConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a process of its own, which imports the module for itself; a client names no code."""
    monkeypatch.setenv("PYTHONPATH", str(folder))
    sample = {"task": "tally", "answer": 3}
    bad = {**sample, "reward": {"functions": {"x": "os:system"}}}
    with RewardServer(tmp_path / "log.txt", reward=SETTINGS) as server:
        reply = server.post("/score", {"completions": [tagged("|||")] * 2, "samples": [sample, bad]}).json
    assert reply["total"] == [1.5, None] and reply["names"][-3:] == ["tally", "brevity", "format"]
    assert "functions must not be set for one task or one row" in reply["errors"]["1"]


def test_calibration_reads_texts_alone(settings: RewardConfig) -> None:
    """Rows of other tasks say nothing of themselves: a grounding row without sizes is no news here."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        box = {"id": "1", "task": "grounding", "question": "?", "answer": [0, 0, 1, 1]}
        MixedReward(config=RewardConfig(box_frame="resized")).calibrate([box])
