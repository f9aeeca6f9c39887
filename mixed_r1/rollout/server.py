"""Rollouts by an OpenAI-compatible HTTP server: ``transformers serve``, ``vllm serve``, ``sglang``.

Every completion is a request of its own, so that a request that fails costs one completion only. Servers
compute the prompt of a group once all the same, by their prefix cache. When a request has used up its
attempts, RolloutError ends the whole rollout.

What differs between servers:

=================  ===============================================  ====================
``server_kind``    how it takes new weights                         tokens and log-probs
=================  ===============================================  ====================
transformers       a request's ``model`` is a checkpoint directory  text only
transformers_lora  the same: adapter, and links to its base model   text only
sglang             POST /update_weights_from_disk                   token ids
vllm               POST /collective_rpc reload_weights (dev mode)   token ids, log-probs
vllm_lora          POST /v1/load_lora_adapter                       token ids, log-probs
=================  ===============================================  ====================

Text alone is tokenized again, which gives the canonical tokens of that text, not always the sampled ones, and
its sampling log-probs are unknown: the importance weight is 1. Directories are handed over by path, so server
and trainer must see the same file system. This project's tests run ``transformers serve`` and vLLM 0.32 (its
CPU build); for faults they hold a server of their own to vLLM's messages. SGLang was not run.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mixed_r1.chat import request_messages
from mixed_r1.config import ConfigError
from mixed_r1.http_client import HttpClient, ServerError
from mixed_r1.images import data_uri
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.prompt import Prompt
from mixed_r1.ranks import Ranks
from mixed_r1.rollout.base import Completion, RolloutError, RolloutRequest, SamplingParams, SaveWeights
from mixed_r1.rollout.sampler import random_stream
from mixed_r1.run_directory import RunDirectory
from mixed_r1.schema import Sample
from mixed_r1.train_config import TrainConfig

__all__ = ["ServerSampler", "chat_request", "check_limits", "sampled_completion", "save_version"]


class ServerSampler:
    """Completions from ``config.server_urls``, weights pushed before each rollout."""

    def __init__(self, adapter: ModelAdapter, config: TrainConfig, ranks: Ranks) -> None:
        if not config.server_kind.startswith("transformers"):
            check_limits(adapter, config)
        self.adapter = adapter
        self.config = config
        self.ranks = ranks
        self.servers = HttpClient(
            config.server_urls, timeout=config.server_timeout, retries=config.server_retries
        )
        self.model = config.server_model or str(config.model)
        self.version = -1
        self.pool = ThreadPoolExecutor(config.server_concurrency, thread_name_prefix="rollout")

    def push(self, version: int, save: SaveWeights) -> None:
        if version == self.version:
            return
        model = ""
        problem = None
        if self.ranks.first:
            lora = self.config.server_kind.endswith("_lora")
            try:
                model = self._announce(save_version(self.config.out, version, save, adapter_only=lora))
            except ServerError as error:
                problem = str(error)
        model, problem = self.ranks.gather([model, problem])[0]
        if problem is not None:  # on every rank
            raise RolloutError(problem)
        self.model = model
        self.version = version

    def _announce(self, directory: Path) -> str:
        """Tell every server of the weights in ``directory``; returns the name to ask for them by."""
        kind = self.config.server_kind
        path = str(directory)
        model = self.model
        messages: list[tuple[str, dict[str, Any]]] = []
        if kind.startswith("transformers"):
            if kind == "transformers_lora":
                _add_base(directory, self.config.model)
            _for_transformers_serve(directory, SamplingParams.of(self.config))
            messages = [("/reset", {})]  # without it the server keeps every version in memory
            model = path
        elif kind == "sglang":
            messages = [("/update_weights_from_disk", {"model_path": path})]
        elif kind == "vllm":
            reload = {"method": "reload_weights", "kwargs": {"weights_path": path}}
            # The workers drop their image features by themselves; the scheduler has to be told that they did.
            caches = ("/reset_prefix_cache", "/reset_encoder_cache")
            messages = [("/collective_rpc", reload), *((cache, {}) for cache in caches)]
        else:  # a new name for each version, because servers cache by name
            model = f"{directory.name}-{uuid.uuid4().hex[:8]}"
            messages = [("/v1/load_lora_adapter", {"lora_name": model, "lora_path": path})]
            if self.version >= 0:
                messages.append(("/v1/unload_lora_adapter", {"lora_name": self.model}))
        for url in self.servers.urls:
            server = HttpClient([url], timeout=self.servers.timeout, retries=self.servers.retries)
            for name, body in messages:
                server.post(name, body, len, what=directory.name)
        return model

    def generate(self, request: RolloutRequest) -> list[list[Completion]]:
        self.servers.stopped.clear()
        futures: list[Future[Completion]] = []
        for sample, key, prompt in zip(request.samples, request.keys, request.prompts, strict=True):
            body = {"model": self.model, **self._body(sample, request.params)}
            read = partial(_read, self.adapter, prompt, request.params)
            for g in range(request.num_completions):
                # The server's generator is seeded as ours is: a resumed run asks for the same draws.
                draw = int(random_stream(request.seed, request.step, key, g, 1)[0] * 2**31)
                job = partial(
                    self.servers.post, what=f"completion {g} of row {sample.id}", first=len(futures)
                )
                futures.append(self.pool.submit(job, "/v1/chat/completions", {**body, "seed": draw}, read))
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in done:
            if (error := future.exception()) is not None:
                self.servers.stopped.set()  # wakes requests that wait for their next attempt
                for other in waiting:
                    other.cancel()
                raise RolloutError(str(error)) from error
        flat = [future.result() for future in futures]
        count = request.num_completions
        return [flat[i * count : (i + 1) * count] for i in range(len(request.samples))]

    def close(self) -> None:
        self.servers.stopped.set()
        self.pool.shutdown(cancel_futures=True)

    def _body(self, sample: Sample, params: SamplingParams) -> dict[str, Any]:
        body = {
            "messages": chat_request(self.adapter, sample),
            "max_tokens": params.max_new_tokens,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "logit_bias": {str(token): -100.0 for token in self.adapter.banned_tokens},
        }
        if not self.config.server_kind.startswith("transformers"):
            # Without these fields the checkpoint's generation_config.json would decide.
            body |= {"top_k": params.top_k or -1, "min_p": params.min_p, "repetition_penalty": 1.0}
            body["return_token_ids"] = True
        if self.config.server_kind.startswith("vllm"):
            body["logprobs"] = True
        return body


def save_version(out: Path, version: int, save: SaveWeights, *, adapter_only: bool = False) -> Path:
    """Write the weights to ``out``/rollout, where the newest two versions stay. For the first rank."""
    files = RunDirectory(out)
    for old in files.all_weights()[:-1]:  # requests for the newest may still run
        shutil.rmtree(old)
    directory = files.weights(version)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    save(directory, adapter_only=adapter_only)
    return directory


def chat_request(adapter: ModelAdapter, sample: Sample) -> list[dict[str, Any]]:
    """The row's messages in OpenAI's form; images as data URIs of the pixels we see."""

    def uri(source: Any) -> str:
        return data_uri(adapter.sent_image(source))

    return request_messages(sample, adapter.system_prompt, image_uri=uri)


def check_limits(adapter: ModelAdapter, config: TrainConfig) -> None:
    """Raise ConfigError where a server cannot be told how many tiles an image may have."""
    if adapter.family == "internvl" and (config.min_pixels or config.max_pixels):
        raise ConfigError(
            "min_pixels and max_pixels must be left out where an InternVL is served by vLLM or SGLang (its "
            "tiles are settings of the server), got "
            f"{config.min_pixels} and {config.max_pixels}"
        )


def sampled_completion(
    adapter: ModelAdapter,
    tokens: Sequence[int],
    sampling_logprobs: Sequence[float] | None,
    params: SamplingParams,
) -> Completion:
    """A completion of tokens that another program sampled.

    It is cut before a token that only prompts may hold (a server without ``logit_bias`` can sample one), and
    after ``max_new_tokens`` (a text that is tokenized again may be longer). A completion that was cut counts
    as one that has not stopped.
    """
    banned = (i for i, token in enumerate(tokens) if token in adapter.banned_tokens)
    length = min(next(banned, len(tokens)), params.max_new_tokens)
    kept = list(tokens[:length])
    stopped = bool(kept) and kept[-1] in adapter.stop_tokens
    text = adapter.tokenizer.decode(kept[:-1] if stopped else kept, skip_special_tokens=False)
    return Completion(
        tokens=torch.tensor(kept or [adapter.tokenizer.eos_token_id], dtype=torch.int64),
        logprobs=None,
        sampling_logprobs=torch.tensor(sampling_logprobs[:length]) if sampling_logprobs and kept else None,
        stopped=stopped,
        text=text,
    )


def _read(adapter: ModelAdapter, prompt: Prompt, params: SamplingParams, text: bytes) -> Completion:
    """The completion in an answer; any of the errors that ``HttpClient.post`` knows where there is none."""
    answer = json.loads(text)
    counted = (answer.get("usage") or {}).get("prompt_tokens")
    if counted is not None and counted != len(prompt):
        # Another chat template or image size: the policy would be trained on prompts it never saw.
        raise ServerError(f"server must encode prompts as we do, got {counted} tokens for {len(prompt)}")
    choice = answer["choices"][0]
    ids = choice.get("token_ids", choice.get("response_token_ids"))  # vLLM's name, SGLang's
    if ids is None:
        message = choice["message"]
        if message.get("reasoning_content") or message.get("reasoning"):
            raise ServerError(
                "server must leave reasoning in its texts (no reasoning parser), got them apart"
            )
        tokens = adapter.tokenizer(message["content"] or "", add_special_tokens=False)["input_ids"]
        if choice["finish_reason"] == "stop" and tokens[-1:] != [adapter.tokenizer.eos_token_id]:
            tokens = [*tokens, adapter.tokenizer.eos_token_id]
        return sampled_completion(adapter, tokens, None, params)
    vocabulary = adapter.output_weight.shape[0]
    if not ids or any(type(token) is not int or not 0 <= token < vocabulary for token in ids):
        raise ValueError(f"token_ids must be token ids below {vocabulary}, got {str(ids)[:80]}")
    logprobs = None
    if choice.get("logprobs"):
        logprobs = [float(entry["logprob"]) for entry in choice["logprobs"]["content"]]
        if len(logprobs) != len(ids) or not all(math.isfinite(p) and p <= 1e-3 for p in logprobs):
            raise ValueError(f"logprobs must be one per token and at most 0, got {str(logprobs)[:80]}")
    return sampled_completion(adapter, ids, logprobs, params)


def _add_base(directory: Path, base: Path) -> None:
    """Make an adapter's folder a whole checkpoint: links to the base model's weights, copies of the rest."""
    for path in base.resolve().iterdir():
        if path.suffix == ".safetensors":
            (directory / path.name).symlink_to(path)
        elif path.is_file():
            shutil.copyfile(path, directory / path.name)


def _for_transformers_serve(directory: Path, params: SamplingParams) -> None:
    """Write into the checkpoint what a request cannot say: to sample at all, and to return the text as it is
    (by default the text between ``<think>`` tags is taken out).
    """
    drawing = {"do_sample": True, "top_k": params.top_k, "min_p": params.min_p or None}
    raw = {"content": {"content": "text", "content_args": {"strip": False}}}
    template = {"start_anchor_pattern": "(?s).+", "defaults": {"role": "assistant"}, "fields": raw}
    for name, settings in (
        ("generation_config.json", {**drawing, "repetition_penalty": 1.0}),
        ("tokenizer_config.json", {"response_template": template}),
    ):
        path = directory / name
        path.write_text(json.dumps({**json.loads(path.read_text()), **settings}))
