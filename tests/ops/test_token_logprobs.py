from __future__ import annotations

import math

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mixed_r1_kernels import TokenLogprobs, token_logprobs, token_logprobs_and_entropy
from mixed_r1_kernels.token_logprobs import chunked

T, D, V = 37, 24, 301
BANNED = (0, 5, 100, 101, 102, 300)


def problem(dtype=torch.float32, tokens=T, seed=0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(tokens, D, generator=generator).to(dtype)
    weight = torch.randn(V, D, generator=generator).to(dtype)
    allowed = torch.tensor([i for i in range(V) if i not in BANNED])
    targets = allowed[torch.randint(0, len(allowed), (tokens,), generator=generator)]
    upstream = torch.randn(tokens, generator=generator)
    return hidden, weight, targets, upstream


def full_logits(hidden, weight, targets, banned=(), temperature=1.0):
    """Written apart from the package's reference: loops over nothing, no log_softmax."""
    logits = hidden.double() @ weight.double().T / temperature
    keep = torch.ones(weight.shape[0], dtype=torch.bool)
    keep[list(banned)] = False
    normaliser = torch.logsumexp(logits[:, keep], dim=1)
    return logits[torch.arange(len(targets)), targets] - normaliser


@pytest.mark.parametrize("impl", ["reference", "chunked"])
@pytest.mark.parametrize("chunk", [None, 1, 64, 100, 301, 1000])
@pytest.mark.parametrize(("banned", "temperature"), [((), 1.0), (BANNED, 0.7)])
def test_values_and_gradients_equal_full_logits(impl, chunk, banned, temperature):
    hidden, weight, targets, upstream = problem()
    results = []
    for function in (
        lambda h, w: token_logprobs(
            h, w, targets, banned=banned, temperature=temperature, chunk=chunk, impl=impl
        ),
        lambda h, w: full_logits(h, w, targets, banned, temperature),
    ):
        h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
        logprobs = function(h, w)
        (logprobs * upstream).sum().backward()
        results.append((logprobs.detach(), h.grad, w.grad))
    (ours, our_h, our_w), (expected, expected_h, expected_w) = results
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours.double(), expected, atol=1e-5, rtol=0)
    torch.testing.assert_close(our_h, expected_h, atol=2e-5, rtol=1e-5)
    torch.testing.assert_close(our_w, expected_w, atol=2e-5, rtol=1e-5)
    assert not our_w[list(banned)].any()


@pytest.mark.parametrize("trainable", [(True, True), (True, False), (False, True)])
def test_gradcheck_in_float64(trainable):
    hidden, weight, targets, _ = problem(torch.float64, tokens=5)
    hidden.requires_grad_(trainable[0])
    weight.requires_grad_(trainable[1])
    assert torch.autograd.gradcheck(
        lambda h, w: token_logprobs(h, w, targets, banned=BANNED, temperature=1.3, chunk=97),
        (hidden, weight),
        fast_mode=True,
    )


def test_frozen_weight_gives_the_gradient_of_a_trainable_one():
    hidden, weight, targets, upstream = problem()
    gradients = []
    for frozen in (False, True):
        h = hidden.clone().requires_grad_()
        w = weight.clone().requires_grad_(not frozen)
        (token_logprobs(h, w, targets, banned=BANNED, chunk=50) * upstream).sum().backward()
        gradients.append(h.grad)
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-5, rtol=1e-5)


def test_bfloat16_products_are_not_rounded():
    hidden, weight, targets, upstream = problem(torch.bfloat16)
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_()
    logprobs = token_logprobs(h, w, targets, chunk=50)
    (logprobs * upstream).sum().backward()
    h64, w64 = hidden.double().requires_grad_(), weight.double().requires_grad_()
    (full_logits(h64, w64, targets) * upstream).sum().backward()
    assert logprobs.dtype == torch.float32 and h.grad.dtype == w.grad.dtype == torch.bfloat16
    torch.testing.assert_close(logprobs.double(), full_logits(hidden, weight, targets), atol=1e-5, rtol=0)
    # One rounding of the result, 2^-9 relative, whatever the number of blocks.
    torch.testing.assert_close(h.grad.double(), h64.grad, atol=1e-5, rtol=2**-8)
    torch.testing.assert_close(w.grad.double(), w64.grad, atol=1e-5, rtol=2**-8)


def test_autocast_does_not_round():
    hidden, weight, targets, _ = problem()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = token_logprobs(hidden, weight, targets)
    assert torch.equal(inside, token_logprobs(hidden, weight, targets))


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 1e15])
def test_never_above_zero_and_never_nan(scale):
    hidden, weight, targets, _ = problem()
    best = (hidden @ weight.T).argmax(dim=1)
    for chunk in (7, 301):
        for chosen in (targets, best):
            logprobs = token_logprobs(hidden * scale, weight, chosen, chunk=chunk)
            assert bool((logprobs <= 0).all()) and bool(torch.isfinite(logprobs).all())


@pytest.mark.parametrize("impl", ["reference", "chunked"])
def test_entropy(impl):
    hidden, weight, targets, _ = problem()
    hidden.requires_grad_()
    result = token_logprobs_and_entropy(
        hidden, weight, targets, banned=BANNED, temperature=0.9, chunk=40, impl=impl
    )
    assert isinstance(result, TokenLogprobs)
    assert result.logprobs.requires_grad and not result.entropies.requires_grad
    logits = hidden.detach().double() @ weight.double().T / 0.9
    logits[:, list(BANNED)] = -math.inf
    expected = torch.distributions.Categorical(logits=logits).probs
    entropy = -(expected * expected.clamp_min(1e-300).log()).sum(dim=1)
    torch.testing.assert_close(result.entropies.double(), entropy, atol=1e-5, rtol=1e-5)
    alone = token_logprobs(hidden, weight, targets, banned=BANNED, temperature=0.9, chunk=40, impl=impl)
    assert torch.equal(alone, result.logprobs)


