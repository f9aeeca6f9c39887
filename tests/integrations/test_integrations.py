"""Mixed-Reward in the exact call shapes of other trainers, and the examples as a reader runs them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from mixed_r1.integrations import decode, encode
from mixed_r1.integrations.default_reward import default_reward
from mixed_r1.integrations.ground_truth import rows_from_columns
from mixed_r1.rewards import MixedReward
from mixed_r1.schema import Sample
from tests.integrations.answered import SAMPLES, TASK, TEXTS, TOTAL, TRUTHS

ROOT = Path(__file__).resolve().parents[2]
BAD = ["not json", "[1]", "{}", json.dumps({"task": "chart", "answer": "nan"}), "[" * 100_000]
NO_ROWS: list[Any] = [None, 3, [1], b"x", {"task": "grounding", "answer": [0, 0, 10**400, 1]}]


@pytest.fixture(autouse=True)
def fresh_default(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.delenv("MIXED_R1_REWARD_CONFIG", raising=False)
    monkeypatch.delenv("MIXED_R1_REWARD_MODEL", raising=False)
    default_reward.cache_clear()
    yield
    default_reward.cache_clear()


def test_ground_truths_travel_as_text() -> None:
    for sample, truth in zip(SAMPLES, TRUTHS, strict=True):
        row = decode(truth)
        assert isinstance(row, Sample)
        assert (row.task, row.answer, row.options, row.frame) == (
            sample.task,
            sample.answer,
            sample.options,
            sample.frame,
        )
        assert decode(truth) is row  # read once, so it is scored as one row
    assert decode(SAMPLES[0]) is SAMPLES[0]


def test_rows_from_columns() -> None:
    expected = [(s.task, s.answer) for s in SAMPLES]
    for name in ("sample", "ground_truth", "solution"):
        rows = rows_from_columns({name: TRUTHS, "other": [0] * 5}, 5)
        assert [(row.task, row.answer) for row in rows] == expected  # type: ignore[union-attr]
    columns = {name: [getattr(s, name) for s in SAMPLES] for name in ("task", "answer", "options")}
    rows = rows_from_columns(columns, 5)
    assert [(row.task, row.answer) for row in rows] == expected  # type: ignore[union-attr]
    solutions = ["First, look at the picture."] * 5  # another column of the data set, not a row
    for extra in ({"solution": solutions}, {"ground_truth": solutions}, {"id": [0, 1, 2, 3, 4]}):
        rows = rows_from_columns({**columns, **extra}, 5)
        assert [(row.task, row.answer) for row in rows] == expected  # type: ignore[union-attr]
    assert [row.id for row in rows] == ["0", "1", "2", "3", "4"]  # type: ignore[union-attr]
    with pytest.raises(ValueError, match="columns must hold sample, or task and answer"):
        rows_from_columns({"prompts": []}, 0)
    rule = r"must be a sequence of one value per completion \(5\), got"
    for short in ({"answer": columns["answer"][:4]}, {"options": []}, {"task": [*columns["task"], "math"]}):
        name = next(iter(short))
        with pytest.raises(ValueError, match=f"{name} {rule} {len(short[name])}"):
            rows_from_columns({**columns, **short}, 5)
    for value, got in ((TRUTHS[:3], "3"), ("abcde", "'abcde'"), (None, "None")):
        with pytest.raises(ValueError, match=f"sample {rule} {got}"):
            rows_from_columns({"sample": value}, 5)


def test_trl() -> None:
    from mixed_r1.integrations.trl import reward_functions

    reward = MixedReward()
    functions = reward_functions(reward)
    assert [function.__name__ for function in functions] == list(reward.names)
    messages = [[{"role": "assistant", "content": text}] for text in TEXTS]
    parts = [[{"role": "assistant", "content": [{"type": "text", "text": text}]}] for text in TEXTS]
    for completions in (TEXTS, messages, parts):
        table = [
            function(
                prompts=["q"] * 5,
                completions=completions,
                completion_ids=[[1]] * 5,
                sample=TRUTHS,
                trainer_state=0,
            )
            for function in functions
        ]
        assert table[0] == [0.9, 0.9, None, None, None] and table[-1] == [0.1] * 5
        sums = [sum(value for value in column if value is not None) for column in zip(*table, strict=True)]
        assert sums == pytest.approx(TOTAL)


def test_trl_scores_again_where_a_column_changes() -> None:
    from mixed_r1.integrations.trl import reward_functions

    chart = reward_functions(MixedReward())[1]
    completions, other = TEXTS[2:3], [encode(Sample(id="c", task="chart", question="q", answer=("3", "5")))]
    for truths, value in ((TRUTHS[2:3], 0.0), (other, 0.9), (TRUTHS[2:3], 0.0)):
        assert chart(prompts=["q"], completions=completions, sample=truths) == [value]


@pytest.mark.parametrize("last", [{"role": "assistant", "content": None}, {"role": "assistant"}, None])
def test_trl_messages_without_content_are_empty_completions(last: Any) -> None:
    from mixed_r1.integrations.trl import reward_functions

    functions = reward_functions(MixedReward())
    completions = [[last] if last else [], [{"role": "assistant", "content": TEXTS[0]}]]
    table = [
        function(prompts=["q"] * 2, completions=completions, sample=TRUTHS[:1] * 2) for function in functions
    ]
    assert table[0] == [0.0, 0.9] and table[-1] == [0.0, 0.1]


def test_trl_leaves_masked_rows_out() -> None:
    """TRL counts a row of Nones in no baseline; the format alone would make advantages of a bad gold."""
    from mixed_r1.integrations.trl import reward_functions

    functions = reward_functions(MixedReward())
    truths = [BAD[3], BAD[3], TRUTHS[2]]
    with pytest.warns(UserWarning, match="is masked"):
        table = [
            function(prompts=[""] * 3, completions=["x", *TEXTS[:2]], sample=truths) for function in functions
        ]
    assert [[column[i] for column in table if column[i] is not None] for i in range(2)] == [[], []]
    assert [column[2] for column in table].count(None) == len(table) - 2


def test_verl() -> None:
    from mixed_r1.integrations.verl import compute_score, compute_scores

    batch = compute_scores(
        data_sources=["x"] * 5,
        solution_strs=TEXTS,
        ground_truths=TRUTHS,
        extra_infos=[None] * 5,
        num_workers=1,
    )
    assert [row["score"] for row in batch] == pytest.approx(TOTAL)
    single = [
        compute_score("x", text, truth, extra_info={}) for text, truth in zip(TEXTS, TRUTHS, strict=True)
    ]
    assert single == batch and {tuple(row) for row in batch} == {("score", "task", "format", "masked")}


def test_easyr1() -> None:
    from mixed_r1.integrations.easyr1 import REWARD_TYPE, compute_score

    inputs = [
        {"response": text, "response_length": 7, "ground_truth": truth}
        for text, truth in zip(TEXTS, TRUTHS, strict=True)
    ]
    assert REWARD_TYPE == "batch"
    assert [row["overall"] for row in compute_score(inputs)] == pytest.approx(TOTAL)
    assert [row["accuracy"] for row in compute_score(inputs)] == TASK


def test_swift() -> None:
    from mixed_r1.integrations.swift import MixedRewardORM

    scores = MixedRewardORM(args=None)(TEXTS, sample=TRUTHS, messages=[[]] * 5, trainer_state=None)
    assert scores == pytest.approx(TOTAL) and all(type(score) is float for score in scores)


def test_openrlhf() -> None:
    from mixed_r1.integrations.openrlhf import completion_of, reward_func

    prompts = ["<answer>no</answer> in the prompt"] * 5  # never part of what is scored
    queries = [prompt + text + "<|im_end|>" for prompt, text in zip(prompts, TEXTS, strict=True)]
    found = reward_func(queries, prompts, TRUTHS)
    assert found["rewards"].tolist() == pytest.approx(TOTAL) and found["scores"].tolist() == TASK
    assert isinstance(found["rewards"], torch.Tensor) and found["extra_logs"]["format"].tolist() == [1.0] * 5
    image = "<|vision_start|>" + "<|image_pad|>" * 9 + "<|vision_end|>q"
    assert completion_of(image + TEXTS[0], image.replace("<|image_pad|>" * 9, "<|image_pad|>")) == TEXTS[0]
    with pytest.raises(ValueError, match="queries must begin with their prompts"):
        reward_func(["other"], ["prompt"], TRUTHS[:1])
    empty = reward_func([], [], [])
    assert empty["rewards"].shape == empty["scores"].shape == (0,) and set(empty["extra_logs"]) == {
        *found["extra_logs"]
    }


def test_nemo_rl() -> None:
    from mixed_r1.integrations.nemo_rl import mixed_reward

    found = [mixed_reward(truth, text) for truth, text in zip(TRUTHS, TEXTS, strict=True)]
    assert [score for score, _ in found] == pytest.approx(TOTAL)
    assert [correct for _, correct in found] == [True, True, False, True, False]


def test_a_bad_ground_truth_is_masked_not_spread() -> None:
    from mixed_r1.integrations.nemo_rl import mixed_reward
    from mixed_r1.integrations.verl import compute_scores

    with pytest.warns(UserWarning, match="is masked"):
        rows = compute_scores(["x"] * 11, [TEXTS[0]] * 11, [*BAD, *NO_ROWS, TRUTHS[0]])
    assert [row["masked"] for row in rows] == [1.0] * 10 + [0.0]
    assert all(math.isfinite(value) for row in rows for value in row.values())
    assert [row["score"] for row in rows] == [0.0] * 10 + [1.0]
    with pytest.warns(UserWarning, match="is masked"):
        assert mixed_reward("{}", TEXTS[0]) == (0.0, None)


def test_the_default_reward_comes_from_the_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from mixed_r1.integrations.verl import compute_score

    (tmp_path / "reward.yaml").write_text("format: none\ntasks: {chart: {chart_tolerance: 0.5}}\n")
    monkeypatch.setenv("MIXED_R1_REWARD_CONFIG", str(tmp_path / "reward.yaml"))
    truth = encode(Sample(id="c", task="chart", question="q", answer="10"))
    assert compute_score("x", "14", truth)["score"] == 1.0


def run_example(name: str, *arguments: str) -> list[str]:
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    environment = {**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(ROOT / "examples" / name), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    "name", ["verl_reward", "easyr1_reward", "swift_plugin", "openrlhf_reward", "nemo_rl_reward"]
)
def test_examples_run(name: str) -> None:
    scores = [json.loads(line) for line in run_example(f"{name}.py")][-3:]
    totals = [row.get("score", row.get("overall")) for row in scores]
    assert totals == pytest.approx([1.0, 0.1, 0.55])


@pytest.mark.slow
def test_trl_trains_a_tiny_model_on_mixed_rewards(tmp_path: Path) -> None:
    """GRPOTrainer itself, three steps on the CPU, from the example's own command line."""
    pytest.importorskip("trl")
    lines = run_example("trl_grpo.py", "--tiny", "--steps", "3", "--out", str(tmp_path / "out"))
    steps = [json.loads(line) for line in lines if line.startswith('{"step"')]
    assert [step["step"] for step in steps] == [1, 2, 3]
    assert all(math.isfinite(step["reward"]) and math.isfinite(step["grad_norm"]) for step in steps)
    assert max(step["open_ended"] or 0.0 for step in steps) > 0.05 and max(s["grad_norm"] for s in steps) > 0
    scored = {name for step in steps for name, value in step.items() if value is not None}
    assert {"matching", "chart", "iou", "open_ended"} <= scored
