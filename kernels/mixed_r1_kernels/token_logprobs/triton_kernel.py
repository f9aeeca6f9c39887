"""Token log-probabilities on a GPU: products, online softmax and gradient of a tile of logits in one kernel.

Legend: T tokens, V vocabulary, v entries of one block, d hidden size.

The forward keeps no logits at all. The backward computes them again, a block of the vocabulary at a time, as
gradients in the model's dtype, and leaves the two remaining products, whose sums are float32, to the library.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.autograd.function import once_differentiable

__all__ = ["token_logprobs"]

# Half precision uses the tensor cores; float32 keeps its precision, and its products are not theirs.
HALF = {"BLOCK_T": 128, "BLOCK_V": 128, "BLOCK_D": 64, "num_warps": 8, "num_stages": 3}
# Rows that are not whole vectors on 16-byte boundaries go through registers: with larger blocks they spill.
HALF_OTHER = {"BLOCK_T": 64, "BLOCK_V": 64, "BLOCK_D": 64, "num_warps": 8, "num_stages": 2}
SINGLE = {"BLOCK_T": 64, "BLOCK_V": 64, "BLOCK_D": 32, "num_warps": 8, "num_stages": 2}
_MIN_CHUNK = 4096
_BLOCK_LOGITS = 1 << 26  # gradients of logits held at a time: 128 MiB in half precision
_NUM_PROGRAMS = 1024  # enough for every multiprocessor, several times


@triton.jit
def logits_tile(
    hidden_ptr,
    weight_ptr,
    banned_ptr,
    offs_t,
    offs_v,
    num_tokens,
    num_entries,
    num_features,
    inverse_temperature,
    HAS_BANNED: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """Logits [BLOCK_T, BLOCK_V] in float32; -inf where banned or beyond the vocabulary."""
    offs_d = tl.arange(0, BLOCK_D)
    in_t, in_v = offs_t < num_tokens, offs_v < num_entries
    hidden_ptrs = hidden_ptr + offs_t.to(tl.int64)[:, None] * num_features + offs_d[None, :]
    weight_ptrs = weight_ptr + offs_v.to(tl.int64)[None, :] * num_features + offs_d[:, None]
    logits = tl.zeros([BLOCK_T, BLOCK_V], tl.float32)
    for first in range(0, num_features, BLOCK_D):
        in_d = offs_d < num_features - first
        a = tl.load(hidden_ptrs + first, mask=in_t[:, None] & in_d[None, :], other=0.0)
        b = tl.load(weight_ptrs + first, mask=in_v[None, :] & in_d[:, None], other=0.0)
        if UPCAST:
            a = a.to(tl.float32)
            b = b.to(tl.float32)
        logits = tl.dot(a, b, logits, input_precision="ieee")
    logits *= inverse_temperature
    allowed = in_v
    if HAS_BANNED:
        allowed = allowed & (tl.load(banned_ptr + offs_v, mask=in_v, other=1) == 0)
    return tl.where(allowed[None, :], logits, float("-inf"))


@triton.jit
def forward_kernel(
    hidden_ptr,
    weight_ptr,
    targets_ptr,
    banned_ptr,
    partial_ptr,
    num_tokens,
    num_entries,
    num_features,
    entries_per_split,
    inverse_temperature,
    HAS_BANNED: tl.constexpr,
    WANT_ENTROPY: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """partial[split]: maximum, sum of w = exp(x - maximum), target's logit, -sum of w ln w, per token."""
    # Neighbouring programs share a part of the vocabulary, which stays in the L2 cache.
    offs_t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    split = tl.program_id(1)
    targets = tl.load(targets_ptr + offs_t, mask=offs_t < num_tokens, other=-1)
    maximum = tl.full([BLOCK_T], -3.0e38, tl.float32)  # finite: a block of banned entries is no NaN
    total = tl.zeros([BLOCK_T], tl.float32)
    entropy = tl.zeros([BLOCK_T], tl.float32)
    target_logit = tl.full([BLOCK_T], float("-inf"), tl.float32)
    end = tl.minimum((split + 1) * entries_per_split, num_entries)
    for first in range(split * entries_per_split, end, BLOCK_V):
        offs_v = first + tl.arange(0, BLOCK_V)
        logits = logits_tile(
            hidden_ptr,
            weight_ptr,
            banned_ptr,
            offs_t,
            offs_v,
            num_tokens,
            num_entries,
            num_features,
            inverse_temperature,
            HAS_BANNED,
            UPCAST,
            BLOCK_T,
            BLOCK_V,
            BLOCK_D,
        )
        is_target = offs_v[None, :] == targets[:, None]
        target_logit = tl.maximum(target_logit, tl.max(tl.where(is_target, logits, float("-inf")), axis=1))
        new_maximum = tl.maximum(maximum, tl.max(logits, axis=1))
        shift = maximum - new_maximum
        scale = tl.exp(shift)
        shifted = logits - new_maximum[:, None]
        weights = tl.exp(shifted)
        if WANT_ENTROPY:
            parts = tl.where(weights > 0.0, weights * shifted, 0.0)
            entropy = scale * (entropy - shift * total) - tl.sum(parts, axis=1)
        total = total * scale + tl.sum(weights, axis=1)
        maximum = new_maximum
    partial_ptr += split.to(tl.int64) * 4 * num_tokens
    in_t = offs_t < num_tokens
    tl.store(partial_ptr + offs_t, maximum, mask=in_t)
    tl.store(partial_ptr + num_tokens + offs_t, total, mask=in_t)
    tl.store(partial_ptr + 2 * num_tokens + offs_t, target_logit, mask=in_t)
    tl.store(partial_ptr + 3 * num_tokens + offs_t, entropy, mask=in_t)


