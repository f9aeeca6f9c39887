"""Which mixture to train on, from the results of a few seed runs: a quadratic surrogate on the simplex.

    score(w) = sum_i b_i w_i + sum_{i<j} a_ij w_i w_j + mean        w_i >= 0, sum_i w_i = 1

This is the quadratic that MoDoMoDo (arXiv 2505.24871) fits to seed runs, in Scheffe's form: on the simplex
w_i^2 is a combination of the other terms, so it has the same values with fewer coefficients. They are found
by ridge regression on scores less their mean; the penalty is the one with the smallest leave-one-out error.
The proposal is the maximiser of the fit; its uncertainty comes from refitting to resampled runs.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize

__all__ = ["SurrogateFit", "fit_surrogate", "read_runs"]

_PENALTIES = np.logspace(-6, 2, 33)
_RESAMPLES = 200
_CANDIDATES = 4096


class SurrogateFit(NamedTuple):
    """``proposal``: source -> (weight, its 10% and 90% quantile over resampled runs).

    ``cv_r2`` and ``cv_rmse`` are of leave-one-out predictions, the penalty chosen anew each time;
    ``warnings`` says why the proposal should not be trusted, if so.
    """

    proposal: dict[str, tuple[float, float, float]]
    predicted: float
    predicted_std: float
    best_run: dict[str, float]
    best_score: float
    num_runs: int
    num_coefficients: int
    penalty: float
    cv_r2: float
    cv_rmse: float
    warnings: list[str]


def read_runs(
    path: str | os.PathLike[str], *, score: str = "score"
) -> tuple[list[str], np.ndarray, np.ndarray]:
    """(sources, weights [runs, sources] with rows adding up to 1, scores [runs]) of a CSV file with a header.

    Every column but ``score`` and ``run`` is the weight of a source.

    Raises:
        ValueError: no such column, or a row whose values are not usable; it names the line.
    """
    with open(path, encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        columns = list(reader.fieldnames or [])
        if score not in columns:
            raise ValueError(f"{path} must have the column {score!r}, got {columns}")
        sources = [name for name in columns if name not in (score, "run")]
        rows = [_run(row, sources, score, f"{path}:{line}") for line, row in enumerate(reader, start=2)]
    if len(sources) < 2:
        raise ValueError(f"{path} must have a weight column for at least 2 sources, got {sources}")
    if not rows:
        raise ValueError(f"{path} must hold at least one run, got none")
    values = np.asarray(rows, dtype=np.float64)
    weights = values[:, :-1]
    return sources, weights / weights.sum(axis=1, keepdims=True), values[:, -1]


def _run(row: Mapping[str, Any], sources: Sequence[str], score: str, where: str) -> list[float]:
    try:
        values = [float(row[name]) for name in (*sources, score)]
    except (TypeError, ValueError):
        raise ValueError(f"{where}: weights and score must be numbers, got {dict(row)}") from None
    if not all(math.isfinite(v) for v in values) or min(values[:-1]) < 0 or sum(values[:-1]) <= 0:
        raise ValueError(f"{where}: weights must be finite, at least 0 and not all 0, got {values[:-1]}")
    return values


def fit_surrogate(
    sources: Sequence[str], weights: np.ndarray, scores: np.ndarray, *, seed: int = 0
) -> SurrogateFit:
    """Fit runs (see :func:`read_runs`) and propose a mixture. Deterministic for a seed.

    Raises:
        ValueError: fewer runs than sources + 2: nothing could be said about the error.
    """
    num_runs, num_sources = weights.shape
    if num_runs < num_sources + 2:
        raise ValueError(f"runs must be at least {num_sources + 2} for {num_sources} sources, got {num_runs}")
    features = _features(weights)
    penalty = _best_penalty(features, scores)
    predictions = _left_out_predictions(features, scores)
    residual = float(((scores - predictions) ** 2).sum())
    total = float(((scores - _left_out_means(scores)) ** 2).sum())
    rng = np.random.default_rng(seed)
    candidates = _candidates(rng, weights)
    best, predicted = _maximiser(_fit(features, scores, penalty), candidates)
    resampled = []
    for _ in range(_RESAMPLES):
        chosen = rng.integers(0, num_runs, num_runs)
        resampled.append(_maximiser(_fit(features[chosen], scores[chosen], penalty), candidates))
    mixtures = np.asarray([mixture for mixture, _ in resampled])
    low, high = np.quantile(mixtures, [0.1, 0.9], axis=0)
    top = int(scores.argmax())
    fit = SurrogateFit(
        proposal={s: (float(best[i]), float(low[i]), float(high[i])) for i, s in enumerate(sources)},
        predicted=predicted,
        predicted_std=float(np.std([value for _, value in resampled])),
        best_run={s: float(weights[top, i]) for i, s in enumerate(sources)},
        best_score=float(scores[top]),
        num_runs=num_runs,
        num_coefficients=features.shape[1],
        penalty=penalty,
        cv_r2=1.0 - residual / total if total > 0 else 0.0,
        cv_rmse=math.sqrt(residual / num_runs),
        warnings=[],
    )
    return fit._replace(warnings=_warnings(fit, np.linalg.matrix_rank(features)))


def _warnings(fit: SurrogateFit, rank: int) -> list[str]:
    found = []
    if fit.num_runs < fit.num_coefficients:
        found.append(f"too few runs: {fit.num_runs} for {fit.num_coefficients} coefficients")
    elif rank < fit.num_coefficients:
        found.append(f"the runs are too alike: they determine {rank} of {fit.num_coefficients} coefficients")
    if fit.cv_r2 <= 0:
        found.append(f"the fit predicts left-out runs no better than their mean (R2 {fit.cv_r2:.2f})")
    widest = max(high - low for _, low, high in fit.proposal.values())
    if widest > 0.5:
        found.append(f"the proposal moves by up to {widest:.2f} when runs are resampled")
    return found


def _features(weights: np.ndarray) -> np.ndarray:
    """[N, m] weights -> [N, m (m + 1) / 2] terms w_i and w_i w_j, i < j."""
    i, j = np.triu_indices(weights.shape[1], k=1)
    return np.concatenate([weights, weights[:, i] * weights[:, j]], axis=1)


class _Fit(NamedTuple):
    coefficients: np.ndarray
    mean: float

    def __call__(self, weights: np.ndarray) -> np.ndarray:
        return _features(np.atleast_2d(weights)) @ self.coefficients + self.mean


def _fit(features: np.ndarray, scores: np.ndarray, penalty: float) -> _Fit:
    mean = float(scores.mean())
    gram = features.T @ features + penalty * np.eye(features.shape[1])
    return _Fit(np.linalg.solve(gram, features.T @ (scores - mean)), mean)


def _best_penalty(features: np.ndarray, scores: np.ndarray) -> float:
    """The penalty with the smallest leave-one-out error, by sklearn's closed form."""
    from sklearn.linear_model import RidgeCV

    model = RidgeCV(alphas=_PENALTIES, fit_intercept=False).fit(features, scores - scores.mean())
    return float(model.alpha_)


