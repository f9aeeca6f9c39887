"""Answers from OpenAI-compatible servers: several URLs, bounded concurrency, retries with backoff.

Tested with ``transformers serve``; ``vllm serve`` and SGLang speak the same protocol. A request asks for
one answer; its seed is a hash of (seed, row id, answer number), so that a server that honours seeds gives
the same answers again. Requests go round the servers.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Servers
from mixed_r1.data.storage import hash64, image_payload
from mixed_r1.http_client import HttpClient, ServerError
from mixed_r1.schema import LETTERS, Sample

__all__ = ["ServerSampler", "request_messages"]


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
                messages = request_messages(sample, settings.system_prompt)
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


def request_messages(sample: Sample, system_prompt: str | None = None) -> list[dict[str, Any]]:
    """Chat messages in OpenAI's form: images as data URLs, where the messages show them or else first.

    Raises:
        ValueError: the messages show more images than the row has.
    """
    images = [_image_part(image) for image in sample.images]
    messages: list[dict[str, Any]]
    if sample.messages is None:
        options = [f"{LETTERS[i]}. {option}" for i, option in enumerate(sample.options or ())]
        text = {"type": "text", "text": "\n".join([sample.question, *options])}
        messages = [{"role": "user", "content": [*images, text]}]
    else:
        messages = []
        waiting = iter(images)
        for message in sample.messages:
            content = message["content"]
            parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
            shown = [next(waiting, None) if part.get("type") == "image" else part for part in parts]
            if None in shown:
                raise ValueError(f"messages must show at most {len(images)} images, got more in {sample.id}")
            messages.append({"role": message["role"], "content": shown})
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = [*waiting, *first["content"]]
    if system_prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": system_prompt})
    for message in messages:  # servers of text models take plain text only
        parts = message["content"]
        if isinstance(parts, list) and all(part.get("type") == "text" for part in parts):
            message["content"] = "\n".join(part["text"] for part in parts)
    return messages


def _image_part(image: Any) -> dict[str, Any]:
    payload = image_payload(image)
    kind = "jpeg" if payload.startswith(b"\xff\xd8") else "webp" if payload.startswith(b"RIFF") else "png"
    url = f"data:image/{kind};base64,{base64.b64encode(payload).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}
