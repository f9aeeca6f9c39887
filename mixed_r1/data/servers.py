"""Answers from OpenAI-compatible servers: several URLs, bounded concurrency, retries with backoff.

Tested with ``transformers serve``; ``vllm serve`` and SGLang speak the same protocol. A request asks for
one answer; its seed is a hash of (seed, row id, answer number), so that a server that honours seeds gives
the same answers again. Requests go round the servers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mixed_r1.chat import request_messages
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Servers
from mixed_r1.data.storage import hash64
from mixed_r1.http_client import HttpClient, ServerError
from mixed_r1.images import data_uri, web_bytes
from mixed_r1.schema import Sample

__all__ = ["ServerSampler"]


class ServerSampler:
    """``sampler(samples, k)`` -> k answers per sample.

    Raises (when called):
        BuildError: a request that failed ``retries`` + 1 times, or that the server refuses.
    """

    def __init__(self, settings: Servers, *, seed: int = 0) -> None:
        self._settings = settings
        self._seed = seed

    def __call__(self, samples: Sequence[Sample], k: int) -> list[list[str]]:
        """Ask for all answers of all samples; the first failure ends it."""
        settings = self._settings
        client = HttpClient(settings.urls, timeout=settings.timeout_s, retries=settings.retries)
        futures: list[Future[str]] = []
        with ThreadPoolExecutor(settings.concurrency) as pool:
            for sample in samples:
                messages = request_messages(sample, settings.system_prompt, image_uri=_uri)
                for number in range(k):
                    turn = len(futures)
                    futures.append(pool.submit(self._answer, client, sample, messages, number, turn))
            try:
                answers = [future.result() for future in futures]
            except ServerError as error:
                client.stopped.set()  # nobody waits for another attempt
                pool.shutdown(cancel_futures=True)
                raise BuildError(str(error)) from None
        return [answers[i : i + k] for i in range(0, len(answers), k)]

    def _answer(
        self, client: HttpClient, sample: Sample, messages: list[dict[str, Any]], number: int, turn: int
    ) -> str:
        settings = self._settings
        body = {
            "model": settings.model,
            "messages": messages,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "seed": hash64(f"{self._seed}:{sample.id}:{number}".encode()) % 2**31,
        }
        return client.post("/v1/chat/completions", body, _content, what=f"row {sample.id}", first=turn)


def _content(raw: bytes) -> str:
    """The text of a chat completion; an empty message is an empty answer."""
    message = json.loads(raw)["choices"][0]["message"]
    return message["content"] or ""


def _uri(image: Any) -> str:
    return data_uri(web_bytes(image))
