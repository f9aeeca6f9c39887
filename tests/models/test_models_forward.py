"""The adapter's forward against the stock model: values, gradients, packing, caches, block masks."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask
from transformers import DynamicCache

from mixed_r1.models import tiny_adapter


def with_completions(adapter, inputs, completions) -> dict[str, Tensor]:
    """Repeat a stock single-prompt batch for each completion and append it, right-padded."""
    rows, longest = len(completions), max(len(c) for c in completions)
    tails = torch.full((rows, longest), adapter.tokenizer.pad_token_id)
    mask = torch.zeros_like(tails)
    for row, completion in enumerate(completions):
        tails[row, : len(completion)] = completion
        mask[row, : len(completion)] = 1
    joined = {}
    for name, value in inputs.items():
        repeated = value.repeat(rows, *[1] * (value.ndim - 1))
        tail = {"input_ids": tails, "attention_mask": mask, "mm_token_type_ids": torch.zeros_like(tails)}
        joined[name] = torch.cat([repeated, tail[name]], dim=1) if name in tail else repeated
    return joined


def completion_logprobs(logits, completions, first) -> Tensor:
    """Log-probs of all completion tokens; column ``first[i]`` of row i predicts the first of completion i."""
    picked = [
        logits[row, start : start + len(c)].log_softmax(-1).gather(1, c[:, None])[:, 0]
        for row, (c, start) in enumerate(zip(completions, first, strict=True))
    ]
    return torch.cat(picked)


def tree_mask(prompt_length, lengths) -> Tensor:
    """[1, 1, T, T] for ``[prompt | c1 | ... | cG]``."""
    owner = torch.cat([torch.full((n,), i) for i, n in enumerate([prompt_length, *lengths])])
    sees = (owner[None, :] == 0) | (owner[:, None] == owner[None, :])
    return (sees & torch.ones_like(sees).tril())[None, None]


def draw_completions(adapter, *lengths) -> list[Tensor]:
    generator = torch.Generator().manual_seed(7)
    return [torch.randint(256, (n,), generator=generator) for n in lengths]


def packed_logprobs(adapter, prompt, completions) -> Tensor:
    lengths = [len(c) for c in completions]
    hidden = adapter.hidden_states(
        torch.cat([prompt.input_ids, *completions])[None],
        position_ids=adapter.positions(prompt, lengths)[:, None],
        attention_mask=tree_mask(len(prompt), lengths),
        image_features=adapter.image_features([prompt]),
    )
    logits = hidden @ adapter.output_weight.T
    ends = torch.tensor([0, *lengths]).cumsum(0)[:-1] + len(prompt)
    rows = [
        torch.cat([logits[0, len(prompt) - 1 : len(prompt)], logits[0, start : start + n - 1]])
        for start, n in zip(ends.tolist(), lengths, strict=True)
    ]
    return torch.cat(
        [r.log_softmax(-1).gather(1, c[:, None])[:, 0] for r, c in zip(rows, completions, strict=True)]
    )


def test_logits_equal_the_stock_model(adapter, stock_model, mixed_samples, stock_inputs):
    for sample in mixed_samples:
        prompt = adapter.encode(sample)
        hidden = adapter.hidden_states(
            prompt.input_ids[None],
            position_ids=prompt.position_ids[:, None],
            attention_mask=None,
            image_features=adapter.image_features([prompt]),
        )
        expected = stock_model(**stock_inputs(adapter, sample)).logits
        torch.testing.assert_close(hidden @ adapter.output_weight.T, expected, atol=1e-5, rtol=0)


def test_a_mixed_batch_equals_the_stock_model(adapter, stock_model, mixed_samples, stock_inputs):
    prompts = [adapter.encode(sample) for sample in mixed_samples]
    stock = stock_inputs(adapter, *mixed_samples)
    length = max(len(prompt) for prompt in prompts)
    ids = torch.full((len(prompts), length), adapter.tokenizer.pad_token_id)
    positions = torch.zeros(prompts[0].position_ids.shape[0], len(prompts), length, dtype=torch.int64)
    real = torch.zeros(len(prompts), length, dtype=torch.bool)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)], real[row, : len(prompt)] = prompt.input_ids, True
        positions[:, row, : len(prompt)] = prompt.position_ids
    hidden = adapter.hidden_states(
        ids,
        position_ids=positions,
        attention_mask=torch.ones(length, length, dtype=torch.bool).tril().expand(len(prompts), 1, -1, -1),
        image_features=adapter.image_features(prompts),
    )
    logits = hidden @ adapter.output_weight.T
    torch.testing.assert_close(logits[real], stock_model(**stock).logits[real], atol=1e-5, rtol=0)


@pytest.mark.parametrize("which", [0, 1, 2], ids=["text", "one image", "three images"])
def test_a_packed_group_equals_padded_rows_of_the_stock_model(
    adapter, stock_model, mixed_samples, stock_inputs, which
):
    sample = mixed_samples[which]
    prompt, completions = adapter.encode(sample), draw_completions(adapter, 5, 1, 8)
    stock = with_completions(adapter, stock_inputs(adapter, sample), completions)
    weights = torch.linspace(-1, 2, sum(len(c) for c in completions))

    def gradients(model, logprobs):
        parameters = dict(model.named_parameters())
        found = torch.autograd.grad((logprobs * weights).sum(), list(parameters.values()), allow_unused=True)
        return dict(zip(parameters, found, strict=True))

    expected = completion_logprobs(
        stock_model(**stock).logits, completions, [len(prompt) - 1] * len(completions)
    )
    logprobs = packed_logprobs(adapter, prompt, completions)
    torch.testing.assert_close(logprobs, expected, atol=1e-5, rtol=0)
    expected_gradients, packed_gradients = (
        gradients(stock_model, expected),
        gradients(adapter.model, logprobs),
    )
    assert sum(gradient is not None for gradient in packed_gradients.values()) > 20
    for name, gradient in packed_gradients.items():
        assert (gradient is None) == (expected_gradients[name] is None), name
        if gradient is not None:
            error = (gradient - expected_gradients[name]).norm() / expected_gradients[name].norm().clamp_min(
                1e-3
            )
            assert error < 1e-4, name


@torch.no_grad()
def test_prefill_once_then_decode_equals_one_forward(adapter, mixed_samples):
    for sample in mixed_samples:
        prompt, completions = adapter.encode(sample), draw_completions(adapter, 6, 6, 6)
        cache = DynamicCache()
        hidden = adapter.hidden_states(
            prompt.input_ids[None],
            position_ids=prompt.position_ids[:, None],
            attention_mask=None,
            image_features=adapter.image_features([prompt]),
            cache=cache,
        )[:, -1].expand(3, -1)
        cache.batch_repeat_interleave(3)
        tokens, logprobs = torch.stack(completions), []
        for step in range(6):
            logits = hidden @ adapter.output_weight.T
            logprobs.append(logits.log_softmax(-1).gather(1, tokens[:, step, None]))
            positions = torch.full((prompt.position_ids.shape[0], 3, 1), prompt.next_position + step)
            hidden = adapter.hidden_states(
                tokens[:, step, None],
                position_ids=positions,
                attention_mask=torch.ones(3, 1, 1, len(prompt) + step + 1, dtype=torch.bool),
                cache=cache,
            )[:, -1]
        expected = packed_logprobs(adapter, prompt, completions)
        torch.testing.assert_close(torch.cat(logprobs, dim=1).flatten(), expected, atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_block_mask_equals_the_dense_mask(adapter, mixed_samples):
    prompt, lengths = adapter.encode(mixed_samples[2]), [4, 3]
    dense = tree_mask(len(prompt), lengths)
    inputs = {
        "input_ids": torch.cat([prompt.input_ids, *draw_completions(adapter, *lengths)])[None],
        "position_ids": adapter.positions(prompt, lengths)[:, None],
        "image_features": adapter.image_features([prompt]),
    }
    block = create_block_mask(
        lambda b, h, q, k: dense[0, 0, q, k],
        B=1,
        H=None,
        Q_LEN=dense.shape[2],
        KV_LEN=dense.shape[2],
        device="cpu",
    )
    expected = adapter.hidden_states(attention_mask=dense, **inputs)
    with torch.compiler.set_stance("force_eager"):  # compiling for the CPU takes a minute and changes no rule
        flex = adapter.hidden_states(attention_mask=block, **inputs)
    torch.testing.assert_close(flex, expected, atol=1e-5, rtol=0)
    assert torch.equal(adapter.hidden_states(attention_mask=dense, **inputs), expected)


def test_qwens_patch_projection_is_the_convolution(corpus):
    """Values and gradients of the stock module's, under its names; any other input is convolved as ever."""
    for family in ("qwen2_5_vl", "qwen3_vl"):  # without and with a bias
        ours = tiny_adapter(family, corpus=corpus).core.visual.patch_embed.proj
        stock = torch.nn.Conv3d(
            3, ours.out_channels, ours.kernel_size, ours.stride, bias=ours.bias is not None
        )
        stock.load_state_dict(ours.state_dict())
        assert isinstance(ours, torch.nn.Conv3d) and type(ours) is not torch.nn.Conv3d
        sides = torch.tensor(ours.kernel_size)
        for scale in (1, 2):
            pixels = torch.randn(7, 3, *(scale * sides), generator=torch.manual_seed(0))
            results = []
            for module in (ours, stock):
                module.zero_grad()
                found = module(pixels).flatten(1)
                (found * torch.linspace(-1, 1, found.shape[1])).sum().backward()
                results.append([found, *(parameter.grad for parameter in module.parameters())])
            torch.testing.assert_close(*results, atol=1e-5, rtol=1e-5)


