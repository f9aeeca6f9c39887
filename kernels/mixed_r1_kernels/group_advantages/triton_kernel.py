"""Group advantages on a GPU: one program per group, in float64, one launch for all rewards."""

from __future__ import annotations

import contextlib

import torch
import triton
import triton.language as tl
from torch import Tensor

from mixed_r1_kernels.group_advantages.reference import LARGEST, RELATIVE_TOLERANCE, SMALLEST

__all__ = ["group_advantages", "weighted_total"]

GROUP = {"BLOCK": 128, "num_warps": 1}  # larger groups are walked in blocks


@triton.jit
def load_values(values_ptr, offs, end, stride):
    """Values of a group; a NaN stands for one that does not apply, and for the end of the group."""
    return tl.load(values_ptr + offs * stride, mask=offs < end, other=float("nan"))


@triton.jit
def advantages_kernel(
    values_ptr,
    begins_ptr,
    weights_ptr,
    scales_ptr,
    out_ptr,
    constants_ptr,
    num_columns,
    METHOD: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """out[i] += weight * advantage of each column of one group, whose rows are begins[g] to begins[g + 1]."""
    eps = tl.load(constants_ptr)
    relative_tolerance = tl.load(constants_ptr + 1)
    smallest = tl.load(constants_ptr + 2)
    begin = tl.load(begins_ptr + tl.program_id(0))
    end = tl.load(begins_ptr + tl.program_id(0) + 1)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    for column in range(0, num_columns):
        count = tl.zeros([BLOCK], tl.float64)
        total = tl.zeros([BLOCK], tl.float64)
        low = tl.full([BLOCK], float("inf"), tl.float64)
        high = tl.full([BLOCK], -float("inf"), tl.float64)
        for first in range(begin, end, BLOCK):
            r = load_values(values_ptr + column, first + lanes, end, num_columns)
            valid = r == r
            count += valid.to(tl.float64)
            total += tl.where(valid, r, 0.0)
            low = tl.minimum(low, tl.where(valid, r, float("inf")))
            high = tl.maximum(high, tl.where(valid, r, -float("inf")))
        n = tl.sum(count)
        lowest, highest = tl.min(low), tl.max(high)
        magnitude = tl.maximum(tl.abs(lowest), tl.abs(highest))
        limit = tl.maximum(relative_tolerance * magnitude, smallest)
        # Zero variance is decided by the range, as in the reference; then nothing is added.
        if (n > 1.5) & (highest - lowest > limit):
            mean = tl.sum(total) / n
            rest = tl.zeros([BLOCK], tl.float64)
            squares = tl.zeros([BLOCK], tl.float64)
            for first in range(begin, end, BLOCK):
                r = load_values(values_ptr + column, first + lanes, end, num_columns)
                deviation = tl.where(r == r, r - mean, 0.0)
                rest += deviation
                squares += deviation * deviation
            left = tl.sum(rest)
            variance = tl.maximum(tl.sum(squares) - left * left / n, 0.0) / (n - 1.0)
            mean += left / n
            divisor = mean * 0.0 + 1.0
            if METHOD == "group":
                divisor = tl.sqrt(variance) + eps
            if METHOD == "rloo":
                divisor = (n - 1.0) / n
            if METHOD == "maxrl":
                divisor = tl.where(mean > 0.0, tl.maximum(mean + eps, smallest), float("inf"))
            bound = (n - 1.0) / tl.sqrt(n)
            weight = tl.load(weights_ptr + column)
            for first in range(begin, end, BLOCK):
                offs = first + lanes
                r = load_values(values_ptr + column, offs, end, num_columns)
                if METHOD == "scaled":
                    scale = tl.load(scales_ptr + offs, mask=offs < end, other=1.0)
                    advantage = (r - mean) / tl.maximum(scale + eps, smallest)
                else:
                    advantage = (r - mean) / divisor
                if METHOD == "group":
                    advantage = tl.minimum(tl.maximum(advantage, -bound), bound)
                # Each program owns its rows: a plain read and write.
                before = tl.load(out_ptr + offs, mask=offs < end, other=0.0)
                advantage = tl.where(r == r, before + weight * advantage, before)
                tl.store(out_ptr + offs, advantage, mask=offs < end)


def weighted_total(rewards_NK: Tensor, weights_K: Tensor, mask_N: Tensor | None) -> Tensor:
    """As the reference: NaN for a row with no reward that applies."""
    weighted = _usable(rewards_NK, mask_N) * weights_K
    weighted = torch.where(weighted.abs() <= LARGEST, weighted, torch.nan)
    return torch.where(weighted.isnan().all(dim=1), torch.nan, weighted.nansum(dim=1))


def group_advantages(
    rewards_NK: Tensor,
    begins: Tensor,
    weights_K: Tensor,
    mask_N: Tensor | None,
    method: str,
    eps: float,
    scales_N: Tensor | None,
) -> Tensor:
    """Advantages [N] float64 on the device of ``rewards_NK`` (float64); ``begins`` are the groups' first rows
    and N. No value is read back."""
    out_N = torch.zeros(len(rewards_NK), dtype=torch.float64, device=rewards_NK.device)
    if not len(rewards_NK):
        return out_N
    if method == "gdpo":
        values_NK = _usable(rewards_NK, mask_N).contiguous()
        _launch(values_NK, begins, weights_K, out_N, out_N, eps, "group")
        num_valid = values_NK.isnan().logical_not().any(dim=1).sum()
        std = ((out_N * out_N).sum() / (num_valid - 1).clamp(min=1)).sqrt()
        return torch.where(std > SMALLEST, out_N / (std + eps), 0)
    total_N = weighted_total(rewards_NK, weights_K, mask_N)
    if method == "batch":
        scales_N = _std(total_N).expand_as(total_N).contiguous()
    kernel_method = "scaled" if method in ("batch", "task_ema") else method
    scales = out_N if scales_N is None else scales_N
    _launch(total_N[:, None], begins, torch.ones_like(total_N[:1]), scales, out_N, eps, kernel_method)
    return out_N


def _launch(
    values_NK: Tensor,
    begins: Tensor,
    weights_K: Tensor,
    scales_N: Tensor,
    out_N: Tensor,
    eps: float,
    method: str,
) -> None:
    # In memory, because Triton passes a Python float as a float32.
    constants = torch.tensor([eps, RELATIVE_TOLERANCE, SMALLEST], dtype=torch.float64, device=out_N.device)
    guard = torch.cuda.device(out_N.device) if out_N.is_cuda else contextlib.nullcontext()
    with guard:
        advantages_kernel[(len(begins) - 1,)](
            values_NK,
            begins,
            weights_K,
            scales_N,
            out_N,
            constants,
            values_NK.shape[1],
            METHOD=method,
            **GROUP,
        )


def _usable(rewards_NK: Tensor, mask_N: Tensor | None) -> Tensor:
    keep = rewards_NK.abs() <= LARGEST
    return torch.where(keep if mask_N is None else keep & mask_N[:, None], rewards_NK, torch.nan)


def _std(total_N: Tensor) -> Tensor:
    """ddof 1, over the values that are not NaN; 0 for fewer than two."""
    valid = total_N.isnan().logical_not()
    count = valid.sum()
    centred = torch.where(valid, total_N - total_N.nansum() / count.clamp(min=1), 0)
    return ((centred * centred).sum() / (count - 1).clamp(min=1)).sqrt()


# For the compile-only tests: (kernel, run-time types, ":16" where divisible by 16; the rest of the launch).
COMPILE_SIGNATURES = [
    (
        advantages_kernel,
        "*fp64:16 *i64:16 *fp64:16 *fp64:16 *fp64:16 *fp64:16 i32",
        {"METHOD": method} | GROUP,
    )
    for method in ("group", "mean_only", "rloo", "maxrl", "scaled")
]
