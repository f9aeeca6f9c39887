"""Advantages of completions within their group."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from mixed_r1_kernels._arrays import contiguous, from_sequence, is_tensor, like, require_dense, to_numpy
from mixed_r1_kernels._impl import device_of, native, resolve
from mixed_r1_kernels.group_advantages.task_ema import TaskEma

__all__ = ["METHODS", "group_advantages"]

METHODS = ("group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema")  # the order csrc/core knows
_IMPLEMENTED = ("reference", "native", "triton", "cuda")
_LARGEST_WEIGHT = 1e100


def group_advantages(
    rewards: Any,
    group_sizes: int | Sequence[int] | Any,
    *,
    weights: Sequence[float] | Any = None,
    method: str = "group",
    eps: float = 1e-6,
    mask: Any = None,
    task_ids: Any = None,
    state: TaskEma | None = None,
    impl: str = "auto",
) -> Any:
    """Advantages of N completions that lie group by group.

    With r the weighted sum of a row's rewards, mean and std (ddof 1) those of its group:

    - ``group``      (r - mean) / (std + eps)                  (DeepSeekMath, arXiv 2402.03300)
    - ``mean_only``  r - mean                                  (Dr. GRPO, arXiv 2503.20783)
    - ``batch``      (r - mean) / (std of the batch + eps)     (REINFORCE++, arXiv 2501.03262)
    - ``rloo``       r - mean of the others                    (RLOO, arXiv 2402.14740)
    - ``maxrl``      (r - mean) / (mean + eps), 0 for mean <= 0
    - ``task_ema``   (r - mean) / (running std of the row's task + eps)
    - ``gdpo``       each reward normalised in its group like ``group``, weighted sum, then divided by its std
      over the batch + eps (its batch mean is 0)               (GDPO, arXiv 2601.05242)

    A group whose rewards differ by no more than 4 float32 ulps of the largest has zero variance, whatever a
    computed std says: advantage exactly 0, as in a group with fewer than two valid rows. Rewards that are NaN
    (not applicable), infinite or above 1e140, and masked rows, are left out of every statistic; a row without
    any valid reward gets 0. ``group`` keeps |A| <= (G - 1) / sqrt(G). The result is always finite. Statistics
    are two-pass, in float64, in a fixed order.

    Args:
        rewards: [N] or [N, K] real numbers, ndarray or tensor; NaN = not applicable.
        group_sizes: one size for all, or one per group; they add up to N.
        weights: [K] of at most 1e100 in magnitude; default ones.
        method: see above.
        eps: at least 0, added to the divisor.
        mask: [N] bool, False leaves a row out.
        task_ids: [N] integers; needed, with ``state``, by "task_ema".
        state: updated with this batch, then used.
        impl: "auto", "native", "triton", "cuda" or "reference".

    Returns:
        [N] float64, array or tensor as ``rewards``.

    Raises:
        TypeError: ``rewards`` is neither ndarray nor tensor, or not of real numbers; weights that are not; a
            ``state`` that is no TaskEma.
        ValueError: arguments that do not fit.
        ImplUnavailable: ``impl`` cannot run here.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    if not (math.isfinite(eps) and eps >= 0):
        raise ValueError(f"eps must be finite and at least 0, got {eps!r}")
    if is_tensor(rewards):
        require_dense("rewards", rewards)
    name = resolve(impl, op="group_advantages", implemented=_IMPLEMENTED, device=device_of(rewards))
    on_device = (
        name in ("triton", "cuda") and method != "task_ema"
    )  # whose state is on the CPU, and so are its rewards
    rewards_NK = _rewards_tensor(rewards) if on_device else _rewards(rewards)
    N, K = rewards_NK.shape
    sizes = _sizes(group_sizes, N)
    weights_K = _weights(weights, K)
    mask_N = None if mask is None else contiguous(_column("mask", mask, N, "b"), np.bool_)
    scales_N = None
    if method == "task_ema":
        if task_ids is None or state is None:
            raise ValueError("task_ids and state must be given for method task_ema, got None")
        if not isinstance(state, TaskEma):
            raise TypeError(f"state must be a TaskEma, got {type(state).__name__}")
        tasks_N = _column("task_ids", task_ids, N, "iu")
        scales_N = _task_stds(rewards_NK, weights_K, mask_N, tasks_N, state)
    if name in ("triton", "cuda"):
        return _run_on_gpu(name, rewards, rewards_NK, sizes, weights_K, mask_N, method, eps, scales_N)
    if name == "native":
        index = METHODS.index(method)
        result = native().group_advantages(rewards_NK, sizes, weights_K, mask_N, index, eps, scales_N)
    else:
        from mixed_r1_kernels.group_advantages import reference

        result = reference.group_advantages(rewards_NK, sizes, weights_K, mask_N, method, eps, scales_N)
    return like(result, rewards)


def _run_on_gpu(impl: str, rewards: Any, rewards_NK: Any, sizes: np.ndarray, *rest: Any) -> Any:
    """Everything on the device of ``rewards``, a tensor; one launch, nothing read back."""
    import torch

    begins = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    moved: list[Any] = [
        torch.from_numpy(value).to(rewards.device) if isinstance(value, np.ndarray) else value
        for value in (rewards_NK, begins, *rest)
    ]
    if impl == "cuda":
        import mixed_r1_kernels.ops  # noqa: F401 (registers the ops)

        return torch.ops.mixed_r1.group_advantages(moved[0], torch.from_numpy(sizes), *moved[2:])
    from mixed_r1_kernels.group_advantages import triton_kernel

    return triton_kernel.group_advantages(*moved)


def _rewards_tensor(value: Any) -> Any:
    import torch

    if not isinstance(value, torch.Tensor):
        raise TypeError(f"rewards must be a torch tensor on a GPU for this impl, got {type(value).__name__}")
    if value.dtype.is_complex:
        raise TypeError(f"rewards must hold real numbers, got {value.dtype}")
    _check_shape(value)
    tensor = value.detach().to(torch.float64)
    return (tensor if tensor.ndim == 2 else tensor[:, None]).contiguous()


def _check_shape(value: Any) -> None:
    if value.ndim not in (1, 2) or 0 in value.shape[1:]:
        raise ValueError(f"rewards must have shape [N] or [N, K], K at least 1, got {list(value.shape)}")


def _task_stds(
    rewards_NK: np.ndarray, weights_K: np.ndarray, mask_N: Any, tasks_N: np.ndarray, state: TaskEma
) -> np.ndarray:
    from mixed_r1_kernels.group_advantages.reference import weighted_total

    total_N = weighted_total(rewards_NK, weights_K, mask_N)
    valid_N = ~np.isnan(total_N)
    state.update(total_N[valid_N], tasks_N[valid_N])
    return contiguous(state.stds(tasks_N), np.float64)


def _rewards(value: Any) -> np.ndarray:
    array = to_numpy("rewards", value)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"rewards must hold real numbers, got {array.dtype}")
    _check_shape(array)
    array = contiguous(array, np.float64)
    return array if array.ndim == 2 else array[:, None]


