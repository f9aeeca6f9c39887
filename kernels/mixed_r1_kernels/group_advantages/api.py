"""Advantages of completions within their group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from mixed_r1_kernels._arrays import like, to_numpy
from mixed_r1_kernels._impl import device_of, resolve
from mixed_r1_kernels.group_advantages.task_ema import TaskEma

__all__ = ["METHODS", "group_advantages"]

METHODS = ("group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema")
_IMPLEMENTED = ("reference",)


def group_advantages(
    rewards: Any,
    group_sizes: int | Sequence[int] | np.ndarray,
    *,
    weights: Sequence[float] | np.ndarray | None = None,
    method: str = "group",
    eps: float = 1e-6,
    mask: Any = None,
    task_ids: Any = None,
    state: TaskEma | None = None,
    impl: str = "auto",
) -> Any:
    """Advantages [N] float64 of N completions in contiguous groups.

    With r the weighted sum of a row's rewards, mean and std (ddof 1) those of its group:

    - ``group``      (r - mean) / (std + eps)                  (DeepSeekMath, arXiv 2402.03300)
    - ``mean_only``  r - mean                                  (Dr. GRPO, arXiv 2503.20783)
    - ``batch``      (r - mean) / (std of the batch + eps)     (REINFORCE++, arXiv 2501.03262)
    - ``rloo``       r - mean of the others                    (RLOO, arXiv 2402.14740)
    - ``maxrl``      (r - mean) / (mean + eps), 0 for mean <= 0
    - ``task_ema``   (r - mean) / (running std of the task + eps)
    - ``gdpo``       each reward normalised in its group like ``group``, weighted sum, then
                     (a - batch mean) / (batch std + eps)      (GDPO, arXiv 2601.05242)

    A group whose rewards differ by no more than 4 float32 ulps of the largest has zero variance: advantage
    exactly 0, as for a group with fewer than two valid rows. NaN rewards (not applicable) and masked rows are
    left out of every statistic; a row without any valid reward gets 0. ``group`` keeps
    |A| <= (G - 1) / sqrt(G). Statistics are centred two-pass float64.

    Args:
        rewards: [N] or [N, K] real numbers, ndarray or torch tensor; NaN = not applicable.
        group_sizes: one size for all, or one per group; they add up to N.
        weights: [K], default ones.
        mask: [N] bool, False leaves a row out.
        task_ids: [N] integers >= 0 and ``state``: for method "task_ema", which updates ``state`` in place.
        impl: "auto" or "reference".

    Returns:
        float64 [N]; a tensor on the rewards' device where they are one.

    Raises:
        TypeError, ValueError: arguments that do not fit; an infinite reward.
        ImplUnavailable: ``impl`` cannot run here.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {METHODS}, got {method!r}")
    values = np.asarray(to_numpy("rewards", rewards), dtype=np.float64)
    if values.ndim not in (1, 2):
        raise ValueError(f"rewards must have shape [N] or [N, K], got {list(values.shape)}")
    values_NK = (
        values.reshape(len(values), -1)
        if values.size
        else values.reshape(len(values), max(1, values.shape[-1]))
    )
    if np.isinf(values_NK).any():
        raise ValueError(
            f"rewards must be finite or NaN, got inf at row {int(np.isinf(values_NK).any(1).argmax())}"
        )
    N, K = values_NK.shape
    sizes = _sizes(group_sizes, N)
    weights_K = np.ones(K) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights_K.shape != (K,) or not np.isfinite(weights_K).all():
        raise ValueError(f"weights must be {K} finite numbers, got {weights!r}")
    valid = np.ones(N, dtype=bool) if mask is None else np.asarray(_plain("mask", mask, N), dtype=bool)
    if not eps >= 0:
        raise ValueError(f"eps must be at least 0, got {eps!r}")
    tasks = None
    if method == "task_ema":
        if task_ids is None or state is None:
            raise ValueError("task_ids and state must be given for method 'task_ema', got None")
        tasks = np.asarray(_plain("task_ids", task_ids, N), dtype=np.int64)
        if N and tasks.min() < 0:
            raise ValueError(f"task_ids must be at least 0, got {int(tasks.min())}")
    resolve(impl, op="group_advantages", implemented=_IMPLEMENTED, device=device_of(rewards))
    from mixed_r1_kernels.group_advantages import reference

    result = reference.group_advantages(values_NK, sizes, weights_K, valid, method, eps, tasks, state)
    return like(result, rewards)


def _sizes(group_sizes: int | Sequence[int] | np.ndarray, N: int) -> np.ndarray:
    if isinstance(group_sizes, (int, np.integer)):
        if group_sizes < 1 or N % group_sizes:
            raise ValueError(f"group_sizes must divide the {N} rewards, got {group_sizes}")
        return np.full(N // int(group_sizes), int(group_sizes), dtype=np.int64)
    sizes = np.asarray(group_sizes)
    if (
        sizes.ndim != 1
        or (sizes.size and sizes.dtype.kind not in "iu")
        or (sizes < 1).any()
        or sizes.sum() != N
    ):
        raise ValueError(f"group_sizes must be integers >= 1 that add up to {N}, got {group_sizes!r}")
    return sizes.astype(np.int64)


def _plain(name: str, value: Any, N: int) -> np.ndarray:
    array = np.asarray(value) if isinstance(value, (list, tuple)) else to_numpy(name, value)
    if array.shape != (N,):
        raise ValueError(f"{name} must have shape [{N}], got {list(array.shape)}")
    return array
