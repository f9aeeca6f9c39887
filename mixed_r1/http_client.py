"""JSON requests to a set of HTTP servers that may be slow, down, or answer garbage.

A request that fails in a way that may pass (no connection, time out, status 408, 429 or 5xx, an answer that
cannot be read) is sent again, to the next url, after a pause of 0.5, 1, 2 ... seconds. One that the server
calls wrong (any other 4xx) or sends elsewhere (3xx: the key is not for others) is not.
"""

from __future__ import annotations

import http.client
import json
import os
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

__all__ = ["HttpClient", "ServerError"]

T = TypeVar("T")

MAX_ANSWER = 64 << 20  # bytes
MAX_PAUSE = 30.0  # seconds
MAX_ECHO = 16  # characters of a request that an error may repeat


class ServerError(RuntimeError):
    """No server gave an answer, or none can be asked; the message says for what, and what came instead."""


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        """None: the answer is the error it is."""


# Not through a proxy: these servers are neighbours.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())


class HttpClient:
    """``post`` may be called from many threads.

    Args:
        urls: scheme, host and port; a path ``/v1`` at the end is dropped.
        timeout: seconds a request may take as a whole.
        retries: attempts after the first.

    The key in the environment variable OPENAI_API_KEY, where there is one, is sent along. Errors quote the
    start of what a server said, without the key and without longer parts of the request.

    Raises:
        ServerError: a url of another form.
    """

    def __init__(self, urls: Sequence[str], *, timeout: float, retries: int) -> None:
        self.urls = [_checked(url).rstrip("/").removesuffix("/v1") for url in urls]
        self.timeout = timeout
        self.retries = retries
        self.stopped = threading.Event()  # set: nobody waits for another attempt

    def post(
        self, path: str, body: Mapping[str, Any], read: Callable[[bytes], T], *, what: str, first: int = 0
    ) -> T:
        """``read`` of the answer's bytes. Errors of ``read`` count as an unreadable answer.

        Args:
            what: names the request in errors.
            first: index of the url to try first, modulo their number.

        Raises:
            ServerError: see above; or raised by ``read``, for what no further attempt would mend.
        """
        payload = json.dumps(body).encode()
        attempts = self.retries + 1
        problem = ""
        for attempt in range(attempts):
            if attempt and self.stopped.wait(min(MAX_PAUSE, 0.5 * 2 ** (attempt - 1))):
                break
            url = self.urls[(first + attempt) % len(self.urls)] + path
            try:
                return read(self._send(url, payload))
            except urllib.error.HTTPError as error:
                problem = f"status {error.code} from {url}: {_excerpt(error)}"
                if error.code < 500 and error.code not in (408, 429):
                    break
            except (OSError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__} from {url}: {error}"
            except (ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
                problem = f"an unreadable answer from {url}: {type(error).__name__}: {str(error)[:300]}"
        said = " ".join(_without_echo(problem, body).split())
        tries = f"attempt {attempt + 1} of {attempts}"
        raise ServerError(f"server must answer for {what}, got {said} ({tries})")

    def _send(self, url: str, payload: bytes) -> bytes:
        headers = {"Content-Type": "application/json"}
        if key := os.environ.get("OPENAI_API_KEY"):
            headers["Authorization"] = f"Bearer {key}"
        deadline = time.monotonic() + self.timeout
        body = bytearray()
        request = urllib.request.Request(url, payload, headers)
        with OPENER.open(request, timeout=self.timeout) as response:
            # In pieces, with a look at the clock after each: a server may trickle for ever.
            while block := response.read1(1 << 16):
                body += block
                if time.monotonic() > deadline:
                    raise TimeoutError(f"answer must come within {self.timeout:g} s, got {len(body)} bytes")
                if len(body) > MAX_ANSWER:
                    raise ValueError(f"answer must have at most {MAX_ANSWER} bytes, got more")
        return bytes(body)


def _checked(url: str) -> str:
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        shown = f"{parts.scheme}://{parts.hostname}" if parts.hostname else "another form"
        raise ServerError(f"url must be http://host:port or https://host:port, got {shown}")
    if parts.username is not None or parts.password is not None:
        raise ServerError(f"url must hold no user or password (it is logged), got one for {parts.hostname}")
    return url


def _excerpt(error: urllib.error.HTTPError) -> str:
    try:
        return error.read(300).decode("utf-8", "replace")
    except (OSError, http.client.HTTPException):
        return "no text"


def _without_echo(problem: str, body: Mapping[str, Any]) -> str:
    """``problem`` with "..." for the key and for what it repeats of a request but the name of the model:
    errors are logged, and many servers quote what they were sent."""
    if key := os.environ.get("OPENAI_API_KEY"):
        problem = problem.replace(key, "...")
    content = {name: value for name, value in body.items() if name != "model"}
    sent = json.dumps(content) + json.dumps(content, ensure_ascii=False)
    start = 0
    kept = ""
    while start < len(problem):
        end = start + MAX_ECHO
        if end > len(problem) or problem[start:end] not in sent:
            kept += problem[start]
            start += 1
            continue
        while end < len(problem) and problem[start : end + 1] in sent:
            end += 1
        kept = f"{kept}..."
        start = end
    return kept
