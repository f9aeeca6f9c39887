"""Group advantages in float64, one group at a time: the definition of the op."""

from __future__ import annotations

import numpy as np

from mixed_r1_kernels.group_advantages.task_ema import TaskEma

__all__ = ["group_advantages"]

# Rewards this close, relative to the larger, are equal: 4 units in the last place of float32.
RELATIVE_TOLERANCE = 4 * 2.0**-23


def group_advantages(
    rewards_NK: np.ndarray,
    group_sizes: np.ndarray,
    weights_K: np.ndarray,
    valid_N: np.ndarray,
    method: str,
    eps: float,
    task_ids: np.ndarray | None,
    state: TaskEma | None,
) -> np.ndarray:
    """Advantages [N] float64; see the api for the formulas. Inputs are checked there."""
    applies = np.isfinite(rewards_NK) & valid_N[:, None]
    ends = np.cumsum(group_sizes)
    groups = [slice(end - size, end) for end, size in zip(ends, group_sizes, strict=True)]
    if method == "gdpo":
        result = np.zeros(len(rewards_NK))
        for k, weight in enumerate(weights_K):
            for group in groups:
                rows = np.flatnonzero(applies[group, k]) + group.start
                result[rows] += weight * _normalised(rewards_NK[rows, k], eps)
        return _whitened(result, applies.any(axis=1), eps)
    total = np.where(applies, rewards_NK * weights_K, 0.0).sum(axis=1)
    valid_N = applies.any(axis=1)
    if method == "batch":
        scales = np.full(len(total), _std(total[valid_N]))
    elif method == "task_ema":
        assert state is not None and task_ids is not None
        state.update(total[valid_N], task_ids[valid_N])
        scales = state.stds(int(task_ids.max(initial=0)) + 1)[task_ids]
    result = np.zeros(len(total))
    for group in groups:
        rows = np.flatnonzero(valid_N[group]) + group.start
        r = total[rows]
        if _equal(r):
            continue
        centred = r - r.mean()
        if method == "group":
            result[rows] = _normalised(r, eps)
        elif method == "mean_only":
            result[rows] = centred
        elif method == "rloo":
            result[rows] = centred * len(r) / (len(r) - 1)
        elif method == "maxrl":
            result[rows] = centred / (r.mean() + eps) if r.mean() > 0 else 0.0
        else:
            result[rows] = centred / (scales[rows] + eps)
    return result


def _equal(r: np.ndarray) -> bool:
    """Zero variance, decided by the range: a standard deviation of equal numbers need not come out as 0."""
    return len(r) < 2 or r.max() - r.min() <= RELATIVE_TOLERANCE * np.abs(r).max()


def _std(r: np.ndarray) -> float:
    return float(r.std(ddof=1)) if len(r) > 1 else 0.0


def _normalised(r: np.ndarray, eps: float) -> np.ndarray:
    return np.zeros(len(r)) if _equal(r) else (r - r.mean()) / (_std(r) + eps)


def _whitened(advantages: np.ndarray, valid: np.ndarray, eps: float) -> np.ndarray:
    """Batch whitening; a row that no reward tells apart from its group stays at exactly 0."""
    moved = valid & (advantages != 0)
    if not moved.any():
        return advantages
    mean, std = advantages[valid].mean(), _std(advantages[valid])
    return np.where(moved, (advantages - mean) / (std + eps), 0.0)
