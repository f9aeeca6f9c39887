"""Prompts equal the stock inputs; rows that cannot be encoded are refused with the rule they break."""

from __future__ import annotations

import pytest
import torch

from mixed_r1.models import tiny_adapter
from mixed_r1.opened import RowError


def test_inputs_equal_the_stock_processor(adapter, mixed_samples, stock_inputs):
    for sample in mixed_samples:
        prompt, stock = adapter.encode(sample), stock_inputs(adapter, sample)
        assert torch.equal(prompt.input_ids, stock["input_ids"][0])
        assert set(prompt.pixel_inputs) == set(stock) - {"input_ids", "attention_mask", "mm_token_type_ids"}
        for name, value in prompt.pixel_inputs.items():
            assert torch.equal(value, stock[name])


def test_image_tokens_are_counted_and_sized(adapter, mixed_samples):
    for sample in mixed_samples:
        prompt = adapter.encode(sample)
        features = adapter.image_features([prompt])
        assert len(prompt) == prompt.input_ids.numel()
        assert prompt.num_image_tokens == int((prompt.input_ids == adapter.image_token_id).sum())
        assert prompt.num_image_tokens == (0 if features is None else features.shape[0])
        assert prompt.image_sizes == tuple(image.size for image in sample.images)
        assert len(prompt.model_image_sizes) == len(sample.images)


def test_qwen_positions_are_those_of_the_stock_model(corpus, mixed_samples, stock_inputs):
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus)
    for sample in mixed_samples[1:]:
        prompt, stock = adapter.encode(sample), stock_inputs(adapter, sample)
        expected, deltas = adapter.model.model.get_rope_index(
            stock["input_ids"],
            mm_token_type_ids=stock["mm_token_type_ids"],
            image_grid_thw=stock["image_grid_thw"],
        )
        assert torch.equal(prompt.position_ids, expected[:, 0])
        assert prompt.next_position == len(prompt) + int(deltas)


def test_completions_restart_at_the_prompts_end(adapter, mixed_samples):
    for sample in mixed_samples:
        prompt = adapter.encode(sample)
        positions = adapter.positions(prompt, [3, 0, 2])
        n = prompt.next_position
        assert positions.shape == (prompt.position_ids.shape[0], len(prompt) + 5)
        assert torch.equal(positions[:, : len(prompt)], prompt.position_ids)
        assert all(axis.tolist() == [n, n + 1, n + 2, n, n + 1] for axis in positions[:, len(prompt) :])


def test_qwen_sees_smart_resized_images(corpus, make_sample, make_image):
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus)
    prompt = adapter.encode(make_sample("?", make_image(48, 48), make_image(100, 50)))
    assert prompt.model_image_sizes == ((48, 48), (64, 32))
    assert prompt.num_image_tokens == 9 + 4 * 2


def test_internvl_tiles_large_images_and_adds_a_thumbnail(corpus, make_sample, make_image):
    adapter = tiny_adapter("internvl", corpus=corpus, max_tiles=4)
    prompt = adapter.encode(make_sample("?", make_image(48, 48), make_image(200, 100)))
    assert prompt.model_image_sizes == ((48, 48), (96, 48))
    assert prompt.pixel_inputs["pixel_values"].shape[0] == 1 + (2 + 1)
    assert prompt.num_image_tokens == 9 * 4
    single = tiny_adapter("internvl", corpus=corpus, max_tiles=1)
    assert single.encode(make_sample("?", make_image(200, 100))).num_image_tokens == 9


def test_options_are_listed_below_the_question(adapter, make_sample):
    row = make_sample("Which?", task="multiple_choice", options=("a cat", "a dog"), answer="B")
    plain = make_sample("Which?\nA. a cat\nB. a dog")
    assert torch.equal(adapter.encode(row).input_ids, adapter.encode(plain).input_ids)


def test_messages_place_images_where_they_say(adapter, make_sample, make_image):
    parts = [{"type": "text", "text": "First: "}, {"type": "image"}, {"type": "text", "text": " then?"}]
    prompt = adapter.encode(
        make_sample("", make_image(48, 48), messages=({"role": "user", "content": parts},))
    )
    text = adapter.tokenizer.decode(prompt.input_ids)
    assert text.startswith("First: <") and " then?" in text
    unplaced = make_sample(
        "", make_image(48, 48), messages=({"role": "user", "content": "What digit is shown?"},)
    )
    placed_first = make_sample("What digit is shown?", make_image(48, 48))
    assert torch.equal(adapter.encode(unplaced).input_ids, adapter.encode(placed_first).input_ids)


