"""Token log-probabilities, forward and backward, beside full logits, TRL's chunked function and liger's.

The gradient of the hidden states is what is compared: it holds every probability. ``peak`` counts the
gradients themselves, which every contender must give and the bar leaves out; parameters.gradient_bytes is
their size. The process keeps the pages of full logits between calls, which is in that peer's favour.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from benchmarks.bars import Bar, Named, errs_by
from benchmarks.harness import Case, Contender
from mixed_r1_kernels import token_logprobs

THREADS = (1, 2)
FULL = "torch, full logits"
STANDARD = [(4096, 512, 32768, False), (4096, 512, 32768, True)]
SCALING = [
    *((count, 512, 32768, False) for count in (256, 1024)),
    (1024, 2048, 32768, False),
    (1024, 512, 151936, False),
]
TOLERANCE = 1e-4  # of gradients of size 1: float32 sums over the vocabulary and the hidden size


def cases(options: argparse.Namespace) -> Iterator[Case]:
    torch.set_num_threads(options.threads)
    for T, d, V, frozen in SCALING if options.scaling else STANDARD:
        yield _case(T, d, V, frozen, options)


def _case(T: int, d: int, V: int, frozen: bool, options: argparse.Namespace) -> Case:
    generator = torch.Generator().manual_seed(0)
    device = options.device
    hidden = (torch.randn(T, d, generator=generator) / d**0.5).to(device).requires_grad_()
    weight = torch.randn(V, d, generator=generator).to(device).requires_grad_(not frozen)
    targets = torch.randint(0, V, (T,), generator=generator).to(device)
    upstream = torch.randn(T, generator=generator).to(device)

    def step(logprobs: Callable[[], Tensor]) -> Callable[[], Tensor]:
        def run() -> Tensor:
            (logprobs() * upstream).sum().backward()
            gradient, hidden.grad, weight.grad = hidden.grad, None, None
            assert gradient is not None
            return gradient

        return run

    impls = ["chunked" if impl == "native" else impl for impl in options.impl]
    contenders = [
        Contender(
            f"mixed_r1 {impl}",
            step(lambda impl=impl: token_logprobs(hidden, weight, targets, impl=impl)),
            tolerance=TOLERANCE,
        )
        for impl in impls
    ]
    if options.peers:
        contenders += [
            Contender(name, step(call), is_peer=True) for name, call in peers(hidden, weight, targets)
        ]
    exact = _exact_gradient(hidden.detach(), weight.detach(), targets, upstream)

    def error(gradient: Tensor) -> float:
        return float((gradient - exact).abs().max())

    gradient_bytes = 4 * (hidden.numel() + (0 if frozen else weight.numel()))
    logits_bytes = 4 * T * V
    judged = options.peers and not options.scaling and options.threads == 1 and "native" in options.impl
    return Case(
        name=f"T={T}, d={d}, V={V}, {'frozen' if frozen else 'trained'} weight, float32",
        contenders=contenders,
        error=error,
        work=2.0 * T * d * V * (2 if frozen else 3),
        unit="GFLOP/s",
        formula=f"{2 if frozen else 3} products of 2 T d V",
        parameters={
            "T": T,
            "d": d,
            "V": V,
            "frozen": frozen,
            "logits_bytes": logits_bytes,
            "gradient_bytes": gradient_bytes,
        },
        synchronize=torch.cuda.synchronize if device == "cuda" else None,
        bars=_bars(logits_bytes, gradient_bytes) if judged else (),
    )


def _bars(logits_bytes: int, gradient_bytes: int) -> list[Bar]:
    own = "mixed_r1 chunked"

    def memory(named: Named) -> float | None:
        peak = named[own].peak_bytes if own in named else None
        return None if peak is None else (peak - gradient_bytes) / logits_bytes

    def time(named: Named) -> float | None:
        return named[own].median / named[FULL].median if own in named else None

    return [
        Bar("peak memory beyond the gradients, over that of the logits", memory, at_most=1 / 8),
        Bar("time over that of full logits", time, at_most=1.3),
        errs_by(own, TOLERANCE),
    ]


def _exact_gradient(hidden: Tensor, weight: Tensor, targets: Tensor, upstream: Tensor) -> Tensor:
    """upstream * (weight[target] - E_p[weight]) in float64, some tokens at a time."""
    wide = weight.double()
    parts = []
    for rows, chosen in zip(hidden.split(256), targets.split(256), strict=True):
        parts.append(wide[chosen] - torch.softmax(rows.double() @ wide.T, dim=1) @ wide)
    return torch.cat(parts) * upstream.double()[:, None]


def peers(hidden: Tensor, weight: Tensor, targets: Tensor) -> Iterator[tuple[str, Callable[[], Tensor]]]:
    yield (
        FULL,
        lambda: torch.log_softmax(hidden @ weight.T, -1).gather(1, targets[:, None])[:, 0],
    )
    try:
        from trl.kernels import ChunkedLogProbFunction

        yield (
            "TRL's chunked function",
            lambda: ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, 8192, None, 1.0, ())[0],
        )
    except ImportError:
        pass
    try:
        from liger_kernel.chunked_loss import fused_linear_ppo

        function = fused_linear_ppo._ChunkedSelectiveLogProbFunction
        yield "liger's chunked function", lambda: function.apply(hidden, weight, targets, None, 1.0, 4096)
    except (ImportError, AttributeError):
        pass