@triton.jit
def backward_kernel(
    hidden_ptr,
    weight_ptr,
    targets_ptr,
    banned_ptr,
    normalisers_ptr,
    grad_ptr,
    out_ptr,
    first_entry,
    num_tokens,
    num_entries,
    num_features,
    out_stride,
    inverse_temperature,
    HAS_BANNED: tl.constexpr,
    UPCAST: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_V: tl.constexpr,
    BLOCK_D: tl.constexpr,
):
    """out[t, j] = grad[t] ([target[t] = v] - p[t, v]) / temperature, v = first_entry + j."""
    offs_t = tl.program_id(0) * BLOCK_T + tl.arange(0, BLOCK_T)
    offs_j = tl.program_id(1) * BLOCK_V + tl.arange(0, BLOCK_V)
    offs_v = first_entry + offs_j
    in_t = offs_t < num_tokens
    targets = tl.load(targets_ptr + offs_t, mask=in_t, other=-1)
    normalisers = tl.load(normalisers_ptr + offs_t, mask=in_t, other=0.0)
    grad = tl.load(grad_ptr + offs_t, mask=in_t, other=0.0) * inverse_temperature
    logits = logits_tile(
        hidden_ptr,
        weight_ptr,
        banned_ptr,
        offs_t,
        offs_v,
        num_tokens,
        num_entries,
        num_features,
        inverse_temperature,
        HAS_BANNED,
        UPCAST,
        BLOCK_T,
        BLOCK_V,
        BLOCK_D,
    )
    is_target = (offs_v[None, :] == targets[:, None]).to(tl.float32)
    gradient = grad[:, None] * (is_target - tl.exp(logits - normalisers[:, None]))
    here = in_t[:, None] & (offs_v < num_entries)[None, :] & (offs_j < out_stride)[None, :]
    out_ptrs = out_ptr + offs_t.to(tl.int64)[:, None] * out_stride + offs_j[None, :]
    tl.store(out_ptrs, gradient.to(out_ptr.dtype.element_ty), mask=here)


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    banned: Sequence[int],
    temperature: float,
    chunk: int | None,
    want_entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """(log-probs [T], entropies [T] or None) in float32; ``chunk`` bounds the blocks of the backward."""
    if chunk is None:
        chunk = max(_MIN_CHUNK, _BLOCK_LOGITS // max(1, len(hidden)))
    banned_V = None
    if banned:
        banned_V = torch.zeros(len(weight), dtype=torch.int8, device=hidden.device)
        banned_V[list(banned)] = 1
    logprobs_T, entropies_T = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden.contiguous(),
        weight.contiguous(),
        targets.contiguous(),
        banned_V,
        temperature,
        chunk,
        want_entropy,
    )
    return logprobs_T, entropies_T


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        banned_V: Tensor | None,
        temperature: float,
        chunk: int,
        want_entropy: bool,
    ) -> tuple[Tensor, Tensor | None]:
        partial = _partial_sums(hidden, weight, targets, banned_V, temperature, want_entropy)
        maximum_ST, total_ST, target_ST, entropy_ST = partial.unbind(dim=1)
        maximum_T = maximum_ST.amax(dim=0)
        shift_ST = maximum_ST - maximum_T
        scale_ST = shift_ST.exp()
        total_T = (total_ST * scale_ST).sum(dim=0)
        normaliser_T = maximum_T + total_T.log()
        logprobs_T = (target_ST.amax(dim=0) - maximum_T - total_T.log()).clamp_(max=0)
        known_T = (targets >= 0) & (targets < len(weight))
        entropies_T = None
        if want_entropy:
            entropy_T = (scale_ST * (entropy_ST - shift_ST * total_ST)).sum(dim=0)
            entropies_T = total_T.log() + entropy_T / total_T
            ctx.mark_non_differentiable(entropies_T)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(hidden, weight, targets, banned_V, normaliser_T)
        ctx.temperature = temperature
        ctx.chunk = chunk
        return torch.where(known_T, logprobs_T, torch.nan), entropies_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        nothing = (None,) * 5
        if grad_T is None:
            return None, None, *nothing
        hidden, weight, targets, banned_V, normaliser_T = ctx.saved_tensors
        T, V = len(hidden), len(weight)
        chunk = min(ctx.chunk, V)
        launch = _launch(hidden, weight)
        grad_hidden = torch.zeros_like(hidden, dtype=torch.float32) if ctx.needs_input_grad[0] else None
        grad_weight = torch.zeros_like(weight) if ctx.needs_input_grad[1] else None
        buffer = hidden.new_empty(T * chunk)
        for start in range(0, V if T else 0, chunk):
            stop = min(start + chunk, V)
            gradient_Tv = buffer[: T * (stop - start)].view(T, stop - start)
            grid = triton.cdiv(T, launch["BLOCK_T"]), triton.cdiv(stop - start, launch["BLOCK_V"])
            with _device(hidden):
                backward_kernel[grid](
                    hidden,
                    weight,
                    targets,
                    targets if banned_V is None else banned_V,
                    normaliser_T,
                    grad_T.contiguous(),
                    gradient_Tv,
                    start,
                    T,
                    V,
                    hidden.shape[1],
                    stop - start,
                    1 / ctx.temperature,
                    HAS_BANNED=banned_V is not None,
                    UPCAST=not hidden.is_cuda,
                    **launch,
                )
            if grad_hidden is not None:
                _add_product(grad_hidden, gradient_Tv, weight[start:stop])
            if grad_weight is not None:
                torch.mm(gradient_Tv.T, hidden, out=grad_weight[start:stop])
        return None if grad_hidden is None else grad_hidden.to(hidden.dtype), grad_weight, *nothing