def test_system_prompt_goes_first_unless_the_row_has_one(adapter, corpus, make_sample):
    prompted = tiny_adapter(adapter.family, corpus=corpus, system_prompt="Think first.")
    decode = adapter.tokenizer.decode
    assert decode(prompted.encode(make_sample("Why?")).input_ids).startswith("Think first.<|im_end|>Why?")
    own = ({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"})
    assert decode(prompted.encode(make_sample("", messages=own)).input_ids).startswith("Be brief.<|im_end|>")


def test_any_text_survives_the_tokenizer_and_tags_are_one_token_each(adapter):
    text = "<think>\u00e9\u4f60 \U0001f600\t12.5%</think>\n<answer>[1, 23]</answer>"
    ids = adapter.tokenizer(text, add_special_tokens=False)["input_ids"]
    assert adapter.tokenizer.decode(ids, skip_special_tokens=True) == text
    for tag in ("<think>", "</think>", "<answer>", "</answer>"):
        assert len(adapter.tokenizer(tag, add_special_tokens=False)["input_ids"]) == 1
    assert len(adapter.tokenizer("1234", add_special_tokens=False)["input_ids"]) == 4


def test_banned_and_stop_tokens(adapter):
    names = set(adapter.tokenizer.convert_ids_to_tokens(list(adapter.banned_tokens)))
    if adapter.family == "internvl":
        assert names == {"<img>", "</img>", "<IMG_CONTEXT>", "<video>"}
    else:
        pads = {"<|image_pad|>", "<|video_pad|>", "<|vision_pad|>"}
        assert names == pads | {"<|vision_start|>", "<|vision_end|>"}
    assert adapter.tokenizer.convert_ids_to_tokens(list(adapter.stop_tokens)) == ["<|im_end|>"]


def test_boxes_convert_to_what_the_family_speaks(adapter):
    box, size, model_size = (50.0, 20.0, 100.0, 80.0), (200, 100), (96, 48)
    expected = (50 * 5, 20 * 10, 100 * 5, 80 * 10)
    if adapter.family == "qwen2_5_vl":
        expected = (50 * 0.48, 20 * 0.48, 100 * 0.48, 80 * 0.48)
    assert adapter.box_frame == ("resized" if adapter.family == "qwen2_5_vl" else "norm1000")
    spoken = adapter.to_model_box(box, size, model_size)
    assert spoken == pytest.approx(expected)
    assert adapter.from_model_box(spoken, size, model_size) == pytest.approx(box)


def test_text_holding_a_placeholder_is_refused(adapter, make_sample, make_image):
    placeholder = adapter.tokenizer.convert_ids_to_tokens(adapter.image_token_id)
    with pytest.raises(ValueError, match="one image placeholder per image, got 2 for 1 images"):
        adapter.encode(make_sample(f"{placeholder}?", make_image(48, 48)))
    with pytest.raises(ValueError, match="one image placeholder per image, got 1 for 0 images"):
        adapter.encode(make_sample(f"{placeholder}?"))


def test_a_template_that_drops_images_is_refused(corpus, make_sample, make_image):
    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus)
    adapter.tokenizer.chat_template = "{% for m in messages %}{{ m['role'] }}{% endfor %}"
    with pytest.raises(ValueError, match="got 0 for 1 images"):
        adapter.encode(make_sample("?", make_image(48, 48)))


@pytest.mark.parametrize(
    ("messages", "rule"),
    [
        ([{"role": "robot", "content": "?"}], "one of the roles"),
        ([{"role": "user", "content": 3}], "a text or a list of parts"),
        ([{"role": "user", "content": [{"type": "video"}]}], "text and image parts"),
        (
            [{"role": "user", "content": "?"}, {"role": "assistant", "content": "!"}],
            "end with a user message",
        ),
        (
            [{"role": "user", "content": [{"type": "image"}, {"type": "image"}]}],
            "each of the 1 images once, got 2",
        ),
    ],
)
def test_bad_messages_name_the_rule(adapter, make_sample, make_image, messages, rule):
    with pytest.raises(ValueError, match=rule):
        adapter.encode(make_sample("", make_image(48, 48), messages=tuple(messages)))


def test_a_broken_image_is_a_row_error(adapter, make_sample):
    with pytest.raises(RowError, match="images.0: image .* must be decodable"):
        adapter.encode(make_sample("?", b"\x89PNG\r\n\x1a\nbroken"))
