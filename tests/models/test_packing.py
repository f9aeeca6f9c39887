"""A packed group is the padded batch, computed once per prompt: log-probs and gradients agree with the stock
model."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import BlockMask

from mixed_r1.models.packing import PROMPT, PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs


def make_items(adapter, samples, lengths=(5, 1, 9, 3), seed=0):
    """One item per mixed prompt, random completions of the given lengths."""
    generator = torch.Generator().manual_seed(seed)
    allowed = [t for t in range(len(adapter.tokenizer)) if t not in adapter.banned_tokens]
    items = []
    for i, sample in enumerate(samples):
        completions = tuple(
            torch.tensor(allowed)[torch.randint(len(allowed), (length,), generator=generator)]
            for length in lengths
        )
        items.append(
            PackItem(
                adapter.encode(sample), completions, tuple(range(i * len(lengths), (i + 1) * len(lengths)))
            )
        )
    return items


def stock_logprobs(adapter, stock_model, item):
    """Each completion behind its own copy of the prompt, right-padded, through the stock model."""
    prompt = item.prompt
    P, G = len(prompt), len(item.completions)
    longest = max(c.numel() for c in item.completions)
    ids = torch.full((G, P + longest), adapter.stop_tokens[0])
    attention = torch.zeros_like(ids)
    for g, completion in enumerate(item.completions):
        ids[g, : P + completion.numel()] = torch.cat([prompt.input_ids, completion])
        attention[g, : P + completion.numel()] = 1
    inputs = {"input_ids": ids, "attention_mask": attention}
    for name, value in prompt.pixel_inputs.items():
        inputs[name] = torch.cat([value] * G)
    if adapter.family.startswith("qwen"):
        inputs["mm_token_type_ids"] = (ids == adapter.image_token_id).int()
    logits = stock_model(**inputs).logits
    logits[..., list(adapter.banned_tokens)] = -torch.inf
    logprobs = logits.log_softmax(-1)
    rows = []
    for g, completion in enumerate(item.completions):
        at = torch.arange(P - 1, P - 1 + completion.numel())
        rows.append(logprobs[g, at, completion])
    return rows


@pytest.mark.parametrize("max_tokens", [10_000, 150, 60, 1])
def test_logprobs_and_gradients_equal_the_padded_batch(adapter, stock_model, samples, max_tokens):
    items = make_items(adapter, samples)
    expected = [row for item in items for row in stock_logprobs(adapter, stock_model, item)]
    coefficients = [torch.linspace(-1, 1, row.numel()) for row in expected]
    parameters, stock = (dict(model.named_parameters()) for model in (adapter.model, stock_model))
    loss = sum((c * row).sum() for c, row in zip(coefficients, expected, strict=True))
    wanted = torch.autograd.grad(loss, [stock[name] for name in parameters], allow_unused=True)
    total = torch.zeros(())
    seen = torch.zeros(len(expected))
    for pack in pack_groups(items, adapter, max_tokens=max_tokens):
        logprobs, _ = completion_logprobs(adapter, pack)
        for index in pack.completion_of_target.unique().tolist():
            mine = logprobs[pack.completion_of_target == index]
            torch.testing.assert_close(mine, expected[index], atol=1e-5, rtol=0)
            total = total + (coefficients[index] * mine).sum()
            seen[index] += 1
    assert (seen == 1).all()
    found = torch.autograd.grad(total, list(parameters.values()), allow_unused=True)
    compared = 0
    for name, a, b in zip(parameters, wanted, found, strict=True):
        if a is None or a.norm() == 0:
            assert b is None or b.norm() <= 1e-6, name
            continue
        assert (a - b).norm() <= 1e-4 * a.norm() + 1e-7, name
        compared += 1
    assert compared > 20


def test_no_pack_is_larger_than_allowed_unless_one_completion_is(adapter, samples):
    items = make_items(adapter, samples, lengths=(8, 8, 8, 8))
    for layout in ("dense", "flex"):
        for max_tokens in (60, 100, 200, 400):
            packs = pack_groups(items, adapter, max_tokens=max_tokens, layout=layout)
            assert sum(p.targets.numel() for p in packs) == 3 * 32
            for pack in packs:
                single = len(pack.items) == 1 and len(pack.items[0].completions) == 1
                assert pack.input_ids.numel() <= max_tokens or single


@torch.no_grad()
def flex_equals_dense(adapter, samples):
    """All units in one row under a block mask, and stacked under a dense one: the same log-probs."""
    items = make_items(adapter, samples)
    dense = {}
    for pack in pack_groups(items, adapter, max_tokens=10_000):
        assert pack.mask().dtype == torch.bool
        logprobs, _ = completion_logprobs(adapter, pack)
        dense.update(
            {i: logprobs[pack.completion_of_target == i] for i in pack.completion_of_target.unique().tolist()}
        )
    (flex,) = pack_groups(items, adapter, max_tokens=10_000, layout="flex")
    assert isinstance(flex.mask(), BlockMask)
    assert flex.input_ids.shape[0] == 1 and (flex.unit_of >= 0).all()  # no padding
    logprobs, _ = completion_logprobs(adapter, flex)
    for index, expected in dense.items():
        torch.testing.assert_close(logprobs[flex.completion_of_target == index], expected, atol=1e-5, rtol=0)


def test_flexattention_equals_the_dense_mask(adapter, samples):
    with torch.compiler.set_stance("force_eager"):  # compiling takes a minute and changes no rule
        flex_equals_dense(adapter, samples)


@pytest.mark.slow
def test_compiled_flexattention_equals_the_dense_mask(adapter, samples):
    """The kernel that Inductor generates for the CPU; it has no backward pass there."""
    torch.compiler.reset()
    flex_equals_dense(adapter, samples)


def test_block_mask_is_the_dense_mask(adapter, samples):
    (pack,) = pack_groups(make_items(adapter, samples), adapter, max_tokens=10_000, layout="flex")
    T = pack.input_ids.shape[1]
    index = torch.arange(T)
    block = pack.block_mask()
    dense = block.mask_mod(torch.tensor(0), torch.tensor(0), index[:, None], index[None, :])
    assert torch.equal(dense, pack.dense_mask()[0, 0])


def test_mask_is_a_tree(adapter, samples):
    (pack,) = pack_groups(make_items(adapter, samples)[:1], adapter, max_tokens=10_000)
    mask, owner = pack.dense_mask()[0, 0], pack.completion_of[0]
    for q in range(owner.numel()):
        for k in range(owner.numel()):
            same = owner[k] == PROMPT or owner[k] == owner[q]
            assert bool(mask[q, k]) == bool(k <= q and same)


def test_bad_arguments_are_named(adapter, samples):
    items = make_items(adapter, samples)
    with pytest.raises(ValueError, match="layout must be 'auto', 'dense' or 'flex', got 'ragged'"):
        pack_groups(items, adapter, max_tokens=10, layout="ragged")
    with pytest.raises(ValueError, match="max_tokens must be at least 1, got 0"):
        pack_groups(items, adapter, max_tokens=0)
    empty = PackItem(items[0].prompt, (torch.zeros(0, dtype=torch.int64),), (7,))
    with pytest.raises(
        ValueError, match="completions must have at least one token, got none for completion 7"
    ):
        pack_groups([empty], adapter, max_tokens=10)
