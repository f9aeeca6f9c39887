"""The part of a conversation that the model wrote: only that is scored."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

__all__ = ["STOP_TEXTS", "completion_of", "text_of", "with_prompted_thought", "without_tools"]

TOOL_OPEN, TOOL_CLOSE = "<tool_response>", "</tool_response>"
THINK = "<think>"
IMAGE_RUNS = re.compile(r"(<\|image_pad\|>|<IMG_CONTEXT>|<image>)\1+")
MAX_BOS = 32
STOP_TEXTS = ("<|im_end|>", "<|endoftext|>", "<|eot_id|>", "</s>")


def text_of(completion: Any) -> str:
    """The text of a completion: itself, or the last message of the model among its messages.

    What a tool or a user says is never the model's. Content may be a text, a list of texts, or a list of
    parts with ``text``. A thought in a field of its own (``reasoning_content``) comes before the content, in
    tags.
    """
    if isinstance(completion, str):
        return completion
    messages = [completion] if isinstance(completion, Mapping) else list(completion or ())
    own = [message for message in messages if message.get("role", "assistant") == "assistant"]
    if not own:
        return ""
    content = own[-1].get("content") or ""
    if not isinstance(content, str):
        content = "".join(part if isinstance(part, str) else part.get("text") or "" for part in content)
    thought = own[-1].get("reasoning_content") or own[-1].get("reasoning")
    return f"{THINK}{thought}</think>{content}" if isinstance(thought, str) else content


def without_tools(text: str) -> str:
    """``text`` without the responses of tools; one that is cut off goes to the end."""
    kept = []
    while True:
        before, opened, rest = text.partition(TOOL_OPEN)
        kept.append(before)
        if not opened:
            return "".join(kept)
        text = rest.partition(TOOL_CLOSE)[2]


def with_prompted_thought(prompt: Any, completion: str) -> str:
    """``completion`` with the ``<think>`` that its prompt ends with, where a chat template opened it."""
    opened = isinstance(prompt, str) and prompt.rstrip().endswith(THINK)
    return THINK + completion if opened and THINK not in completion else completion


def completion_of(query: str, prompt: str) -> str:
    """The query without its prompt, and without the stop token that OpenRLHF decodes with it. The query has
    an image token for each patch: runs are read as one. ValueError where it does not begin with the prompt,
    which must never be scored.
    """
    query, prompt = (IMAGE_RUNS.sub(r"\1", text) for text in (query, prompt))
    start = query.find(
        prompt, 0, len(prompt) + MAX_BOS
    )  # a token for the beginning of the text may stand before it
    if start < 0:
        raise ValueError(f"queries must begin with their prompts, got {query[:60]!r} for {prompt[:60]!r}")
    text = with_prompted_thought(prompt, query[start + len(prompt) :].rstrip())
    return next((text[: -len(stop)] for stop in STOP_TEXTS if text.endswith(stop)), text)
