"""Rollouts by vLLM in this process, on the GPU that trains (extra ``vllm``).

Run with vLLM 0.32's CPU build (tests/rollout/test_vllm.py), not on a GPU; its API is the same since 0.20.
vLLM pins versions of torch and transformers of its own; where they do not suit, run ``vllm serve`` in its
own environment and set ``rollout: server``, which also serves several ranks.
"""

from __future__ import annotations

from typing import Any

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.ranks import Ranks
from mixed_r1.rollout.base import Completion, RolloutError, RolloutRequest, SamplingParams, SaveWeights
from mixed_r1.rollout.sampler import random_stream
from mixed_r1.rollout.server import chat_request, check_limits, sampled_completion, save_version
from mixed_r1.train_config import TrainConfig

__all__ = ["VLLMSampler"]


class VLLMSampler:
    """An ``LLM`` that holds ``config.vllm_memory`` of the GPU and reloads its weights from disk."""

    def __init__(self, adapter: ModelAdapter, config: TrainConfig, ranks: Ranks) -> None:
        if ranks.world_size > 1:
            raise ValueError(
                f"rollout must be 'server' with several ranks, got 'vllm' with {ranks.world_size}"
            )
        try:
            import vllm
        except ImportError:
            raise ImportError("rollout 'vllm' needs vLLM: pip install 'mixed-r1[vllm]'") from None
        check_limits(adapter, config)
        self.adapter = adapter
        self.config = config
        self.vllm = vllm
        self.version = -1
        self.lora = None
        # vLLM takes powers of two, from 8 up.
        room = max(8, 1 << (config.lora_rank - 1).bit_length()) if config.lora_rank else 0
        lora: dict[str, Any] = {"enable_lora": True, "max_lora_rank": room}
        self.llm = vllm.LLM(
            model=str(config.model),
            dtype=config.dtype,
            seed=config.seed,
            gpu_memory_utilization=config.vllm_memory,
            max_model_len=config.max_prompt_tokens + config.max_new_tokens,
            logprobs_mode="processed_logprobs",  # those of the distribution drawn from
            generation_config="vllm",  # not the checkpoint's repetition penalty and top-k
            **(lora if config.lora_rank else {}),
        )

    def push(self, version: int, save: SaveWeights) -> None:
        if version == self.version:
            return
        lora = self.config.lora_rank > 0
        path = str(save_version(self.config.out, version, save, adapter_only=lora))
        if lora:
            from vllm.lora.request import LoRARequest

            self.lora = LoRARequest(f"version-{version}", version + 1, path)
        else:
            self.llm.collective_rpc("reload_weights", kwargs={"weights_path": path})
            self.llm.reset_prefix_cache()
            self.llm.llm_engine.reset_encoder_cache()
        self.version = version

    def generate(self, request: RolloutRequest) -> list[list[Completion]]:
        params = request.params
        settings = [
            self.vllm.SamplingParams(
                n=request.num_completions,
                max_tokens=params.max_new_tokens,
                temperature=params.temperature,
                top_p=params.top_p,
                top_k=params.top_k or -1,
                min_p=params.min_p,
                logprobs=0,  # of the sampled tokens alone
                logit_bias={token: -100.0 for token in self.adapter.banned_tokens},
                seed=int(random_stream(request.seed, request.step, key, 0, 1)[0] * 2**31),
            )
            for key in request.keys
        ]
        messages = [chat_request(self.adapter, sample) for sample in request.samples]
        answers = self.llm.chat(messages, settings, use_tqdm=False, lora_request=self.lora)
        for sample, prompt, answer in zip(request.samples, request.prompts, answers, strict=True):
            if len(answer.prompt_token_ids) != len(prompt):
                raise RolloutError(
                    f"vLLM must encode prompts as we do, got {len(answer.prompt_token_ids)} tokens "
                    f"for the {len(prompt)} of row {sample.id}"
                )
        return [[self._completion(output, params) for output in answer.outputs] for answer in answers]

    def _completion(self, output: Any, params: SamplingParams) -> Completion:
        tokens = list(output.token_ids)
        logprobs = [entry[token].logprob for token, entry in zip(tokens, output.logprobs, strict=True)]
        return sampled_completion(self.adapter, tokens, logprobs, params)

    def close(self) -> None:
        del self.llm
