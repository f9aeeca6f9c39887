"""token_logprobs of tensors on a GPU, or in Triton's interpreter. Not collected by name:
test_triton_interpreter.py runs it where there is no GPU, benchmarks/gpu_check.py where there is one."""

from __future__ import annotations

import os

import pytest
import torch

from mixed_r1_kernels import token_logprobs, token_logprobs_and_entropy
from mixed_r1_kernels._impl import missing

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# On a GPU one that is not built fails; the interpreter has no CUDA.
IMPLS = [impl for impl in ("triton", "chunked") if DEVICE == "cuda" or missing(impl, DEVICE) is None]
BANNED = (0, 5, 63, 64, 128)

pytestmark = pytest.mark.parametrize("impl", IMPLS)


def problem(dtype: torch.dtype, T: int, d: int, V: int, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    hidden = torch.randn(T, d, generator=generator).to(dtype).to(DEVICE)
    weight = torch.randn(V, d, generator=generator).to(dtype).to(DEVICE)
    allowed = torch.tensor([token for token in range(V) if token not in BANNED])
    targets = allowed[torch.randint(0, len(allowed), (T,), generator=generator)].to(DEVICE)
    return hidden, weight, targets, torch.randn(T, generator=generator).to(DEVICE)


def run(impl: str, hidden, weight, targets, upstream, frozen: bool, **keywords):
    h, w = hidden.clone().requires_grad_(), weight.clone().requires_grad_(not frozen)
    logprobs, entropies = token_logprobs_and_entropy(h, w, targets, impl=impl, **keywords)
    (logprobs * upstream).sum().backward()
    return (
        logprobs.detach().double(),
        entropies.double(),
        h.grad.double(),
        None if frozen else w.grad.double(),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("T", "d", "V"), [(1, 3, 200), (65, 40, 130), (128, 64, 256)])
@pytest.mark.parametrize("banned", [(), BANNED])
def test_values_and_gradients(impl: str, dtype: torch.dtype, T: int, d: int, V: int, banned) -> None:
    data = problem(dtype, T, d, V)
    keywords = {"banned": banned, "temperature": 0.8, "chunk": 100}
    for frozen in (False, True):
        found = run(impl, *data, frozen, **keywords)
        expected = run(
            "reference", *(x.double() if x.is_floating_point() else x for x in data), frozen, **keywords
        )
        torch.testing.assert_close(found[0], expected[0], atol=2e-5, rtol=1e-5)
        torch.testing.assert_close(found[1], expected[1], atol=2e-5, rtol=1e-5)
        assert bool((found[0] <= 0).all())
        # Half precision rounds every gradient of a logit (the interpreter cuts it off: 2^-8), of which an
        # entry sums some that cancel, and the result.
        rounding = 2e-5 if dtype == torch.float32 else 2**-6
        for ours, exact in zip(found[2:], expected[2:], strict=True):
            if exact is not None:
                torch.testing.assert_close(ours, exact, atol=rounding * float(exact.abs().max()), rtol=0)
    if banned:
        weight_gradient = run(impl, *data, False, **keywords)[3]
        assert not weight_gradient[list(banned)].any()


def test_whole_blocks_of_banned_tokens(impl: str) -> None:
    hidden, weight, _, _ = problem(torch.float32, 7, 8, 300)
    targets = torch.full((7,), 299, device=DEVICE)
    banned = range(290)
    found = token_logprobs(hidden, weight, targets, banned=banned, impl=impl, chunk=64)
    expected = token_logprobs(hidden, weight, targets, banned=banned, impl="reference")
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


def test_no_tokens(impl: str) -> None:
    hidden = torch.zeros(0, 8, device=DEVICE, requires_grad=True)
    weight = torch.zeros(20, 8, device=DEVICE, requires_grad=True)
    logprobs = token_logprobs(hidden, weight, torch.zeros(0, dtype=torch.int64, device=DEVICE), impl=impl)
    logprobs.sum().backward()
    assert logprobs.shape == (0,) and hidden.grad.shape == (0, 8) and not weight.grad.any()


def test_strided(impl: str) -> None:
    hidden, weight, targets, _ = problem(torch.float32, 9, 16, 70)
    wide = torch.stack([hidden, hidden], dim=1)[:, 0]
    found = token_logprobs(wide, weight.T.contiguous().T, targets.repeat_interleave(2)[::2], impl=impl)
    torch.testing.assert_close(found, token_logprobs(hidden, weight, targets, impl=impl), atol=1e-6, rtol=0)
