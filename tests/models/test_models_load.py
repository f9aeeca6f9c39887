"""Checkpoints: the published layout, sharded, in bfloat16, read back; foreign code never runs unasked."""

from __future__ import annotations

import json

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForImageTextToText, AutoTokenizer
from transformers.models.auto.image_processing_auto import AutoImageProcessor

from mixed_r1.models import RemoteCodeError, load_adapter, tiny_adapter


@pytest.fixture
def saved(adapter, tmp_path):
    adapter.save(tmp_path)
    return tmp_path


def edit_json(path, **values):
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def test_a_sharded_bfloat16_checkpoint_comes_back(adapter, corpus, tmp_path, mixed_samples):
    original = tiny_adapter(adapter.family, corpus=corpus, seed=3, dtype=torch.bfloat16)
    original.save(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    loaded = load_adapter(tmp_path, dtype="bfloat16", system_prompt=None)
    assert loaded.model.dtype == torch.bfloat16
    expected = original.model.state_dict()
    assert expected.keys() == loaded.model.state_dict().keys()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.model.state_dict().items())
    for sample in mixed_samples:
        before, after = original.encode(sample), loaded.encode(sample)
        assert torch.equal(before.input_ids, after.input_ids)
        assert torch.equal(before.position_ids, after.position_ids)
        assert all(torch.equal(v, after.pixel_inputs[k]) for k, v in before.pixel_inputs.items())
    for name in ("family", "box_frame", "banned_tokens", "stop_tokens"):
        assert getattr(loaded, name) == getattr(original, name)


def test_stock_auto_classes_read_what_save_wrote(adapter, saved, mixed_samples, stock_inputs):
    model = AutoModelForImageTextToText.from_pretrained(saved, dtype=torch.float32)
    assert type(model) is type(adapter.model)
    assert model.config._attn_implementation == "sdpa"  # ours is not written into the config
    assert AutoTokenizer.from_pretrained(saved).chat_template == adapter.tokenizer.chat_template
    # The kind is named because with torchvision the default is its own.
    image_processor = AutoImageProcessor.from_pretrained(saved, backend="pil")
    assert type(image_processor) is type(adapter.image_processor)
    inputs = stock_inputs(adapter, mixed_samples[1])
    torch.testing.assert_close(model(**inputs).logits, adapter.model(**inputs).logits, atol=1e-5, rtol=0)


def test_a_gathered_state_dict_is_what_save_writes(adapter, tmp_path):
    gathered = {name: value + 1 for name, value in adapter.model.state_dict().items()}
    adapter.save(tmp_path, state_dict=gathered)
    weights = load_adapter(tmp_path, dtype=torch.float32).model.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in gathered.items())


def test_generate_stops_where_the_adapter_stops(saved, adapter):
    loaded = load_adapter(saved, dtype="float32")
    assert loaded.model.generation_config.eos_token_id == adapter.tokenizer.eos_token_id
    edit_json(saved / "generation_config.json", eos_token_id=[adapter.tokenizer.eos_token_id, 5])
    assert load_adapter(saved, dtype="float32").stop_tokens == (5, adapter.tokenizer.eos_token_id)


def test_image_options_override_the_checkpoints(adapter, saved, make_sample, make_image):
    options = {"size": {"shortest_edge": 1024, "longest_edge": 1024}}
    if adapter.family == "internvl":
        options = {"max_patches": 1}
    row = make_sample("?", make_image(192, 96))
    smaller = load_adapter(saved, dtype="float32", image_options=options).encode(row)
    assert smaller.num_image_tokens < adapter.encode(row).num_image_tokens


def test_a_chat_template_in_a_file_of_its_own_is_used(saved, make_sample):
    template = "{% for m in messages %}user: {{ m['content'][0]['text'] }}{% endfor %}"
    (saved / "chat_template.json").write_text(json.dumps({"chat_template": template}))
    loaded = load_adapter(saved, dtype="float32")
    assert loaded.tokenizer.decode(loaded.encode(make_sample("Why?")).input_ids) == "user: Why?"


@pytest.mark.parametrize("file", ["config.json", "tokenizer_config.json", "preprocessor_config.json"])
def test_a_checkpoint_with_code_of_its_own_is_refused(saved, tmp_path, monkeypatch, file):
    canary = tmp_path / "canary"
    (saved / "foreign.py").write_text(f"open({str(canary)!r}, 'w').close()\n")
    edit_json(saved / file, auto_map={"AutoConfig": "foreign.Config", "AutoTokenizer": ["foreign.T", None]})
    with pytest.raises(RemoteCodeError, match=rf"got auto_map in \['{file}'\]"):
        load_adapter(saved, dtype="float32")
    for revision in (None, "main", "abc123"):
        with pytest.raises(RemoteCodeError, match="revision must be a full commit hash"):
            load_adapter(saved, dtype="float32", trust_remote_code=True, revision=revision)
    assert not canary.exists()


