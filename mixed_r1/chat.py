"""From a sample to chat messages: the same for every model family, and for servers.

The tokenizer's chat template, here or in the server, does the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mixed_r1.options import option_lines
from mixed_r1.schema import Sample

__all__ = ["PLACEHOLDER", "chat_messages", "plain_content", "question_text", "request_messages"]

PLACEHOLDER = "<image>"  # in a question or message: an image is shown here
_ROLES = ("system", "user", "assistant")


def question_text(sample: Sample) -> str:
    """The question, and for a multiple choice its options below it as lines ``A. text``."""
    return "\n".join([sample.question.strip(), *option_lines(sample.options)])


def chat_messages(sample: Sample, system_prompt: str | None = None) -> list[dict[str, Any]]:
    """Messages whose contents are lists of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``.

    ``sample.messages``, where given, is the whole conversation, and options are not added to it; else one
    user message holds ``question_text``. ``<image>`` in a text stands where an image is shown. Messages that
    mention no image get all of them at the head of the first user message. ``system_prompt`` goes first
    unless the messages bring a system message.

    Raises:
        ValueError: an unknown role or part, a conversation that does not end with the user, or images and
            ``<image>`` that are not as many as ``sample.images``.
    """
    messages: list[dict[str, Any]]
    if sample.messages is None:
        messages = [{"role": "user", "content": _text_parts(question_text(sample))}]
    else:
        messages = [_checked_message(message) for message in sample.messages]
    if not messages or messages[-1]["role"] != "user":
        raise ValueError(f"messages must end with a user message, got roles {[m['role'] for m in messages]}")
    shown = sum(part["type"] == "image" for message in messages for part in message["content"])
    if shown == 0 and sample.images:
        first_user = next(message for message in messages if message["role"] == "user")
        first_user["content"] = [{"type": "image"} for _ in sample.images] + first_user["content"]
    elif shown != len(sample.images):
        raise ValueError(
            f"messages must show each of the {len(sample.images)} images once, got {shown} image parts or "
            f"{PLACEHOLDER}"
        )
    if system_prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system_prompt}]})
    return messages


def plain_content(message: dict[str, Any]) -> str | None:
    """The content of a message of text alone as one text, its parts joined as chat templates join them; None
    where there is an image among them.
    """
    parts = message["content"]
    if any(part["type"] != "text" for part in parts):
        return None
    return "".join(part["text"] for part in parts)


def request_messages(
    sample: Sample, system_prompt: str | None = None, *, image_uri: Callable[[Any], str]
) -> list[dict[str, Any]]:
    """``chat_messages`` in OpenAI's form, for a server: each image is the URI that ``image_uri`` makes of it.

    A message of text alone is a plain text, which servers of text models want, its parts joined as chat
    templates join them. Raises ValueError as ``chat_messages`` does.
    """
    images = iter(sample.images)
    messages = []
    for message in chat_messages(sample, system_prompt):
        content: Any = plain_content(message)
        if content is None:
            content = [_request_part(part, images, image_uri) for part in message["content"]]
        messages.append({"role": message["role"], "content": content})
    return messages


def _request_part(part: dict[str, str], images: Any, image_uri: Callable[[Any], str]) -> dict[str, Any]:
    if part["type"] == "text":
        return part
    return {"type": "image_url", "image_url": {"url": image_uri(next(images))}}


def _checked_message(message: dict[str, Any]) -> dict[str, Any]:
    role, content = message.get("role"), message.get("content")
    if role not in _ROLES:
        raise ValueError(f"messages must have one of the roles {_ROLES}, got {role!r}")
    if isinstance(content, str):
        content = [{"type": "text", "text": content}]
    if not isinstance(content, (list, tuple)):
        raise ValueError(
            f"messages must have a text or a list of parts as content, got {type(content).__name__}"
        )
    return {"role": role, "content": [part for given in content for part in _checked_parts(given)]}


def _checked_parts(part: Any) -> list[dict[str, str]]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image":
        return [{"type": "image"}]
    if kind == "text" and isinstance(part.get("text"), str):
        return _text_parts(part["text"])
    raise ValueError(f"messages must consist of text and image parts, got {_shortened(part)}")


def _text_parts(text: str) -> list[dict[str, str]]:
    """A text as parts, ``<image>`` in it as images."""
    if PLACEHOLDER not in text:
        return [{"type": "text", "text": text}]
    parts: list[dict[str, str]] = []
    for number, piece in enumerate(text.split(PLACEHOLDER)):
        parts += [{"type": "image"}] if number else []
        parts += [{"type": "text", "text": piece}] if piece else []
    return parts


def _shortened(part: Any) -> str:
    shown = repr(part)
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
