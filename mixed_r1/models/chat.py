"""From a sample to chat messages: the same for every family; the tokenizer's chat template does the rest."""

from __future__ import annotations

from typing import Any

from mixed_r1.schema import LETTERS, Sample

__all__ = ["chat_messages", "question_text"]

_ROLES = ("system", "user", "assistant")


def question_text(sample: Sample) -> str:
    """The question, and for a multiple choice its options below it as lines ``A. text``."""
    lines = [sample.question.strip()]
    lines += [f"{letter}. {option}" for letter, option in zip(LETTERS, sample.options or (), strict=False)]
    return "\n".join(lines)


def chat_messages(sample: Sample, system_prompt: str | None = None) -> list[dict[str, Any]]:
    """Messages whose contents are lists of ``{"type": "image"}`` and ``{"type": "text", "text": ...}``.

    ``sample.messages``, where given, is the whole conversation, and options are not added to it; else one
    user message holds the images first, then ``question_text``. Messages that mention no image get all of
    them at the head of the first user message. ``system_prompt`` goes first unless the messages bring a
    system message.

    Raises:
        ValueError: an unknown role or part, a conversation that does not end with the user, or image parts
            that are not as many as ``sample.images``.
    """
    messages: list[dict[str, Any]]
    if sample.messages is None:
        messages = [{"role": "user", "content": [{"type": "text", "text": question_text(sample)}]}]
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
            f"messages must show each of the {len(sample.images)} images once, got {shown} image parts"
        )
    if system_prompt and messages[0]["role"] != "system":
        messages.insert(0, {"role": "system", "content": [{"type": "text", "text": system_prompt}]})
    return messages


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
    return {"role": role, "content": [_checked_part(part) for part in content]}


def _checked_part(part: Any) -> dict[str, str]:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "image":
        return {"type": "image"}
    if kind == "text" and isinstance(part.get("text"), str):
        return {"type": "text", "text": part["text"]}
    raise ValueError(f"messages must consist of text and image parts, got {part!r}")