def test_no_tokens():
    hidden = torch.zeros(0, D, requires_grad=True)
    weight = torch.zeros(V, D, requires_grad=True)
    logprobs = token_logprobs(hidden, weight, torch.zeros(0, dtype=torch.int64))
    logprobs.sum().backward()
    assert logprobs.shape == (0,) and logprobs.dtype == torch.float32
    assert hidden.grad.shape == (0, D) and not weight.grad.any()


def test_strided_inputs():
    hidden, weight, targets, _ = problem()
    wide = torch.stack([hidden, hidden * 2], dim=1)
    assert not wide[:, 0].is_contiguous()
    torch.testing.assert_close(
        token_logprobs(wide[:, 0], weight.T.contiguous().T, targets.repeat_interleave(2)[::2], chunk=64),
        token_logprobs(hidden, weight, targets, chunk=64),
        atol=1e-6,
        rtol=0,
    )


class LargestTensor(TorchDispatchMode):
    numel = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for value in out if isinstance(out, (tuple, list)) else (out,):
            if isinstance(value, torch.Tensor):
                self.numel = max(self.numel, value.numel())
        return out


@pytest.mark.parametrize("frozen", [False, True])
def test_no_tensor_of_tokens_times_vocabulary_exists(frozen):
    tokens, vocabulary, chunk = 64, 4096, 128
    hidden = torch.randn(tokens, 8, requires_grad=True)
    weight = torch.randn(vocabulary, 8, requires_grad=not frozen)
    targets = torch.randint(0, vocabulary, (tokens,))
    with LargestTensor() as largest:
        logprobs, entropies = token_logprobs_and_entropy(hidden, weight, targets, chunk=chunk)
        logprobs.sum().backward()
    assert entropies.shape == (tokens,)
    assert largest.numel == (tokens * chunk if frozen else weight.numel())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"targets": torch.full((T,), V)}, r"targets must be in \[0, 301\), got 301"),
        ({"targets": torch.full((T,), -1)}, r"targets must be in \[0, 301\), got -1"),
        ({"targets": torch.full((T,), 7), "banned": [7, 9]}, r"targets must not be banned tokens, got \[7\]"),
        ({"targets": torch.zeros(T, dtype=torch.int32)}, "targets must be int64"),
        ({"targets": torch.zeros(T - 1, dtype=torch.int64)}, r"targets must have shape \[37\]"),
        ({"hidden": torch.zeros(T, D + 1)}, r"weight must have shape \[V, 25\]"),
        ({"hidden": torch.zeros(T, D).bfloat16()}, "weight must have hidden's dtype torch.bfloat16"),
        ({"hidden": torch.zeros(T, D, dtype=torch.int64)}, "hidden must be float32"),
        ({"hidden": torch.zeros(1, T, D)}, r"hidden must have shape \[T, d\]"),
        ({"banned": [V]}, r"banned must hold token ids in \[0, 301\)"),
        ({"banned": range(V)}, "banned must leave at least one"),
        ({"temperature": 0.0}, "temperature must be finite and above 0"),
        ({"temperature": math.nan}, "temperature must be finite and above 0"),
        ({"chunk": 0}, "chunk must be an integer of at least 1, got 0"),
        ({"chunk": 2.5}, "chunk must be an integer of at least 1, got 2.5"),
    ],
)
def test_bad_arguments(change, message):
    hidden, weight, targets, _ = problem()
    arguments = {"hidden": hidden, "weight": weight, "targets": targets, **change}
    with pytest.raises(ValueError, match=message):
        token_logprobs(
            arguments.pop("hidden"), arguments.pop("weight"), arguments.pop("targets"), **arguments
        )


@pytest.mark.parametrize("banned", [[4.7], "45", 5])
def test_banned_ids_are_not_rounded_or_parsed(banned):
    hidden, weight, targets, _ = problem()
    with pytest.raises(TypeError, match="banned must be a sequence of integers, got"):
        token_logprobs(hidden, weight, targets, banned=banned)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_unknown_target_is_nan_and_gets_no_row(frozen):
    """As on a GPU, where the public function does not read targets back."""
    hidden, weight, targets, _ = problem()
    hidden, weight = hidden.clone().requires_grad_(), weight.clone().requires_grad_(not frozen)
    unknown = targets.clone()
    unknown[0], unknown[1] = V, -1
    logprobs = chunked.token_logprobs(hidden, weight, unknown, (), 1.0, 50, False)[0]
    assert bool(logprobs[:2].isnan().all()) and not bool(logprobs[2:].isnan().any())
    (gradient,) = torch.autograd.grad(logprobs.sum(), hidden)
    mean = torch.softmax(hidden @ weight.T, dim=1) @ weight
    torch.testing.assert_close(gradient[:2], -mean[:2], atol=1e-5, rtol=0)
    torch.testing.assert_close(gradient[2:], (weight[targets] - mean)[2:], atol=1e-5, rtol=0)


def test_not_a_tensor():
    hidden, weight, targets, _ = problem()
    with pytest.raises(TypeError, match="hidden must be a torch tensor, got ndarray"):
        token_logprobs(hidden.numpy(), weight, targets)
