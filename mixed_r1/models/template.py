"""A checkpoint's chat template: what it wants to be given, and whether it shows what a row says.

Templates are programs that come with checkpoints. Those of vision-language models go through the parts of a
message; those of text models print or add to ``message.content``, which must be a text then, or the prompt
shows a printed Python list. So a message of text alone is given in the form that the template renders.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from mixed_r1.chat import chat_messages, plain_content
from mixed_r1.config import ConfigError
from mixed_r1.schema import Sample

__all__ = ["check_template", "render"]

_PROBE = "What is 1 + 1?"


def render(tokenizer: Any, messages: Sequence[dict[str, Any]]) -> str:
    """The text of ``messages`` with the opening of an answer, by the tokenizer's chat template.

    Raises:
        ValueError: there is no template, or it fails; the message says how.
    """
    return _rendered(tokenizer, [_as_wanted(tokenizer, message) for message in messages])


def _as_wanted(tokenizer: Any, message: dict[str, Any]) -> dict[str, Any]:
    text = plain_content(message)
    if text is None or not _wants_text(tokenizer, str(tokenizer.chat_template)):
        return message
    return {"role": message["role"], "content": text}


@lru_cache(maxsize=8)
def _wants_text(tokenizer: Any, template: str) -> bool:
    """Whether the content of a message of text alone must be a text: rendered from parts it is not the same.

    ``template`` is that of the tokenizer: another one is another question.
    """
    shown: list[str | None] = []
    for content in (_PROBE, [{"type": "text", "text": _PROBE}]):
        try:
            shown.append(_rendered(tokenizer, [{"role": "user", "content": content}]))
        except ValueError:
            shown.append(None)
    as_text, as_parts = shown
    return as_text is not None and _PROBE in as_text and as_parts != as_text


def _rendered(tokenizer: Any, messages: Sequence[dict[str, Any]]) -> str:
    try:
        text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    except Exception as error:  # whatever a program of the checkpoint raises
        reason = " ".join(str(error).split())[:200]
        raise ValueError(
            f"chat template must render messages, got {type(error).__name__}: {reason}"
        ) from None
    return text


def check_template(tokenizer: Any, samples: Sequence[Sample], system_prompt: str | None = None) -> None:
    """Render a row of each kind among ``samples``: with and without images, with and without a conversation.

    Raises:
        ConfigError: the template fails on one, or leaves out what one says: a run would train on prompts
            that do not ask the question.
    """
    kinds: dict[Any, Sample] = {}
    for sample in samples:
        kinds.setdefault((bool(sample.images), _roles(sample)), sample)
    for sample in kinds.values():
        try:
            messages = chat_messages(sample, system_prompt)
        except ValueError:  # of the row, not of the template
            continue
        try:
            shown = render(tokenizer, messages)
        except ValueError as error:
            raise ConfigError(f"model must have a chat template for row {sample.id}: {error}") from None
        for message in messages:
            for part in message["content"]:
                text = part.get("text", "").strip()
                if text and text not in shown:
                    raise ConfigError(
                        f"model must have a chat template that shows what rows say, got a prompt for row "
                        f"{sample.id} without {text[:60]!r} of its {message['role']} message"
                    )


def _roles(sample: Sample) -> tuple[Any, ...]:
    return tuple(message.get("role") for message in sample.messages or ())
