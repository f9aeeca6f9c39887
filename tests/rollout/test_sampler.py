"""The sampler draws from the model's distribution, independently of how rows are batched."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mixed_r1.models import tiny_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.rollout import SamplingParams, sample_completions
from mixed_r1.rollout.sampler import random_stream
from mixed_r1.schema import Sample

PARAMS = SamplingParams(max_new_tokens=12)


@pytest.fixture
def encoded(adapter, samples):
    return [sample.id for sample in samples], [adapter.encode(sample) for sample in samples]


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_logprobs_equal_the_training_forward(adapter, encoded, temperature):
    keys, prompts = encoded
    params = SamplingParams(max_new_tokens=12, temperature=temperature)
    groups = sample_completions(adapter, prompts, keys, num_completions=4, params=params, seed=3)
    completions = [c for group in groups for c in group]
    items = [
        PackItem(prompt, tuple(c.tokens for c in group), tuple(range(4 * i, 4 * i + 4)))
        for i, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
    ]
    seen = 0
    for pack in pack_groups(items, adapter, max_tokens=512):
        with torch.no_grad():
            logprobs, _ = completion_logprobs(adapter, pack, temperature=temperature)
        sampled = torch.cat([completions[i].logprobs for item in pack.items for i in item.indices])
        torch.testing.assert_close(logprobs, sampled, atol=1e-5, rtol=0)
        seen += sampled.numel()
    assert seen == sum(len(c) for c in completions)


@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_logprobs_of_a_bfloat16_model_are_those_of_the_policy(family):
    """The first token: its hidden state has the same bits in both forwards, so the log-probs must agree to
    float32. Logits rounded to bfloat16 would be off by 0.01."""
    adapter = tiny_adapter(
        family, corpus=["Which digit?", "<think>Tall.</think>"], tied=False, dtype=torch.bfloat16
    )
    with torch.no_grad():
        adapter.output_weight.mul_(4)
    samples = [Sample(id=str(i), task="open_ended", question=f"Digit {i}?", answer="1") for i in range(4)]
    prompts = [adapter.encode(sample) for sample in samples]
    params = SamplingParams(max_new_tokens=1)
    groups = sample_completions(
        adapter, prompts, [sample.id for sample in samples], num_completions=8, params=params, seed=1
    )
    items = [
        PackItem(prompt, tuple(c.tokens for c in group), tuple(range(8)))
        for prompt, group in zip(prompts, groups, strict=True)
    ]
    for item, group in zip(items, groups, strict=True):
        (pack,) = pack_groups([item], adapter, max_tokens=512)
        with torch.no_grad():
            expected, entropies = completion_logprobs(adapter, pack)
        assert entropies.min() > 0.5
        torch.testing.assert_close(torch.cat([c.logprobs for c in group]), expected, atol=1e-5, rtol=0)


def test_same_draws_whatever_the_batch(adapter, encoded):
    keys, prompts = encoded
    together = sample_completions(adapter, prompts, keys, num_completions=4, params=PARAMS, seed=1, step=5)
    for max_rows in (1, 4, 8):
        cut = sample_completions(
            adapter, prompts, keys, num_completions=4, params=PARAMS, seed=1, step=5, max_rows=max_rows
        )
        assert tokens(cut) == tokens(together)
    backwards = sample_completions(
        adapter, prompts[::-1], keys[::-1], num_completions=4, params=PARAMS, seed=1, step=5
    )
    assert tokens(backwards[::-1]) == tokens(together)
    fewer = sample_completions(adapter, prompts, keys, num_completions=2, params=PARAMS, seed=1, step=5)
    assert tokens(fewer) == [group[:2] for group in tokens(together)]
    assert tokens(
        sample_completions(adapter, prompts, keys, num_completions=4, params=PARAMS, seed=2, step=5)
    ) != tokens(together)


def tokens(groups):
    return [[c.tokens.tolist() for c in group] for group in groups]


def test_a_model_that_trains_under_gradient_checkpointing_draws_the_same(samples):
    """In training mode such layers take no cache; the sampler leaves the mode as it found it."""
    for family in ("qwen2_5_vl", "internvl"):
        adapter = tiny_adapter(family, corpus=["Which digit?", "<think>Tall.</think>"], seed=0)
        keys, prompts = [sample.id for sample in samples], [adapter.encode(sample) for sample in samples]
        expected = sample_completions(adapter, prompts, keys, num_completions=4, params=PARAMS, seed=1)
        adapter.model.train()
        adapter.model.gradient_checkpointing_enable({"use_reentrant": False})
        drawn = sample_completions(adapter, prompts, keys, num_completions=4, params=PARAMS, seed=1)
        assert tokens(drawn) == tokens(expected)
        assert all(module.training for module in adapter.model.modules())


def test_random_streams_are_reproducible_and_distinct():
    stream = random_stream(0, 1, "row", 2, 1000)
    assert np.array_equal(stream, random_stream(0, 1, "row", 2, 1000))
    assert np.array_equal(stream[:10], random_stream(0, 1, "row", 2, 10))
    assert stream.min() >= 0 and stream.max() < 1
    others = [
        random_stream(*key, 1000)
        for key in [(1, 1, "row", 2), (0, 2, "row", 2), (0, 1, "raw", 2), (0, 1, "row", 3)]
    ]
    for other in others:
        assert abs(np.corrcoef(stream, other)[0, 1]) < 0.15
    # The parts cannot run together: "1" + "2row" and "12" + "row" are different keys.
    assert not np.array_equal(random_stream(0, 1, "2row", 0, 5), random_stream(0, 12, "row", 0, 5))


def test_draws_follow_the_distribution(adapter, encoded):
    """Frequencies of the first token against its probabilities: chi-square over the likely tokens."""
    _, prompts = encoded
    count = 2000
    params = SamplingParams(max_new_tokens=1)
    groups = sample_completions(
        adapter, prompts[:1], ["x"], num_completions=count, params=params, max_rows=count
    )
    drawn = torch.tensor([int(c.tokens[0]) for c in groups[0]])
    probs = first_token_probs(adapter, prompts[0])
    likely = (probs * count > 10).nonzero().squeeze(1)
    observed = torch.bincount(drawn, minlength=probs.numel())[likely].double()
    expected = probs[likely] * count
    chi2 = float(((observed - expected) ** 2 / expected).sum())
    degrees = likely.numel()
    assert chi2 < degrees + 4 * (2 * degrees) ** 0.5


def first_token_probs(adapter, prompt):
    from transformers import DynamicCache

    with torch.no_grad():
        hidden = adapter.hidden_states(
            prompt.input_ids[None],
            position_ids=prompt.position_ids[:, None],
            attention_mask=None,
            image_features=adapter.image_features([prompt]),
            cache=DynamicCache(config=adapter.model.config),
        )[0, -1]
        logits = (hidden @ adapter.output_weight.T).float()
        logits[list(adapter.banned_tokens)] = -torch.inf
    return logits.double().softmax(-1)


@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(max_new_tokens=1, top_k=3),
        SamplingParams(max_new_tokens=1, top_p=0.3),
        SamplingParams(max_new_tokens=1, min_p=0.5),
        SamplingParams(max_new_tokens=1, top_k=20, top_p=0.6, min_p=0.05),
    ],
)
def test_truncation_keeps_exactly_the_head(adapter, encoded, params):
    """An independent reading of top-k, then min-p, then top-p on the sorted distribution."""
    _, prompts = encoded
    probs = first_token_probs(adapter, prompts[0])
    ranked = sorted(range(probs.numel()), key=lambda v: -float(probs[v]))
    kept = ranked[: params.top_k] if params.top_k else ranked
    kept = [v for v in kept if probs[v] >= params.min_p * probs[ranked[0]]]
    mass, head = float(sum(probs[v] for v in kept)), []
    for v in kept:
        if sum(float(probs[h]) for h in head) >= params.top_p * mass:
            break
        head.append(v)
    groups = sample_completions(adapter, prompts[:1], ["x"], num_completions=300, params=params, max_rows=300)
    drawn = {int(c.tokens[0]) for c in groups[0]}
    assert drawn <= set(head)
    assert len(drawn) > 1 or len(head) == 1
    head_mass = float(sum(probs[v] for v in head))
    for c in groups[0][:5]:
        assert float(c.sampling_logprobs[0]) == pytest.approx(
            float(c.logprobs[0]) - np.log(head_mass), abs=1e-5
        )


def test_banned_tokens_never_occur_even_when_the_model_wants_them(adapter, encoded):
    """The head is turned towards the banned tokens: they would be drawn nearly always."""
    keys, prompts = encoded
    weight = adapter.output_weight
    saved = weight.detach().clone()
    try:
        with torch.no_grad():
            weight[list(adapter.banned_tokens)] *= 50.0
        groups = sample_completions(adapter, prompts, keys, num_completions=16, params=PARAMS, max_rows=64)
        drawn = {token for group in tokens(groups) for row in group for token in row}
        assert drawn.isdisjoint(adapter.banned_tokens)
    finally:
        with torch.no_grad():
            weight.copy_(saved)


def test_greedy_equals_generate_of_transformers(adapter, encoded):
    _, prompts = encoded
    params = SamplingParams(max_new_tokens=8, temperature=0.0)
    for prompt in prompts:
        ours = sample_completions(adapter, [prompt], ["x"], num_completions=1, params=params)[0][
            0
        ].tokens.tolist()
        inputs = {
            "input_ids": prompt.input_ids[None],
            "attention_mask": torch.ones_like(prompt.input_ids)[None],
        }
        if adapter.family.startswith("qwen"):
            inputs["mm_token_type_ids"] = (prompt.input_ids == adapter.image_token_id).int()[None]
        theirs = adapter.model.generate(
            **inputs,
            **prompt.pixel_inputs,
            do_sample=False,
            max_new_tokens=8,
            suppress_tokens=list(adapter.banned_tokens),
        )[0, len(prompt) :].tolist()
        assert ours == theirs[: len(ours)]


def test_completions_end_with_the_stop_token_or_are_cut(adapter, encoded):
    keys, prompts = encoded
    groups = sample_completions(adapter, prompts, keys, num_completions=8, params=PARAMS, seed=9)
    for group in groups:
        for c in group:
            stops = [t for t in c.tokens.tolist() if t in adapter.stop_tokens]
            assert len(stops) == int(c.stopped)
            assert c.stopped == (c.tokens[-1].item() in adapter.stop_tokens)
            assert c.stopped or len(c) == PARAMS.max_new_tokens
            assert len(c) == c.logprobs.numel() == c.sampling_logprobs.numel()
            assert (c.logprobs <= 0).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens must be at least 1, got 0"),
        ({"temperature": -1.0}, "temperature must be at least 0, got -1.0"),
        ({"top_p": 0.0}, "top_p in"),
    ],
)
def test_bad_parameters_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        SamplingParams(**arguments)


def test_bad_calls_are_named(adapter, encoded):
    keys, prompts = encoded
    with pytest.raises(ValueError, match="num_completions must be at least 1, got 0"):
        sample_completions(adapter, prompts, keys, num_completions=0, params=PARAMS)
    with pytest.raises(ValueError, match="keys must have one entry per prompt, got 1 for 3 prompts"):
        sample_completions(adapter, prompts, keys[:1], num_completions=1, params=PARAMS)
