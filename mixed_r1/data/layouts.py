"""Rows in the layouts that other programs write, as the fields of a Sample.

==================  =================================================================================
layout              columns
==================  =================================================================================
ours                ``question`` or ``messages``, ``images``, ``answer``, ``options``, ...
LLaVA, ShareGPT     ``conversations`` of ``{"from", "value"}``; VLM-R1 and Qwen-VL write these too
OpenAI              ``messages`` of ``{"role", "content"}``, images as ``image_url`` parts
EasyR1, VLM-R1      ``problem``, ``image`` or ``images``, ``answer`` or ``solution``
verl                ``prompt``, ``images``, ``reward_model.ground_truth``
a folder's index    ``file_name`` beside the other columns, as ``datasets`` reads image folders
==================  =================================================================================

A conversation that ends with the assistant is a question and its answer: where the row names no answer, the
last message is it. Everything else a row may hold is left out, and named once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mixed_r1.schema import Sample

__all__ = ["as_fields"]

# Theirs -> ours, where ours is not there.
ALIASES = {
    "image": "images",
    "file_name": "images",
    "problem": "question",
    "prompt": "question",
    "choices": "options",
    "solution": "answer",
    "ground_truth": "answer",
}
SPEAKERS = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
    "system": "system",
}
# Fields that are no texts: a table of texts (CSV) holds them as JSON.
STRUCTURED = ("messages", "reward", "metadata", "image_size", "resized_size", "alternatives")


def as_fields(row: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """The fields of a Sample that ``row`` holds, and the names of the columns that are none.

    Raises:
        ValueError: a conversation or JSON text that cannot be read; the message begins with the field.
    """
    fields = {str(name): value for name, value in row.items() if value is not None and name is not None}
    _from_conversation(fields)
    model = fields.get("reward_model")
    if isinstance(model, Mapping) and "answer" not in fields and model.get("ground_truth") is not None:
        fields["answer"] = model["ground_truth"]
    for theirs, ours in ALIASES.items():
        if theirs in fields and not _is_given(fields, ours):
            value = fields.pop(theirs)
            fields[ours] = _untagged(value) if theirs in ("solution", "ground_truth") else value
    for name in STRUCTURED:
        if isinstance(fields.get(name), str):
            fields[name] = _from_json(name, fields[name])
    if isinstance(fields.get("images"), str) and fields["images"].lstrip().startswith("["):
        fields["images"] = _from_json("images", fields["images"])
    _take_images(fields)
    ignored = [name for name in fields if name not in Sample.model_fields]
    return {name: value for name, value in fields.items() if name in Sample.model_fields}, ignored


def _is_given(fields: Mapping[str, Any], name: str) -> bool:
    if name == "question" and fields.get("messages"):
        return True
    return fields.get(name) not in (None, "", [], ())


def _from_conversation(fields: dict[str, Any]) -> None:
    """``conversations``, or a ``prompt`` that is one, become ``messages``; the last answer the gold."""
    spoken = fields.pop("conversations", None) or fields.pop("conversation", None)
    if spoken is None and isinstance(fields.get("prompt"), (list, tuple)) and not fields.get("messages"):
        spoken = fields.pop("prompt")
    if isinstance(spoken, str):
        spoken = _from_json("conversations", spoken)
    if spoken is None:
        spoken = fields.get("messages")
    if isinstance(spoken, str):
        spoken = _from_json("messages", spoken)
    if spoken is None:
        return
    if not isinstance(spoken, (list, tuple)) or not all(isinstance(turn, Mapping) for turn in spoken):
        raise ValueError("messages must be a list of messages, each with a role and a content")
    messages = [_as_message(turn) for turn in spoken]
    if len(messages) > 1 and messages[-1]["role"] == "assistant" and "answer" not in fields:
        fields["answer"] = _untagged(_plain_content(messages.pop()["content"]))
    fields["messages"] = messages


def _as_message(turn: Mapping[str, Any]) -> dict[str, Any]:
    """ShareGPT's names of a message as everyone else's; content as it is."""
    if "role" in turn or "from" not in turn:
        return {"role": turn.get("role"), "content": _content(turn.get("content"))}
    speaker = str(turn["from"])
    return {"role": SPEAKERS.get(speaker.lower(), speaker), "content": turn.get("value")}


def _content(content: Any) -> Any:
    """Column files fill each part up with the fields of the others: empty ones go."""
    if not isinstance(content, (list, tuple)):
        return content
    return [
        {name: value for name, value in part.items() if value is not None}
        if isinstance(part, Mapping)
        else part
        for part in content
    ]


def _plain_content(content: Any) -> Any:
    """The text of an answer that is given in parts; a value of another type, such as a box, as it is."""
    if isinstance(content, (list, tuple)) and all(isinstance(part, Mapping) for part in content):
        return "".join(str(part.get("text") or "") for part in content)
    return content


def _untagged(value: Any) -> Any:
    """What stands between answer tags, where a text has them."""
    if not isinstance(value, str):
        return value
    body, closed = value.partition("<answer>")[2].partition("</answer>")[:2]
    return (body if closed else value).strip()


def _take_images(fields: dict[str, Any]) -> None:
    """Images that stand in message parts join ``images``, in the order in which they are shown."""
    found: list[Any] = []
    messages = []
    for message in fields.get("messages") or ():
        content = message.get("content")
        if isinstance(content, (list, tuple)):
            content = [_taken_part(part, found) for part in content]
        messages.append({**message, "content": content})
    if not found:
        return
    if _is_given(fields, "images"):
        raise ValueError("images must stand in a column or in the messages, got both")
    fields["messages"], fields["images"] = messages, found


def _taken_part(part: Any, found: list[Any]) -> Any:
    kind = part.get("type") if isinstance(part, Mapping) else None
    if kind in ("image_url", "input_image"):
        source = part.get("image_url")
        source = source.get("url") if isinstance(source, Mapping) else source
    elif kind == "image":
        source = next((part[key] for key in ("image", "url", "path", "base64") if part.get(key)), None)
    else:
        return part
    if source is None:
        return {"type": "image"}
    found.append(source)
    return {"type": "image"}


def _from_json(name: str, text: str) -> Any:
    try:
        return json.loads(text) if text.strip() else None
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{name} must be JSON, got {text[:60]!r} ({type(error).__name__})") from None
