"""Chat templates as checkpoints have them: what they are given, and what is noticed before a run."""

from __future__ import annotations

import pytest
import torch

from mixed_r1.config import ConfigError
from mixed_r1.models import tiny_adapter
from mixed_r1.models.template import check_template
from mixed_r1.schema import Sample

LOOP = (
    "{% for m in messages %}BODY<|im_end|>{% endfor %}{% if add_generation_prompt %}<|im_start|>{% endif %}"
)
# The body of a message in templates of text models: printed, added to, refusing what is no text.
PRINTS = "{{ m.content }}"
ADDS = "{{ m['role'] + ': ' + m['content'] }}"
RAISES = "{% if m.content is not string %}{{ raise_exception('text only') }}{% endif %}{{ m.content }}"
# One that knows parts alone, and one that knows both.
PARTS = "{% for p in m.content %}{{ p.text }}{% endfor %}"
BOTH = "{% if m.content is string %}{{ m.content }}{% else %}" + PARTS + "{% endif %}"


@pytest.fixture
def adapter_with(corpus):
    def make(body, **options):
        adapter = tiny_adapter("internvl", corpus=corpus, **options)
        adapter.tokenizer.chat_template = LOOP.replace("BODY", body)
        return adapter

    return make


def text_row(**fields):
    return Sample(
        **{"id": "t", "task": "math", "question": "What is two more than 1?", "answer": "3", **fields}
    )


@pytest.mark.parametrize("body", [PRINTS, ADDS, RAISES, PARTS, BOTH])
def test_a_text_row_is_asked_as_a_text(adapter_with, body):
    adapter = adapter_with(body, system_prompt="Be short.")
    shown = adapter.tokenizer.decode(adapter.encode(text_row()).input_ids)
    assert "Be short." in shown and "What is two more than 1?<|im_end|><|im_start|>" in shown
    assert "type" not in shown and "[" not in shown
    check_template(adapter.tokenizer, [text_row()], "Be short.")


def test_a_template_that_takes_both_is_given_what_it_always_was(adapter_with):
    ids = [adapter_with(body).encode(text_row()).input_ids for body in (BOTH, PARTS)]
    assert torch.equal(*ids)


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("{{ m.role }}", "a chat template that shows what rows say, got a prompt for row t without"),
        ("{{ raise_exception('no') }}", "chat template must render messages, got TemplateError: no"),
        ("{{ m.content.text.strip() }}", "chat template must render messages, got UndefinedError"),
    ],
)
def test_a_template_that_shows_no_question_is_found_before_the_run(adapter_with, body, says):
    adapter = adapter_with(body)
    with pytest.raises(ConfigError, match=says):
        check_template(adapter.tokenizer, [text_row()])


def test_each_kind_of_row_is_tried(adapter_with):
    only_first = "{% if loop.first %}" + BOTH + "{% endif %}"
    adapter = adapter_with(only_first)
    turns = ("user", "assistant", "user")
    spoken = [{"role": role, "content": f"turn {i}"} for i, role in enumerate(turns)]
    long = text_row(id="long", question="", messages=spoken)
    check_template(adapter.tokenizer, [text_row()])
    with pytest.raises(ConfigError, match="row long without 'turn 1' of its assistant message"):
        check_template(adapter.tokenizer, [text_row(), long])


def test_a_placeholder_stands_where_the_picture_goes(adapter, make_sample, make_image, stock_inputs):
    """As the stock processor is given parts; in questions, options, and messages."""
    images = [make_image(48, 48), make_image(60, 40, 1)]
    parts = [
        {"type": "text", "text": "First "},
        {"type": "image", "image": images[0]},
        {"type": "text", "text": ", then "},
        {"type": "image", "image": images[1]},
        {"type": "text", "text": ": which?"},
    ]
    written = make_sample("First <image>, then <image>: which?", *images)
    spoken = make_sample("", *images, messages=({"role": "user", "content": written.question},))
    plain = [{"type": part["type"], **({"text": part["text"]} if "text" in part else {})} for part in parts]
    placed = make_sample("", *images, messages=({"role": "user", "content": plain},))
    ids = [adapter.encode(sample).input_ids for sample in (written, spoken, placed)]
    assert torch.equal(ids[0], ids[2]) and torch.equal(ids[1], ids[2])
    stock = stock_inputs(adapter, written, content=parts)
    assert torch.equal(ids[0], stock["input_ids"][0])


@pytest.mark.parametrize(
    ("question", "count"), [("<image> and <image>?", 1), ("<image>?", 2), ("See <image>", 0)]
)
def test_placeholders_are_as_many_as_images(adapter, make_sample, make_image, question, count):
    with pytest.raises(ValueError, match=f"messages must show each of the {count} images once"):
        adapter.encode(make_sample(question, *[make_image(48, 48)] * count))
