"""Group advantages in float64, one group at a time: the definition of the op."""

from __future__ import annotations

import numpy as np

__all__ = ["LARGEST", "group_advantages", "is_constant", "weighted_total"]

# Rewards this close, relative to the larger, are equal: 4 units in the last place of float32.
RELATIVE_TOLERANCE = 4 * 2.0**-23
# Between these magnitudes no square or quotient below leaves the range of float64.
SMALLEST, LARGEST = 1e-140, 1e140


def weighted_total(rewards_NK: np.ndarray, weights_K: np.ndarray, mask_N: np.ndarray | None) -> np.ndarray:
    """Sum of the weighted rewards that apply; NaN for a row with none."""
    weighted = _usable(rewards_NK, mask_N) * weights_K
    weighted[~(np.abs(weighted) <= LARGEST)] = np.nan
    return np.where(np.isnan(weighted).all(axis=1), np.nan, np.nansum(weighted, axis=1))


def group_advantages(
    rewards_NK: np.ndarray,
    group_sizes: np.ndarray,
    weights_K: np.ndarray,
    mask_N: np.ndarray | None,
    method: str,
    eps: float,
    scales_N: np.ndarray | None,
) -> np.ndarray:
    """Advantages [N] float64; the formulas are in api.py. ``scales_N`` is each row's divisor for task_ema."""
    ends = np.cumsum(group_sizes)
    groups = [slice(end - size, end) for end, size in zip(ends, group_sizes, strict=True)]
    if method == "gdpo":
        return _gdpo(_usable(rewards_NK, mask_N), groups, weights_K, eps)
    total_N = weighted_total(rewards_NK, weights_K, mask_N)
    valid_N = ~np.isnan(total_N)
    if method == "batch":
        scales_N = np.full(len(total_N), _std(total_N[valid_N]))
    result_N = np.zeros(len(total_N))
    for group in groups:
        rows = np.flatnonzero(valid_N[group]) + group.start
        r = total_N[rows]
        if is_constant(r):
            continue
        centred = r - r.mean()
        if method == "group":
            result_N[rows] = _normalised(r, eps)
        elif method == "mean_only":
            result_N[rows] = centred
        elif method == "rloo":
            result_N[rows] = centred * len(r) / (len(r) - 1)
        elif method == "maxrl":
            result_N[rows] = centred / max(r.mean() + eps, SMALLEST) if r.mean() > 0 else 0.0
        elif scales_N is not None:  # batch, task_ema
            result_N[rows] = centred / np.maximum(scales_N[rows] + eps, SMALLEST)
    return result_N


def is_constant(r: np.ndarray) -> bool:
    """Zero variance, decided by the range: a standard deviation of equal numbers need not come out as 0."""
    return len(r) < 2 or r.max() - r.min() <= max(RELATIVE_TOLERANCE * np.abs(r).max(), SMALLEST)


def _usable(rewards_NK: np.ndarray, mask_N: np.ndarray | None) -> np.ndarray:
    keep = np.abs(rewards_NK) <= LARGEST
    return np.where(keep if mask_N is None else keep & mask_N[:, None], rewards_NK, np.nan)


def _std(r: np.ndarray) -> float:
    return float(r.std(ddof=1)) if len(r) > 1 else 0.0


def _normalised(r: np.ndarray, eps: float) -> np.ndarray:
    if is_constant(r):
        return np.zeros(len(r))
    bound = (len(r) - 1) / len(r) ** 0.5
    return np.clip((r - r.mean()) / (_std(r) + eps), -bound, bound)


def _gdpo(rewards_NK: np.ndarray, groups: list[slice], weights_K: np.ndarray, eps: float) -> np.ndarray:
    sum_N = np.zeros(len(rewards_NK))
    for group in groups:
        for k, weight in enumerate(weights_K):
            rows = np.flatnonzero(~np.isnan(rewards_NK[group, k])) + group.start
            sum_N[rows] += weight * _normalised(rewards_NK[rows, k], eps)
    # Each normalised reward sums to 0 over its group, so the batch mean is 0 and only the scale is left.
    num_valid = int((~np.isnan(rewards_NK)).any(axis=1).sum())
    std = float(np.sqrt((sum_N**2).sum() / max(num_valid - 1, 1)))
    return sum_N / (std + eps) if std > SMALLEST else np.zeros(len(sum_N))
