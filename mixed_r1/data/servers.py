"""Answers from OpenAI-compatible servers: several URLs, bounded concurrency, retries with backoff.

Tested with ``transformers serve``; ``vllm serve`` and SGLang speak the same protocol.

A request asks for one answer; its seed is a hash of (seed, row id, answer number), so a server that honours
seeds gives the same answers again. Requests go round the servers; one that fails is left alone for a while.
"""

from __future__ import annotations

import base64
import json
import os
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Servers
from mixed_r1.data.storage import hash64, image_payload
from mixed_r1.schema import LETTERS, Sample

__all__ = ["ServerSampler", "request_messages"]

_FIRST_PAUSE_S = 0.5
_LONGEST_PAUSE_S = 30.0
_MAX_RESPONSE_BYTES = 16 * 1024 * 1024
# Worth another try: timeouts, too many requests, and the server's own failures.
_TRANSIENT = {408, 409, 425, 429, 500, 502, 503, 504}


class ServerSampler:
    """``sampler(samples, k)`` -> k answers per sample.

    Raises (when called):
        BuildError: a request that failed ``retries`` + 1 times, or that the server refuses; it names the
        server.
    """

    def __init__(self, settings: Servers, *, seed: int = 0) -> None:
        if not settings.urls:
            raise ValueError("urls must name at least one server, got none")
        self._settings = settings
        self._seed = seed
        self._key = os.environ.get(settings.api_key_env, "") if settings.api_key_env else ""
        self._ready_at = dict.fromkeys(settings.urls, 0.0)
        self._lock = threading.Lock()
        self._sent = 0

    def __call__(self, samples: Sequence[Sample], k: int) -> list[list[str]]:
        messages = [request_messages(sample, self._settings.system_prompt) for sample in samples]
        requests = [
            (sample, number, text)
            for sample, text in zip(samples, messages, strict=True)
            for number in range(k)
        ]
        with ThreadPoolExecutor(self._settings.concurrency) as pool:
            futures = [pool.submit(self._answer, *request) for request in requests]
            try:
                answers = [future.result() for future in futures]
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return [answers[i : i + k] for i in range(0, len(answers), k)]

    def _answer(self, sample: Sample, number: int, messages: list[dict[str, Any]]) -> str:
        settings = self._settings
        body = {
            "model": settings.model,
            "messages": messages,
            "temperature": settings.temperature,
            "top_p": settings.top_p,
            "max_tokens": settings.max_tokens,
            "seed": hash64(f"{self._seed}:{sample.id}:{number}".encode()) % 2**31,
        }
        data = json.dumps(body).encode()
        pause = _FIRST_PAUSE_S
        for attempt in range(settings.retries + 1):
            url = self._next_url()
            try:
                return self._post(url, data)
            except _TransientError as error:
                failure = f"{url}: {error}"
                with self._lock:
                    self._ready_at[url] = time.monotonic() + pause
            if attempt < settings.retries:
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_S)
        raise BuildError(
            f"row {sample.id} must be answered in {settings.retries + 1} attempts, last: {failure}"
        )

    def _next_url(self) -> str:
        """The next server in turn that did not fail lately, or the one that is ready first."""
        with self._lock:
            urls = self._settings.urls
            self._sent += 1
            turn = [urls[(self._sent + i) % len(urls)] for i in range(len(urls))]
            now = time.monotonic()
            return min(turn, key=lambda url: max(0.0, self._ready_at[url] - now))

    def _post(self, url: str, data: bytes) -> str:
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = urllib.request.Request(f"{url.rstrip('/')}/chat/completions", data=data, headers=headers)
        try:
            with urllib.request.urlopen(request, timeout=self._settings.timeout_s) as response:
                raw = response.read(_MAX_RESPONSE_BYTES)
            content = json.loads(raw)["choices"][0]["message"]["content"]
        except urllib.error.HTTPError as error:
            detail = error.read(2048).decode("utf-8", "replace")
            if error.code in _TRANSIENT:
                raise _TransientError(f"HTTP {error.code} {detail[:200]}") from None
            raise BuildError(
                f"server {url} must accept the request, got HTTP {error.code}: {detail}"
            ) from None
        except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
            raise _TransientError(f"{type(error).__name__}: {error}") from None
        return content if isinstance(content, str) else ""


class _TransientError(Exception):
    """A failure that may pass."""


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
