"""Token log-probabilities one block of the vocabulary at a time, in plain torch.

Legend: T tokens, V vocabulary, v entries of one block, d hidden size.

The vocabulary is the axis that is cut (not the tokens): every block of ``weight`` is then read once, its
gradient is one GEMM over all tokens written once, and nothing of size [V, d] is accumulated over chunks or
rounded between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

# 8 MiB of float32 logits: the fastest of 4 to 64 MiB on CPU (smaller loses GEMM speed, larger the cache).
_BLOCK_LOGITS = 1 << 21
_MIN_CHUNK = 256


def token_logprobs(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    banned: Sequence[int],
    temperature: float,
    chunk: int | None,
    want_entropy: bool,
) -> tuple[Tensor, Tensor | None]:
    """(log-probs [T], entropies [T] or None); float32, or float64 for float64 inputs."""
    if chunk is None:
        chunk = max(_MIN_CHUNK, _BLOCK_LOGITS // max(1, hidden.shape[0]))
    gradients = (
        torch.is_grad_enabled() and hidden.requires_grad,
        torch.is_grad_enabled() and weight.requires_grad,
    )
    logprobs_T, entropies_T = _TokenLogprobs.apply(  # type: ignore[no-untyped-call]
        hidden, weight, targets, banned, temperature, chunk, want_entropy, gradients
    )
    return logprobs_T, entropies_T


class _TokenLogprobs(torch.autograd.Function):
    """Online softmax over vocabulary blocks; for a trainable weight the backward recomputes the blocks.

    With a frozen weight the backward needs only E_p[weight] per token, and a second GEMM in the forward
    yields it (two GEMMs in all instead of three), as attention over the vocabulary does.
    """

    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        banned: Sequence[int],
        temperature: float,
        chunk: int,
        want_entropy: bool,
        gradients: tuple[bool, bool],
    ) -> tuple[Tensor, Tensor | None]:
        blocks = _Blocks(hidden, weight, banned, temperature, chunk)
        T = hidden.shape[0]
        maximum_T = hidden.new_full((T,), torch.finfo(blocks.dtype).min, dtype=blocks.dtype)
        total_T = torch.zeros_like(maximum_T)
        entropy_T = torch.zeros_like(maximum_T)
        # NaN stays where a target is no entry of the vocabulary: never a silent value.
        target_T = torch.full_like(maximum_T, torch.nan)
        mean_Td = torch.zeros_like(hidden, dtype=blocks.dtype) if gradients == (True, False) else None
        for start, logits_Tv in blocks.logits():
            _pick(target_T, logits_Tv, targets - start)
            new_T = torch.maximum(maximum_T, logits_Tv.amax(dim=1))
            shift_T = maximum_T - new_T
            scale_T = shift_T.exp()
            maximum_T = new_T
            weights_Tv = logits_Tv.sub_(new_T[:, None]).exp_()
            if want_entropy:  # -sum w ln w of the weights so far, re-based to the new maximum
                entropy_T = scale_T * (entropy_T - shift_T * total_T) + torch.special.entr(weights_Tv).sum(
                    dim=1
                )
            total_T = total_T * scale_T + weights_Tv.sum(dim=1)
            if mean_Td is not None:
                mean_Td.mul_(scale_T[:, None])
                blocks.add_product(mean_Td, weights_Tv, start)
        ctx.set_materialize_grads(False)
        ctx.blocks = (chunk, banned, temperature)
        ctx.gradients = gradients
        log_total_T = total_T.log()
        if mean_Td is not None:
            mean_Td.div_(total_T[:, None])
            ctx.save_for_backward(weight, targets, mean_Td)
        elif gradients[1]:
            ctx.save_for_backward(hidden, weight, targets, maximum_T + log_total_T)
        entropies_T = log_total_T + entropy_T / total_T if want_entropy else None
        if entropies_T is not None:
            ctx.mark_non_differentiable(entropies_T)
        return (target_T - maximum_T - log_total_T).clamp_(max=0), entropies_T

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_T: Tensor | None, _: Tensor | None) -> tuple[Tensor | None, ...]:
        nothing = (None,) * 6
        if grad_T is None:
            return None, None, *nothing
        chunk, banned, temperature = ctx.blocks
        if not ctx.gradients[1]:
            weight, targets, mean_Td = ctx.saved_tensors
            known_T = (targets >= 0) & (targets < len(weight))  # the others are NaN: they pull no row up
            rows_Td = weight[targets.where(known_T, 0)].to(mean_Td.dtype) * known_T[:, None]
            grad_Td = (rows_Td - mean_Td) * (grad_T / temperature)[:, None]
            return grad_Td.to(weight.dtype), None, *nothing
        hidden, weight, targets, normaliser_T = ctx.saved_tensors
        blocks = _Blocks(hidden, weight, banned, temperature, chunk)
        grad_T = grad_T / temperature
        grad_hidden = torch.zeros_like(hidden, dtype=blocks.dtype) if ctx.gradients[0] else None
        grad_weight = torch.empty_like(weight)
        for start, logits_Tv in blocks.logits():
            stop = start + logits_Tv.shape[1]
            logits_Tv.sub_(normaliser_T[:, None]).exp_().mul_(-grad_T[:, None])
            _add_at(logits_Tv, targets - start, grad_T)
            grad_weight[start:stop] = _product(logits_Tv.T, blocks.hidden)
            if grad_hidden is not None:
                blocks.add_product(grad_hidden, logits_Tv, start)
        return None if grad_hidden is None else grad_hidden.to(hidden.dtype), grad_weight, *nothing


class _Blocks:
    """The logits of ``hidden`` one block of the vocabulary at a time, in one reused buffer."""

    def __init__(
        self, hidden: Tensor, weight: Tensor, banned: Sequence[int], temperature: float, chunk: int
    ) -> None:
        self.dtype = torch.float64 if hidden.dtype == torch.float64 else torch.float32
        # CPU GEMMs round a bfloat16 result to bfloat16: there the operands are widened.
        self.hidden = hidden if _multiplies_wide(hidden) else hidden.to(self.dtype)
        self.weight = weight
        self.banned = banned
        self.temperature = temperature
        self.chunk = chunk

    def logits(self) -> Iterator[tuple[int, Tensor]]:
        """(first entry, logits [T, v]) of each block; the caller may overwrite them."""
        V = self.weight.shape[0]
        buffer = self.hidden.new_empty(self.hidden.shape[0] * min(self.chunk, V), dtype=self.dtype)
        for start in range(0, V, self.chunk):
            stop = min(start + self.chunk, V)
            logits_Tv = buffer[: self.hidden.shape[0] * (stop - start)].view(-1, stop - start)
            _product(self.hidden, self.weight[start:stop].T, out=logits_Tv)
            if self.temperature != 1:
                logits_Tv.div_(self.temperature)
            banned = [token - start for token in self.banned if start <= token < stop]
            if banned:
                logits_Tv[:, banned] = -torch.inf
            yield start, logits_Tv

    def add_product(self, out_Td: Tensor, weights_Tv: Tensor, start: int) -> None:
        """out += weights @ weight[start : start + v]"""
        block = self.weight[start : start + weights_Tv.shape[1]]
        if _multiplies_wide(block):
            out_Td.add_(_product(weights_Tv, block))
        else:
            out_Td.addmm_(weights_Tv, block.to(out_Td.dtype))


def _multiplies_wide(tensor: Tensor) -> bool:
    """Whether a GEMM can take ``tensor`` in half precision and give its float32 sums."""
    return tensor.is_cuda and tensor.dtype in (torch.bfloat16, torch.float16)


def _product(a: Tensor, b: Tensor, out: Tensor | None = None) -> Tensor:
    """a @ b in float32 (float64 for float64), one operand in the model's dtype."""
    half = next((x.dtype for x in (a, b) if _multiplies_wide(x)), None)
    if half is not None:
        return torch.mm(a.to(half), b.to(half), out_dtype=torch.float32, out=out)
    dtype = a.dtype if a.dtype == torch.float64 else torch.float32
    return torch.mm(a.to(dtype), b.to(dtype), out=out)


def _pick(out_T: Tensor, logits_Tv: Tensor, local_T: Tensor) -> None:
    """out[t] = logits[t, local[t]] where local[t] is in the block."""
    column_T1, inside_T = _columns(logits_Tv, local_T)
    torch.where(inside_T, logits_Tv.gather(1, column_T1)[:, 0], out_T, out=out_T)


def _add_at(logits_Tv: Tensor, local_T: Tensor, values_T: Tensor) -> None:
    """logits[t, local[t]] += values[t] where local[t] is in the block."""
    column_T1, inside_T = _columns(logits_Tv, local_T)
    logits_Tv.scatter_add_(1, column_T1, (values_T * inside_T)[:, None])


def _columns(logits_Tv: Tensor, local_T: Tensor) -> tuple[Tensor, Tensor]:
    v = logits_Tv.shape[1]
    return local_T.clamp(0, v - 1)[:, None], (local_T >= 0) & (local_T < v)