def _partial_sums(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    banned_V: Tensor | None,
    temperature: float,
    want_entropy: bool,
) -> Tensor:
    """[splits, 4, T]; see forward_kernel."""
    T = len(hidden)
    V = len(weight)
    launch = _launch(hidden, weight)
    blocks_T, blocks_V = triton.cdiv(T, launch["BLOCK_T"]), triton.cdiv(V, launch["BLOCK_V"])
    num_splits = min(blocks_V, max(1, triton.cdiv(_NUM_PROGRAMS, max(1, blocks_T))))
    blocks_per_split = triton.cdiv(blocks_V, num_splits)
    num_splits = triton.cdiv(blocks_V, blocks_per_split)
    partial = torch.empty(num_splits, 4, T, dtype=torch.float32, device=hidden.device)
    if T == 0:
        return partial
    with _device(hidden):
        forward_kernel[(blocks_T, num_splits)](
            hidden,
            weight,
            targets,
            targets if banned_V is None else banned_V,
            partial,
            T,
            V,
            hidden.shape[1],
            blocks_per_split * launch["BLOCK_V"],
            1 / temperature,
            HAS_BANNED=banned_V is not None,
            WANT_ENTROPY=want_entropy,
            UPCAST=not hidden.is_cuda,
            **launch,
        )
    return partial


def _launch(hidden: Tensor, weight: Tensor) -> dict[str, int]:
    if hidden.dtype == torch.float32:
        return SINGLE
    aligned = hidden.shape[1] % 16 == 0 and hidden.data_ptr() % 16 == weight.data_ptr() % 16 == 0
    return HALF if aligned else HALF_OTHER


def _add_product(out: Tensor, a: Tensor, b: Tensor) -> None:
    """out += a @ b, summed in float32 and rounded nowhere between."""
    if a.is_cuda and a.dtype != torch.float32:
        torch.addmm(out, a, b, out_dtype=torch.float32, out=out)
    else:
        out.addmm_(a.float(), b.float())


def _device(tensor: Tensor) -> contextlib.AbstractContextManager[object]:
    return torch.cuda.device(tensor.device) if tensor.is_cuda else contextlib.nullcontext()


# For the compile-only tests: (kernel, run-time types, ":16" where divisible by 16; the rest of the launch).
_FORWARD = "*{0} *{0} *i64:16 *i8:16 *fp32:16 i32 i32 {1} i32:16 fp32"
_BACKWARD = "*{0} *{0} *i64:16 *i8:16 *fp32:16 *fp32:16 *{2}:16 i32:16 i32 i32 {1} i32:16 fp32"
_FLAGS = {"HAS_BANNED": True, "UPCAST": False}
_LAUNCHES = [
    *((f"{dtype}:16", "i32:16", dtype, HALF) for dtype in ("bf16", "fp16")),
    *((f"{dtype}", "i32", dtype, HALF_OTHER) for dtype in ("bf16", "fp16")),
    ("fp32:16", "i32:16", "fp32", SINGLE),
    ("fp32", "i32", "fp32", SINGLE),
]
COMPILE_SIGNATURES = [
    *(
        (forward_kernel, _FORWARD.format(*types), _FLAGS | {"WANT_ENTROPY": entropy} | launch)
        for *types, launch in _LAUNCHES
        for entropy in (False, True)
    ),
    *((backward_kernel, _BACKWARD.format(*types), _FLAGS | launch) for *types, launch in _LAUNCHES),
]