def test_image_features_must_fit_the_placeholders(adapter, mixed_samples):
    prompt = adapter.encode(mixed_samples[1])
    inputs = {"position_ids": prompt.position_ids[:, None], "attention_mask": None}
    features = adapter.image_features([prompt])
    with pytest.raises(ValueError, match="one row per image token, got 8 for 9 tokens"):
        adapter.hidden_states(prompt.input_ids[None], image_features=features[:-1], **inputs)
    with pytest.raises(ValueError, match="one row per image token, got 0 for 9 tokens"):
        adapter.hidden_states(prompt.input_ids[None], **inputs)


def test_the_parameters_split_into_tower_projector_and_language_model(adapter, corpus, mixed_samples):
    fresh = tiny_adapter(adapter.family, corpus=corpus)
    prompt = fresh.encode(mixed_samples[1])
    for parameter in fresh.vision_parameters():
        parameter.requires_grad_(False)
    fresh.image_features([prompt]).sum().backward()
    tower, projector = fresh.vision_parameters(), fresh.projector_parameters()
    assert all(parameter.grad is None for parameter in tower)
    assert all(parameter.grad is not None for parameter in projector)
    language = {id(p) for p in fresh.model.model.language_model.parameters()}
    parts = [{id(p) for p in tower}, {id(p) for p in projector}, language]
    assert sum(len(part) for part in parts) == len(set.union(*parts)) == len(list(fresh.model.parameters()))


