"""What requests and replies look like, in two shapes: our own, and that of OpenRLHF's remote rewards."""

from __future__ import annotations

import json
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, PlainValidator, ValidationError, WithJsonSchema

__all__ = ["OpenRlhfReply", "OpenRlhfRequest", "RequestError", "ScoreReply", "ScoreRequest", "parse"]

M = TypeVar("M", bound=BaseModel)


class RequestError(Exception):
    """A request that gets no scores: HTTP status, the field at fault ("" for the whole), and the rule."""

    def __init__(self, status: int, field: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.field = field
        self.message = message


def _text(value: Any) -> str:
    # pydantic's own str refuses lone surrogates. One such completion must score 0, not fail the request.
    if not isinstance(value, str):
        raise ValueError(f"must be a text, got {type(value).__name__}")
    return value


def _row(value: Any) -> Any:
    if not isinstance(value, (str, dict)):
        raise ValueError(f"must be an object of sample fields, or a text of one, got {type(value).__name__}")
    return value


ROW_SCHEMA = {
    "description": "fields of a sample: task and answer, options, image_size, frame, reward ...; or the JSON "
    "text of them that mixed_r1.integrations.encode makes",
    "anyOf": [{"type": "object"}, {"type": "string"}],
}
Text = Annotated[Any, PlainValidator(_text), WithJsonSchema({"type": "string"})]
Row = Annotated[Any, PlainValidator(_row), WithJsonSchema(ROW_SCHEMA)]


class ScoreRequest(BaseModel):
    """``completions[i]`` is scored against ``samples[i]``."""

    model_config = ConfigDict(extra="forbid")

    completions: list[Text]
    samples: list[Row]


class ScoreReply(BaseModel):
    """A RewardBatch. ``values`` and ``reasons`` are [completions][names]; null is not applicable, or masked.

    ``mask`` is false, and ``total`` null, where a sample cannot be scored; ``errors`` says why, by index.
    """

    names: list[str]
    total: list[float | None]
    values: list[list[float | None]]
    reasons: list[list[str]]
    mask: list[bool]
    errors: dict[int, str]


class OpenRlhfRequest(BaseModel):
    """``query[i]`` is prompt and completion as the tokenizer decodes them, ``labels[i]`` the sample."""

    model_config = ConfigDict(extra="ignore")

    query: list[Text]
    prompts: list[Text]
    labels: list[Row]


class OpenRlhfReply(BaseModel):
    """``rewards`` are totals, ``scores`` task rewards in [0, 1]; a masked row has 0 in both and is marked in
    ``extra_logs["masked"]``.
    """

    rewards: list[float]
    scores: list[float]
    extra_logs: dict[str, list[float]]


def parse(body: bytes, model: type[M]) -> M:
    """The request in ``body``. Raises RequestError 400 for what is no JSON, 422 for what is no request."""
    try:
        values = json.loads(body)
    except (ValueError, RecursionError) as error:  # UnicodeDecodeError is a ValueError
        raise RequestError(400, "", f"body must be JSON in UTF-8, got {type(error).__name__}") from None
    if not isinstance(values, dict):
        raise RequestError(422, "", f"body must be a JSON object, got {type(values).__name__}")
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        field = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        if first["type"] == "extra_forbidden":
            message = f"must be one of {sorted(model.model_fields)}"
        raise RequestError(422, field, f"{field}: {message}") from None
