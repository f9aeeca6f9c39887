"""One rule makes the messages of a row: our prompts and servers' requests say the same."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image

from mixed_r1.chat import chat_messages, request_messages
from mixed_r1.models import tiny_adapter
from mixed_r1.rollout.server import chat_request
from mixed_r1.schema import Sample


def sample(**fields: Any) -> Sample:
    return Sample(**{"id": "1", "task": "math", "question": "?", "answer": "1", **fields})


ROWS = [
    sample(question="  How many?\n"),
    sample(task="multiple_choice", question="Which? ", options=("x", "y"), answer="A"),
    sample(images=(Image.new("RGB", (8, 8)),), question=" See. "),
    sample(
        messages=(
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": " b"}]},
        )
    ),
]


def texts(messages: list[dict[str, Any]]) -> list[str]:
    """Role and text of each message, images left out."""
    found = []
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        found.append(message["role"] + ": " + "".join(p["text"] for p in parts if p["type"] == "text"))
    return found


@pytest.mark.parametrize("row", ROWS)
def test_a_request_says_what_our_prompt_says(row: Sample) -> None:
    for system in (None, "Think."):
        ours, theirs = (
            chat_messages(row, system),
            request_messages(row, system, image_uri=lambda image: "data:"),
        )
        assert texts(ours) == texts(theirs)


def test_white_space_around_a_question_is_no_part_of_it() -> None:
    assert texts(request_messages(ROWS[0], image_uri=str)) == ["user: How many?"]
    assert texts(request_messages(ROWS[1], image_uri=str)) == ["user: Which?\nA. x\nB. y"]


def test_a_message_of_text_alone_is_a_text() -> None:
    system, user = request_messages(ROWS[3], image_uri=str)
    assert (system["content"], user["content"]) == ("Be short.", "a b")
    (with_image,) = request_messages(ROWS[2], image_uri=lambda image: "data:x")
    assert with_image["content"] == [
        {"type": "image_url", "image_url": {"url": "data:x"}},
        {"type": "text", "text": "See."},
    ]


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        (({"role": "assistant", "content": "Hello."},), "messages must end with a user message"),
        (({"role": "robot", "content": "Hello."},), "messages must have one of the roles"),
        (({"role": "user", "content": [{"type": "image"}]},), "must show each of the 0 images once"),
    ],
)
def test_rows_that_cannot_be_asked_are_errors_for_both(messages: Any, says: str) -> None:
    for make in (chat_messages, lambda row: request_messages(row, image_uri=str)):
        with pytest.raises(ValueError, match=says):
            make(sample(messages=messages))


def test_the_same_tokens_whichever_form_the_template_is_given() -> None:
    """A server renders the request's messages by the checkpoint's own template."""
    adapter = tiny_adapter("internvl", corpus=["How many? Which? Be short."])
    for row in (ROWS[0], ROWS[1], ROWS[3]):
        render = adapter.tokenizer.apply_chat_template
        ours = render(chat_messages(row), tokenize=False, add_generation_prompt=True)
        assert render(chat_request(adapter, row), tokenize=False, add_generation_prompt=True) == ours