def test_gradient_checkpointing_changes_no_gradient(adapter, corpus, mixed_samples):
    fresh = tiny_adapter(adapter.family, corpus=corpus)
    prompt, completions = fresh.encode(mixed_samples[2]), draw_completions(fresh, 4, 2)

    def gradients():
        fresh.model.zero_grad()
        packed_logprobs(fresh, prompt, completions).sum().backward()
        return [
            parameter.grad.clone() for parameter in fresh.model.parameters() if parameter.grad is not None
        ]

    plain = gradients()
    fresh.model.train()
    fresh.model.gradient_checkpointing_enable()
    torch.testing.assert_close(gradients(), plain)


def test_lora_layers_injected_later_are_used(adapter, corpus, mixed_samples):
    peft = pytest.importorskip("peft")
    fresh = tiny_adapter(adapter.family, corpus=corpus)
    prompt, completions = fresh.encode(mixed_samples[1]), draw_completions(fresh, 4)
    before = packed_logprobs(fresh, prompt, completions)
    config = peft.LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    fresh.model = peft.get_peft_model(fresh.model, config)
    tuned = packed_logprobs(fresh, prompt, completions)
    assert not torch.allclose(tuned, before, atol=1e-4)
    with fresh.model.disable_adapter():
        torch.testing.assert_close(packed_logprobs(fresh, prompt, completions), before)