def _left_out_means(scores: np.ndarray) -> np.ndarray:
    return (scores.sum() - scores) / (len(scores) - 1)


def _left_out_predictions(features: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Each run predicted from the others."""
    predictions = np.empty(len(scores))
    for i in range(len(scores)):
        others = np.arange(len(scores)) != i
        penalty = _best_penalty(features[others], scores[others])
        fit = _fit(features[others], scores[others], penalty)
        predictions[i] = features[i] @ fit.coefficients + fit.mean
    return predictions


def _candidates(rng: np.random.Generator, weights: np.ndarray) -> np.ndarray:
    """Where the search for the maximum begins: the runs, the corners, and points all over the simplex."""
    size = weights.shape[1]
    spread = rng.dirichlet(np.ones(size), _CANDIDATES)
    edges = rng.dirichlet(np.full(size, 0.3), _CANDIDATES // 4)
    return np.concatenate([weights, np.eye(size), spread, edges])


def _maximiser(fit: _Fit, candidates: np.ndarray) -> tuple[np.ndarray, float]:
    """(mixture, score): the best candidate, moved uphill."""
    values = fit(candidates)
    start = candidates[int(values.argmax())]
    found = minimize(
        lambda w: -float(fit(w)[0]),
        start,
        bounds=[(0.0, 1.0)] * len(start),
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0},
        method="SLSQP",
    )
    mixture = np.clip(found.x, 0.0, 1.0)
    mixture = mixture / mixture.sum() if mixture.sum() > 0 else start
    best = max((start, mixture), key=lambda w: float(fit(w)[0]))
    return best, float(fit(best)[0])
