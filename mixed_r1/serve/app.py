"""The ASGI application: /score, /get_reward (OpenRLHF), /health, /metrics, /openapi.json."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import traceback
import warnings
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from mixed_r1 import __version__
from mixed_r1.rewards.load import load_reward
from mixed_r1.serve.guard import Guard, error_body
from mixed_r1.serve.metrics import Metrics
from mixed_r1.serve.payloads import (
    OpenRlhfReply,
    OpenRlhfRequest,
    RequestError,
    ScoreReply,
    ScoreRequest,
)
from mixed_r1.serve.scoring import Scoring
from mixed_r1.serve.settings import SETTINGS_VARIABLE, SUPERVISOR_VARIABLE, ServeSettings, read_token

__all__ = ["app_from_environment", "create_app"]

THREADS = 4  # one of them scores at a time; the others read requests and write replies meanwhile
JSON = "application/json"
logger = logging.getLogger("uvicorn.error")


class ErrorReply(BaseModel):
    """Every error: what is wrong, and the field at fault, such as completions.3 ("" for none)."""

    error: str
    field: str


def app_from_environment() -> Guard:
    """The factory that uvicorn's workers call; ``run_server`` wrote the settings."""
    return create_app(ServeSettings.model_validate_json(os.environ[SETTINGS_VARIABLE]))


def create_app(settings: ServeSettings) -> Guard:
    """The application of one worker process. The reward is loaded when the server starts.

    Raises ConfigError where ``read_token`` does.
    """
    token = read_token(settings)
    metrics = Metrics()
    limiter = CapacityLimiter(THREADS)
    scoring: list[Scoring] = []

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        # Golds and ids of samples stay out of the log; replies say which rows are masked, and why.
        warnings.filterwarnings("ignore", "sample .* is masked")
        reward = load_reward(
            settings.reward, embeddings=settings.embeddings, calibration=settings.calibration
        )
        scoring.append(Scoring(reward, metrics, max_completions=settings.max_completions))
        supervisor = os.environ.get(SUPERVISOR_VARIABLE, "")
        watch = (
            asyncio.create_task(_end_with(int(supervisor))) if settings.workers > 1 and supervisor else None
        )
        yield
        if watch is not None:
            watch.cancel()
        reward.close()

    app = FastAPI(title="mixed-r1", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None)

    async def answer(request: Request, work: Callable[[Scoring, bytes], bytes]) -> Response:
        try:
            body = await asyncio.wait_for(
                _read(request, settings.max_body_bytes), timeout=settings.body_seconds
            )
            reply = await to_thread.run_sync(partial(work, scoring[0], body), limiter=limiter)
            return Response(reply, media_type=JSON)
        except RequestError as error:
            return _error(error.status, error.field, error.message)
        except ClientDisconnect:
            return _error(400, "", "body must be complete, the connection was closed")
        except asyncio.TimeoutError:
            return _error(408, "", f"body must arrive within {settings.body_seconds:g} s")
        except Exception as error:  # no text of an error is logged: it may quote a completion
            frames = traceback.extract_tb(error.__traceback__)
            where = " < ".join(f"{frame.filename}:{frame.lineno}" for frame in reversed(frames[-6:]))
            logger.error("%s at %s", type(error).__name__, where)
            return _error(500, "", f"the server failed ({type(error).__name__}); its log says where")

    @app.post("/score", **_described(ScoreRequest, ScoreReply))
    async def score(request: Request) -> Response:
        """Score completions against samples."""
        return await answer(request, Scoring.score)

    @app.post("/get_reward", **_described(OpenRlhfRequest, OpenRlhfReply))
    async def get_reward(request: Request) -> Response:
        """OpenRLHF's remote reward: --reward.remote_url http://any:TOKEN@HOST:PORT/get_reward"""
        return await answer(request, Scoring.openrlhf)

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Answers without a token as soon as scores can be had."""
        return {"status": "ok", "version": __version__}

    @app.get("/metrics", response_class=Response)
    def text() -> Response:  # not async: it reads files
        """Prometheus' text format, summed over all workers."""
        return Response(metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")

    @app.exception_handler(HTTPException)
    async def not_found(request: Request, error: HTTPException) -> Response:
        return _error(error.status_code, "", f"{request.method} {request.url.path}: {error.detail}")

    return Guard(app, token=token, max_pending=settings.max_pending, metrics=metrics)


async def _read(request: Request, limit: int) -> bytes:
    """The body. The rest of one that is too long is read and dropped for a while, so that its sender gets the
    error and not a broken connection.
    """
    too_long = RequestError(413, "", f"body must have at most {limit} bytes, got more")
    if int(request.headers.get("content-length", "0")) > 4 * limit:
        raise too_long
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        parts.append(part)
        if size > limit:
            parts.clear()
        if size > 4 * limit:
            break
    if size > limit:
        raise too_long
    return b"".join(parts)


def _error(status: int, field: str, message: str) -> Response:
    # The unread rest of a body must not be taken for the next request, and must not go on coming.
    headers = {"connection": "close"} if status in (408, 413) else None
    return Response(error_body(field, message), status_code=status, media_type=JSON, headers=headers)


def _described(request: type[BaseModel], reply: type[BaseModel]) -> dict[str, Any]:
    """How OpenAPI shows an endpoint that reads its body itself, in a thread."""
    schema = {"content": {JSON: {"schema": request.model_json_schema()}}, "required": True}
    errors: dict[int | str, Any] = {
        status: {"model": ErrorReply} for status in (400, 401, 408, 413, 422, 503)
    }
    return {
        "openapi_extra": {"requestBody": schema},
        "responses": {200: {"model": reply}, **errors},
        "response_class": Response,
    }


async def _end_with(parent: int) -> None:
    """End a worker, as SIGTERM does, when its supervisor was killed: else it would hold the port for ever."""
    while os.getppid() == parent:
        await asyncio.sleep(1.0)
    os.kill(os.getpid(), signal.SIGTERM)
