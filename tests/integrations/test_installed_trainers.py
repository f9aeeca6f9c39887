"""The adapters called by the trainers themselves, where installed: verl 0.9, ms-swift 4, OpenRLHF 0.11.

verl and ms-swift resolve on PyPI with CPU torch, but not beside this project's other test dependencies. Give
each an environment of its own (ms-swift with msgspec), put this repository and its kernels/ on PYTHONPATH,
and run this file there. OpenRLHF's dependencies need a GPU: ``pip install --no-deps openrlhf``, then aiohttp,
and what ``mixed-r1 serve`` needs.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from tests.integrations.answered import TASK, TEXTS, TOTAL, TRUTHS
from tests.serve.reward_server import TOKEN, RewardServer

ROOT = Path(__file__).resolve().parents[2]


class ByteTokenizer:
    def decode(self, ids: torch.Tensor, skip_special_tokens: bool) -> str:
        return bytes(ids.tolist()).decode()


def verl_batch() -> Any:
    """Its DataProto of prompts and padded responses."""
    texts = [text.encode() for text in TEXTS]
    width = max(map(len, texts))
    responses = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
    present = torch.tensor([[1] * (3 + len(text)) + [0] * (width - len(text)) for text in texts])
    prompts = torch.ones(5, 3, dtype=torch.long)
    return pytest.importorskip("verl").DataProto.from_dict(
        tensors={"prompts": prompts, "responses": responses, "attention_mask": present},
        non_tensors={
            "data_source": ["mixed"] * 5,
            "reward_model": [{"ground_truth": truth} for truth in TRUTHS],
            "extra_info": [{} for _ in TRUTHS],
        },
    )


def test_verl_calls_the_batch_function() -> None:
    manager = pytest.importorskip("verl.workers.reward_manager.batch").BatchRewardManager
    from mixed_r1.integrations.verl import compute_scores

    found = manager(ByteTokenizer(), num_examine=0, compute_score=compute_scores)(
        verl_batch(), return_dict=True
    )
    assert found["reward_tensor"].sum(dim=1).tolist() == pytest.approx(TOTAL)
    assert found["reward_extra_info"]["task"] == TASK


def test_verl_calls_the_single_function_of_its_settings() -> None:
    """Its reward loop: the function found by file and name as settings give them, called from threads."""
    loader = pytest.importorskip("verl.trainer.ppo.reward")
    from omegaconf import OmegaConf

    settings = {
        "reward": {
            "custom_reward_function": {
                "path": str(ROOT / "mixed_r1" / "integrations" / "verl.py"),
                "name": "compute_score",
            },
            "reward_manager": {"source": "register", "name": "naive"},
        }
    }

    async def run() -> list[Any]:
        manager = loader.load_reward_manager(OmegaConf.create(settings), ByteTokenizer())
        manager.loop = asyncio.get_running_loop()
        batch = verl_batch()
        return await asyncio.gather(*(manager.run_single(batch[i : i + 1]) for i in range(5)))

    found = asyncio.run(run())
    assert [one["reward_score"] for one in found] == pytest.approx(TOTAL)
    assert [one["reward_extra_info"]["task"] for one in found] == TASK


def test_swift_calls_the_plugin() -> None:
    """Its plugin loader, registry and reward loop."""
    pytest.importorskip("swift.rewards")
    from swift.rl_core.data import GRPOSample
    from swift.rl_core.grpo_algorithm import compute_rewards_per_func
    from swift.rlhf_trainers.utils import resolve_reward_funcs
    from swift.utils.utils import import_external_file

    import_external_file(str(ROOT / "examples" / "swift_plugin.py"))
    functions, names = resolve_reward_funcs(["mixed_r1"], args=None)
    assert names == ["MixedRewardORM"]
    samples = [
        GRPOSample(
            messages=[{"role": "user", "content": "q"}, {"role": "assistant", "content": text}],
            extra={"sample": truth},
        )
        for text, truth in zip(TEXTS, TRUTHS, strict=True)
    ]
    rewards = compute_rewards_per_func(samples, functions, [None], torch.device("cpu"))
    assert rewards[:, 0].tolist() == pytest.approx(TOTAL)


class WrittenAnswers:
    """In place of the vLLM engine, which needs a GPU: one written completion for each prompt."""

    async def generate(self, prompt_ids: list[int], parameters: Any, **images: Any) -> Any:
        text = TEXTS[int(bytes(prompt_ids).decode().rsplit("#", 1)[1].split()[0])] + "<|im_end|>"
        output = SimpleNamespace(token_ids=list(text.encode()), finish_reason="stop", logprobs=None)
        return SimpleNamespace(outputs=[output])


class ByteChatTokenizer(ByteTokenizer):
    def __call__(self, text: str, add_special_tokens: bool, return_tensors: str) -> Any:
        return {"input_ids": torch.tensor([list(text.encode())])}

    def decode(self, ids: Any, skip_special_tokens: bool) -> str:
        return bytes(ids).decode()


@pytest.mark.parametrize("how", ["file", "server"])
def test_openrlhf_asks_for_rewards(how: str, tmp_path: Path) -> None:
    """Its rollout of one turn, with rewards from our file and from our server, whose token is in the url."""
    executors = pytest.importorskip("openrlhf.utils.agent")

    async def rollouts(address: str) -> list[dict[str, Any]]:
        executor = executors.SingleTurnAgentExecutor(address)
        parameters = SimpleNamespace(max_tokens=500, logprobs=None)
        prompts = [f"<answer>no</answer> in the prompt #{i} \\n" for i in range(5)]
        parts = (4000, ByteChatTokenizer(), WrittenAnswers())
        return await asyncio.gather(
            *(
                executor.execute(p, truth, parameters, *parts)
                for p, truth in zip(prompts, TRUTHS, strict=True)
            )
        )

    if how == "file":
        found = asyncio.run(rollouts(str(ROOT / "mixed_r1" / "integrations" / "openrlhf.py")))
    else:
        with RewardServer(tmp_path / "log", ["--workers", 2]) as server:
            found = asyncio.run(rollouts(f"http://any:{TOKEN}@127.0.0.1:{server.port}/get_reward"))
    assert [float(one["reward"][0]) for one in found] == pytest.approx(TOTAL)
    assert [float(one["scores"][0]) for one in found] == TASK
    assert [float(one["extra_logs"]["format"][0]) for one in found] == [1.0] * 5
