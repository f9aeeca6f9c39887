"""Log-probabilities of sampled tokens, from hidden states and the LM head, without the [T, V] logits."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from mixed_r1_kernels._arrays import require_dense
from mixed_r1_kernels._impl import device_of, resolve

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TokenLogprobs", "token_logprobs", "token_logprobs_and_entropy"]

_IMPLEMENTED = ("reference", "chunked", "triton")


class TokenLogprobs(NamedTuple):
    """Per token, [T] each."""

    logprobs: Tensor
    entropies: Tensor  # without gradient


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    banned: Sequence[int] | None = None,
    temperature: float = 1.0,
    chunk: int | None = None,
    impl: str = "auto",
) -> Tensor:
    """log softmax(hidden @ weight.T / temperature)[t, targets[t]], differentiable in both matrices.

    At no time do more than ``T * chunk`` logits exist. Products of half-precision operands are exact in the
    float32 sums; the softmax is float32. The value is never above 0.

    Args:
        hidden: [T, d] float32, bfloat16, float16 or float64; T may be 0.
        weight: [V, d], hidden's dtype and device; need not require grad (frozen or LoRA: cheaper).
        targets: [T] int64 in [0, V). On a GPU they are not read back: one out of range gives NaN, a banned
            one -inf.
        banned: token ids left out of the softmax (as the sampler left them out); none may be a target.
        temperature: the sampling temperature, above 0.
        chunk: entries of the vocabulary per block; default: 8 MiB of float32 logits, at least 256 entries.
        impl: "auto", "chunked" (plain torch), "triton" (keeps no logits in the forward; not for float64) or
            "reference" (full logits in float64).

    Returns:
        [T] float32 (float64 for float64 ``hidden``).

    Raises:
        TypeError: a tensor argument is not a dense tensor, or ``banned`` holds no integers.
        ValueError: shapes, dtypes or devices that do not fit, a target out of range or banned, a bad
            temperature or chunk.
        ImplUnavailable: ``impl`` cannot run here.
    """
    return _run(hidden, weight, targets, banned, temperature, chunk, impl, False)[0]


def token_logprobs_and_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    banned: Sequence[int] | None = None,
    temperature: float = 1.0,
    chunk: int | None = None,
    impl: str = "auto",
) -> TokenLogprobs:
    """``token_logprobs`` and, in the same pass, each token's entropy -sum p ln p (without gradient)."""
    logprobs, entropies = _run(hidden, weight, targets, banned, temperature, chunk, impl, True)
    return TokenLogprobs(logprobs, entropies)


def _run(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    banned: Sequence[int] | None,
    temperature: float,
    chunk: int | None,
    impl: str,
    want_entropy: bool,
) -> tuple[Tensor, Any]:
    banned = _check(hidden, weight, targets, banned, temperature, chunk)
    import torch

    # The Triton kernels sum in float32.
    implemented = _IMPLEMENTED[:2] if hidden.dtype == torch.float64 else _IMPLEMENTED
    device = device_of(hidden, weight, targets)
    name = resolve(impl, op="token_logprobs", implemented=implemented, device=device)

    # Mixed precision is the caller's choice of dtypes; autocast would round the logits behind its back.
    with torch.autocast(hidden.device.type, enabled=False):
        if name == "reference":
            from mixed_r1_kernels.token_logprobs import reference

            logprobs, entropies = reference.token_logprobs(hidden, weight, targets, banned, temperature)
            dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
            return logprobs.to(dtype), entropies.to(dtype)
        if name == "triton":
            from mixed_r1_kernels.token_logprobs import triton_kernel

            return triton_kernel.token_logprobs(
                hidden, weight, targets, banned, temperature, chunk, want_entropy
            )
        from mixed_r1_kernels.token_logprobs import chunked

        return chunked.token_logprobs(hidden, weight, targets, banned, temperature, chunk, want_entropy)


def _check(
    hidden: Any,
    weight: Any,
    targets: Any,
    banned: Sequence[int] | None,
    temperature: float,
    chunk: int | None,
) -> tuple[int, ...]:
    import torch

    for name, value in (("hidden", hidden), ("weight", weight), ("targets", targets)):
        if not isinstance(value, torch.Tensor):
            raise TypeError(f"{name} must be a torch tensor, got {type(value).__name__}")
        require_dense(name, value)
    if hidden.dtype not in (torch.float32, torch.bfloat16, torch.float16, torch.float64):
        raise ValueError(f"hidden must be float32, bfloat16, float16 or float64, got {hidden.dtype}")
    if hidden.ndim != 2:
        raise ValueError(f"hidden must have shape [T, d], got {tuple(hidden.shape)}")
    if weight.ndim != 2 or weight.shape[1] != hidden.shape[1] or weight.shape[0] == 0:
        raise ValueError(
            f"weight must have shape [V, {hidden.shape[1]}], V at least 1, got {tuple(weight.shape)}"
        )
    if weight.dtype != hidden.dtype:
        raise ValueError(f"weight must have hidden's dtype {hidden.dtype}, got {weight.dtype}")
    if targets.shape != hidden.shape[:1]:
        raise ValueError(f"targets must have shape [{hidden.shape[0]}], got {tuple(targets.shape)}")
    if targets.dtype != torch.int64:
        raise ValueError(f"targets must be int64, got {targets.dtype}")
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature must be finite and above 0, got {temperature}")
    if chunk is not None and (not isinstance(chunk, int) or chunk < 1):
        raise ValueError(f"chunk must be an integer of at least 1, got {chunk!r}")
    V = weight.shape[0]
    tokens = _token_ids(banned)
    if tokens and not (tokens[0] >= 0 and tokens[-1] < V):
        raise ValueError(f"banned must hold token ids in [0, {V}), got {tokens}")
    if len(tokens) == V:
        raise ValueError(f"banned must leave at least one of {V} tokens, got all of them")
    if targets.device.type == "cpu" and targets.numel():
        _check_targets(targets, V, tokens)
    return tokens


def _token_ids(banned: Sequence[int] | None) -> tuple[int, ...]:
    try:
        return tuple(sorted({operator.index(token) for token in (() if banned is None else banned)}))
    except TypeError:
        raise TypeError(f"banned must be a sequence of integers, got {banned!r}") from None


def _check_targets(targets: Tensor, V: int, banned: tuple[int, ...]) -> None:
    lowest, highest = (int(value) for value in targets.aminmax())
    if lowest < 0 or highest >= V:
        raise ValueError(f"targets must be in [0, {V}), got {lowest if lowest < 0 else highest}")
    present = set(banned).intersection(targets.tolist()) if banned else None
    if present:
        raise ValueError(f"targets must not be banned tokens, got {sorted(present)}")