def test_trusted_and_pinned_code_runs(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    checkpoint, canary = tmp_path / "checkpoint", tmp_path / "canary"
    tiny_adapter("qwen2_5_vl", corpus=corpus).save(checkpoint)
    (checkpoint / "foreign.py").write_text(
        "from transformers import Qwen2Tokenizer\n"
        f"open({str(canary)!r}, 'w').close()\n"
        "class ForeignTokenizer(Qwen2Tokenizer):\n    pass\n"
    )
    edit_json(
        checkpoint / "tokenizer_config.json", auto_map={"AutoTokenizer": ["foreign.ForeignTokenizer", None]}
    )
    loaded = load_adapter(checkpoint, dtype="float32", trust_remote_code=True, revision="0" * 40)
    assert canary.exists()
    assert type(loaded.tokenizer).__name__ == "ForeignTokenizer"


def test_what_cannot_be_loaded_names_the_rule(saved, tmp_path):
    with pytest.raises(ValueError, match=r"dtype must be one of .*got 'int4'"):
        load_adapter(saved, dtype="int4")
    edit_json(saved / "config.json", model_type="llava")
    with pytest.raises(ValueError, match=r"model_type of \['internvl', .*got 'llava'"):
        load_adapter(saved, dtype="float32")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(ValueError, match="without config.json"):
        load_adapter(empty, dtype="float32")


def test_a_tiny_model_is_its_seed_and_leaves_the_generator_alone(adapter, corpus):
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first, again, other = (tiny_adapter(adapter.family, corpus=corpus, seed=s) for s in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)
    pairs = list(
        zip(first.model.parameters(), again.model.parameters(), other.model.parameters(), strict=True)
    )
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert any(not torch.equal(a, c) for a, _, c in pairs)
    assert 300_000 < sum(parameter.numel() for parameter in first.model.parameters()) < 550_000


@pytest.mark.parametrize(
    ("options", "rule"),
    [
        ({"family": "llava"}, "family must be one of"),
        ({"image_size": 50}, "image_size must be a multiple of 2 \\* patch_size = 16, got 50"),
        ({"text_hidden": 98}, "text_hidden must be a multiple of 2 \\* text_heads"),
        ({"vocab_size": 256}, "vocab_size must be at least"),
    ],
)
def test_impossible_tiny_models_name_the_rule(corpus, options, rule):
    with pytest.raises(ValueError, match=rule):
        tiny_adapter(**{"family": "qwen2_5_vl", "corpus": corpus, **options})


def test_sizes_are_parameters(make_sample, make_image, corpus):
    sizes = {"patch_size": 14, "image_size": 112, "text_hidden": 64, "text_layers": 1, "vision_layers": 1}
    for family in ("qwen2_5_vl", "internvl"):
        prompt = tiny_adapter(family, corpus=corpus, **sizes).encode(make_sample("?", make_image(112, 112)))
        assert prompt.num_image_tokens == 16


@pytest.mark.parametrize("tied", [True, False])
def test_weights_have_the_published_names(adapter, corpus, tmp_path, tied):
    tiny_adapter(adapter.family, corpus=corpus, tied=tied).save(tmp_path)
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        names = set(file.keys())
    published = {
        "qwen2_5_vl": {"visual.", "model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."},
        "qwen2_vl": {"visual.", "model.layers.", "model.embed_tokens.", "model.norm.", "lm_head."},
        "qwen3_vl": {"model.visual.", "model.language_model.", "lm_head."},
        "internvl": {
            "vision_tower.",
            "multi_modal_projector.",
            "language_model.model.",
            "language_model.lm_head.",
        },
    }[adapter.family]
    assert all(name.startswith(tuple(published)) for name in names)
    assert any("lm_head" in name for name in names) == (not tied)
    reloaded = load_adapter(tmp_path, dtype="float32")
    assert (reloaded.output_weight is reloaded.model.get_input_embeddings().weight) == tied


def test_the_first_published_qwen_config_layout_is_read(corpus, tmp_path, mixed_samples, stock_inputs):
    """Flat text fields and ``rope_scaling`` of type mrope, as Qwen2.5-VL-3B-Instruct was published."""
    original = tiny_adapter("qwen2_5_vl", corpus=corpus)
    original.save(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    text = config.pop("text_config")
    rope = text.pop("rope_parameters")
    for name in ("model_type", "dtype", "layer_types", "head_dim"):
        text.pop(name)
    config["vision_config"].pop("model_type")
    config["vision_config"].pop("rope_parameters")
    config |= text | {"rope_theta": rope["rope_theta"], "torch_dtype": config.pop("dtype")}
    config["rope_scaling"] = {"type": "mrope", "mrope_section": rope["mrope_section"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    loaded, inputs = load_adapter(tmp_path, dtype="float32"), stock_inputs(original, mixed_samples[1])
    torch.testing.assert_close(
        loaded.model(**inputs).logits, original.model(**inputs).logits, atol=1e-5, rtol=0
    )


def test_a_nested_image_processor_is_read_and_other_files_are_kept(adapter, saved, tmp_path, make_sample):
    nested = json.loads((saved / "preprocessor_config.json").read_text())
    (saved / "preprocessor_config.json").unlink()
    kept = {"processor_class": "SomeProcessor", "image_seq_length": 9}
    (saved / "processor_config.json").write_text(json.dumps({**kept, "image_processor": nested}))
    (saved / "video_preprocessor_config.json").write_text(json.dumps({"fps": 2}))
    loaded = load_adapter(saved, dtype="float32")
    assert loaded.image_processor.size == adapter.image_processor.size
    loaded.save(tmp_path / "again")
    assert json.loads((tmp_path / "again" / "processor_config.json").read_text()) == kept
    assert json.loads((tmp_path / "again" / "video_preprocessor_config.json").read_text()) == {"fps": 2}
    assert (
        load_adapter(tmp_path / "again", dtype="float32").image_processor.size == adapter.image_processor.size
    )
