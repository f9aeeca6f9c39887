"""Which text of a conversation is scored: the model's own, with its thought, and no other's."""

from __future__ import annotations

from typing import Any

import pytest

from mixed_r1.integrations.completions import text_of, with_prompted_thought, without_tools
from mixed_r1.integrations.openrlhf import completion_of
from mixed_r1.integrations.trl import reward_functions
from mixed_r1.integrations.verl import compute_score
from mixed_r1.rewards import MixedReward, RewardConfig

RIGHT = "<think>so</think><answer>42</answer>"
ROW = {"task": ["math"], "answer": ["42"]}


@pytest.mark.parametrize(
    ("completion", "text"),
    [
        ("a", "a"),
        ([{"role": "assistant", "content": "a"}], "a"),
        ([{"role": "assistant", "content": "a"}, {"role": "tool", "content": "b"}], "a"),
        ([{"role": "assistant", "content": "a"}, {"role": "user", "content": "b"}], "a"),
        ([{"role": "tool", "content": "b"}], ""),
        ([{"role": "tool", "content": "b"}, {"role": "assistant", "content": "a"}], "a"),
        ([{"role": "assistant", "content": ["a", "b"]}], "ab"),
        ([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "image"}]}], "a"),
        ([{"role": "assistant", "content": "a", "reasoning_content": "t"}], "<think>t</think>a"),
        ([{"content": None}], ""),
        ([], ""),
    ],
)
def test_text_of(completion: Any, text: str) -> None:
    assert text_of(completion) == text


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("a<tool_response>b</tool_response>c", "ac"),
        ("a<tool_response>b", "a"),
        ("<tool_response>b</tool_response>" * 3 + "c", "c"),
        ("a", "a"),
    ],
)
def test_without_tools(text: str, kept: str) -> None:
    assert without_tools(text) == kept


def test_the_thought_that_a_prompt_opens() -> None:
    assert with_prompted_thought("Q <think>\n", "a</think>b") == "<think>a</think>b"
    assert with_prompted_thought("Q <think>\n", RIGHT) == RIGHT
    assert with_prompted_thought("Q", "a</think>b") == "a</think>b"
    assert with_prompted_thought([{"role": "user"}], "a") == "a"


def total(completions: list[Any], prompts: Any = None) -> float:
    functions = reward_functions(MixedReward())
    values = [function(prompts or ["q"], completions, **ROW)[0] for function in functions]
    return sum(value for value in values if value is not None)


def test_trl() -> None:
    assert total([[{"role": "assistant", "content": RIGHT}]]) == 1.0
    assert total([[{"role": "assistant", "content": "?"}, {"role": "tool", "content": RIGHT}]]) == 0.0
    assert total([[{"role": "assistant", "content": "<answer>42</answer>", "reasoning_content": "t"}]]) == 1.0
    assert total(["t</think><answer>42</answer>"], ["q <think>\n"]) == 1.0


def test_trl_scores_completions_anew_that_changed_in_place() -> None:
    (function, *_) = [f for f in reward_functions(MixedReward()) if f.__name__ == "math"]
    completions = [RIGHT]
    first = function(["q"], completions, **ROW)
    completions[0] = "<think>so</think><answer>41</answer>"
    assert first == [0.9] and function(["q"], completions, **ROW) == [0.0]


def test_verl_does_not_pay_for_what_a_tool_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    reward = MixedReward(config=RewardConfig())
    monkeypatch.setattr("mixed_r1.integrations.verl.default_reward", lambda: reward)
    truth = {"task": "math", "answer": "42"}
    hidden = f"<think>so</think><tool_response>{RIGHT}</tool_response>"
    assert compute_score("x", hidden, truth)["score"] == 0.0
    assert compute_score("x", RIGHT, truth)["score"] == 1.0


def test_openrlhf_reads_past_a_token_that_begins_the_text() -> None:
    assert completion_of("<|begin_of_text|>What? yes</s>", "What?") == " yes"
    assert completion_of("What? <think> yes", "What? <think>") == "<think> yes"
    with pytest.raises(ValueError, match="queries must begin with their prompts"):
        completion_of("x" * 60 + "What? yes", "What?")
