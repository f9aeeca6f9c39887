"""From the bytes of a request to the bytes of its reply: runs in a thread, never on the event loop."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixed_r1.integrations.ground_truth import Row, decode
from mixed_r1.integrations.openrlhf import completion_of
from mixed_r1.integrations.scores import NAMES, scores
from mixed_r1.rewards import MixedReward, RewardBatch
from mixed_r1.rewards.open_ended import CalibrationError
from mixed_r1.schema import Reason, Sample
from mixed_r1.serve.metrics import Metrics
from mixed_r1.serve.payloads import OpenRlhfRequest, RequestError, ScoreRequest, parse
from mixed_r1.tasks import Task

__all__ = ["Scoring"]

REASONS = {int(reason): reason.name for reason in Reason}


class Scoring:
    """``reward`` behind the two shapes of requests; counts what it scores in ``metrics``."""

    def __init__(self, reward: MixedReward, metrics: Metrics, *, max_completions: int) -> None:
        self.reward = reward
        self.metrics = metrics
        self.max_completions = max_completions

    def score(self, body: bytes) -> bytes:
        """ScoreRequest -> ScoreReply."""
        request = parse(body, ScoreRequest)
        rows = _rows(request.samples)
        batch = self._batch(request.completions, rows, ("completions", "samples"))
        unscored = np.flatnonzero(~batch.mask).tolist()
        problems = self.reward.check([rows[i] for i in unscored])
        reply = {
            "names": batch.names,
            "total": _nullable(batch.total),
            "values": _nullable(batch.values),
            "reasons": [[REASONS[code] for code in codes] for codes in batch.reasons.tolist()],
            "mask": batch.mask.tolist(),
            "errors": {str(unscored[k]): problem for k, problem in problems},
        }
        return _json(reply)

    def openrlhf(self, body: bytes) -> bytes:
        """OpenRlhfRequest -> OpenRlhfReply."""
        request = parse(body, OpenRlhfRequest)
        if len(request.prompts) != len(request.query):
            raise _lengths("prompts", "query", len(request.prompts), len(request.query))
        completions = []
        for i, (query, prompt) in enumerate(zip(request.query, request.prompts, strict=True)):
            try:
                completions.append(completion_of(query, prompt))
            except ValueError:
                raise RequestError(
                    422, f"query.{i}", f"query.{i} must begin with prompts.{i}, it does not"
                ) from None
        found = scores(self._batch(completions, _rows(request.labels), ("query", "labels")))
        columns = {name: [row[name] for row in found] for name in NAMES}
        return _json({"rewards": columns["score"], "scores": columns["task"], "extra_logs": columns})

    def _batch(self, completions: list[str], rows: list[Row], fields: tuple[str, str]) -> RewardBatch:
        if len(rows) != len(completions):
            raise _lengths(fields[1], fields[0], len(rows), len(completions))
        if len(completions) > self.max_completions:
            raise RequestError(
                413,
                fields[0],
                f"{fields[0]} must be at most {self.max_completions}, got {len(completions)}",
            )
        tasks = [_task(row, self.reward.tasks) for row in rows]
        for i, name in enumerate(tasks if self.reward.open_ended is None else ()):
            if name in self.reward.tasks and self.reward.tasks[name].scorer == "embedding":
                where = f"{fields[1]}.{i}"
                message = f"{where} must not be {name} on a server without embeddings, got {name}"
                raise RequestError(422, where, message)
        started = time.perf_counter()
        try:
            batch = self.reward(completions, rows)
        except (
            CalibrationError
        ) as error:  # the settings of a row need a calibration that the server does not have
            raise RequestError(422, fields[1], f"{fields[1]}: {error}") from None
        self.metrics.count(batch, tasks, time.perf_counter() - started)
        return batch


def _rows(given: list[Any]) -> list[Row]:
    """The rows, each read once: ``decode`` knows texts it has met, and a group shares its row."""
    return [decode(row if isinstance(row, str) else json.dumps(row)) for row in given]


def _task(row: Row, known: Mapping[str, Task]) -> str:
    """The task of a row, or "invalid" for unusable rows: clients must not add labels to metrics."""
    task = row.task if isinstance(row, Sample) else row.get("task")
    return task if isinstance(task, str) and task in known else "invalid"


def _lengths(field: str, other: str, got: int, wanted: int) -> RequestError:
    return RequestError(422, field, f"{field} must be one per {other} ({wanted}), got {got}")


def _nullable(values: NDArray[np.float64]) -> Any:
    """Nested lists, NaN as None."""
    found = values.astype(object)
    found[np.isnan(values)] = None
    return found.tolist()


def _json(reply: dict[str, Any]) -> bytes:
    return json.dumps(reply, separators=(",", ":"), allow_nan=False).encode("ascii")