def _sizes(value: int | Sequence[int] | Any, N: int) -> np.ndarray:
    if isinstance(value, (int, np.integer)):
        if isinstance(value, bool) or value < 1 or N % value:
            raise ValueError(f"group_sizes must be at least 1 and divide the {N} rewards, got {value}")
        return np.full(N // int(value), int(value), dtype=np.int64)
    array = from_sequence("group_sizes", value)
    if array.ndim != 1 or (array.size and array.dtype.kind not in "iu"):
        raise ValueError(
            f"group_sizes must be one or a list of integers, got {array.dtype} {list(array.shape)}"
        )
    if array.size and (array.min() < 1 or array.max() > N):
        raise ValueError(f"group_sizes must be in [1, {N}], got {array.min()} to {array.max()}")
    if array.sum() != N:
        raise ValueError(f"group_sizes must add up to the {N} rewards, got {array.sum()}")
    return contiguous(array, np.int64)


def _weights(value: Any, K: int) -> np.ndarray:
    if value is None:
        return np.ones(K)
    array = from_sequence("weights", value)
    if array.dtype.kind not in "fiu":
        raise TypeError(f"weights must hold real numbers, got {array.dtype}")
    weights = contiguous(array, np.float64)
    if weights.shape != (K,) or not (np.abs(weights) <= _LARGEST_WEIGHT).all():
        raise ValueError(f"weights must be {K} numbers of at most {_LARGEST_WEIGHT:g}, got {value!r}")
    return weights


def _column(name: str, value: Any, N: int, kinds: str) -> np.ndarray:
    array = from_sequence(name, value)
    if array.shape != (N,) or (N and array.dtype.kind not in kinds):
        rule = "booleans" if kinds == "b" else "integers"
        raise ValueError(f"{name} must be [{N}] {rule}, got {array.dtype} {list(array.shape)}")
    return array
