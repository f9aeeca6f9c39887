"""What stands before every endpoint: the token, the number of requests under way, and the clock."""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from mixed_r1.serve.metrics import Metrics

__all__ = ["Guard", "error_body"]

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Message, Receive, Send], Awaitable[None]]

LIMITED = ("/score", "/get_reward")
ENDPOINTS = ("/health", "/metrics", "/score", "/get_reward", "/openapi.json")


def error_body(field: str, message: str) -> bytes:
    """The JSON of every error: what is wrong, and in which field ("" where it is in none)."""
    return json.dumps({"error": message, "field": field}).encode()


class Guard:
    """ASGI middleware. 401 without the token, except for /health; 503 above ``max_pending`` requests.

    The token comes as ``Authorization: Bearer TOKEN``, or as the password of basic authorisation, which is
    what a client makes of http://any:TOKEN@host/ and all that OpenRLHF can send.
    """

    def __init__(self, app: App, *, token: str | None, max_pending: int, metrics: Metrics) -> None:
        self.app = app
        self.max_pending = max_pending
        self.metrics = metrics
        self.token = None if token is None else token.encode("ascii")
        self.pending = 0

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        status = 500
        endpoint = scope["path"] if scope["path"] in ENDPOINTS else "other"

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._admit(scope, receive, counted)
        finally:
            self.metrics.requests.labels(endpoint, str(status)).inc()
            self.metrics.seconds.labels(endpoint).observe(time.perf_counter() - started)

    async def _admit(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["path"] != "/health" and not self._is_allowed(scope):
            await _refuse(
                send, 401, "the request must carry the server's token", ("www-authenticate", "Bearer")
            )
        elif scope["path"] not in LIMITED:
            await self.app(scope, receive, send)
        elif self.pending >= self.max_pending:
            message = f"requests under way must be at most {self.max_pending}: try again"
            await _refuse(send, 503, message, ("retry-after", "1"))
        else:
            self.pending += 1
            self.metrics.pending.inc()
            try:
                await self.app(scope, receive, send)
            finally:
                self.pending -= 1
                self.metrics.pending.dec()

    def _is_allowed(self, scope: Message) -> bool:
        if self.token is None:
            return True
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        # The time of this comparison does not tell where the two tokens differ.
        return hmac.compare_digest(_token_of(given[0]) if len(given) == 1 else b"", self.token)


def _token_of(header: bytes) -> bytes:
    scheme, _, value = header.partition(b" ")
    if scheme.lower() == b"bearer":
        return value.strip()
    if scheme.lower() == b"basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return b""
    return b""


async def _refuse(send: Send, status: int, message: str, header: tuple[str, str]) -> None:
    body = error_body("", message)
    headers = [("content-type", "application/json"), ("content-length", str(len(body))), header]
    encoded = [(name.encode(), value.encode()) for name, value in headers]
    await send({"type": "http.response.start", "status": status, "headers": encoded})
    await send({"type": "http.response.body", "body": body})
