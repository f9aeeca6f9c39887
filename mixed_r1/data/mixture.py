"""Which rows come next: a resumable sampler that mixes sources by weight.

Draw t goes to the source furthest behind its share, argmax_s w_s (t + 1) - n_s (n_s: rows taken from s so
far; ties to the first name), so every batch comes close to the weights. Inside a source, rows come in
epochs without replacement, shuffled by (seed, source, epoch) or from easy to hard. All state is the counts
n_s.

The shuffle is stratified: tasks, and the golds of yes/no and choice rows, are spread evenly over the epoch.
The k-th of the n rows of a stratum comes at a place uniform in [k / n, (k + 1) / n), so every batch holds
nearly equal shares of each. In a batch that holds more "yes" than "no", the answer "yes" earns more than it
should, for every prompt at once: such chance differences are noise that pushes a policy to a constant.

A curriculum goes from easy to hard once over a planned number of draws, with every row that fits in, or each
several times: row i of the pass has the key rank(difficulty_i) / L + spread * u_i, u_i uniform in
[-1/2, 1/2), and rows come by key: batches mix neighbours in difficulty while the mean rises steadily.
Observe-R1 (arXiv 2505.12432) draws each of its eight levels from the adjacent ones too; here levels are a
continuum.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

import numpy as np

from mixed_r1.config import ConfigError
from mixed_r1.schema import CLOSED_TASKS, Sample

__all__ = ["MixtureSampler", "Weights", "held_out", "mixture_weights"]

Weights: TypeAlias = "Literal['equal', 'proportional'] | Mapping[str, float]"


def mixture_weights(sizes: Mapping[str, int], weights: Weights) -> dict[str, float]:
    """Name -> share of the draws, adding up to 1; named sources left out of a mapping get 0.

    Raises:
        ConfigError: an unknown name or mode, a weight that is negative or not finite, or all weights 0.
    """
    if weights == "equal":
        raw = {name: 1.0 for name in sizes}
    elif weights == "proportional":
        raw = {name: float(count) for name, count in sizes.items()}
    elif isinstance(weights, Mapping):
        unknown = sorted(set(weights) - set(sizes))
        if unknown:
            raise ConfigError(f"weights must name sources of the data ({', '.join(sizes)}), got {unknown}")
        raw = {name: float(weights.get(name, 0.0)) for name in sizes}
    else:
        raise ConfigError(f"weights must be 'equal', 'proportional' or a mapping, got {weights!r}")
    total = math.fsum(raw.values())
    if any(not (math.isfinite(value) and value >= 0) for value in raw.values()) or total <= 0:
        raise ConfigError(f"weights must be finite, at least 0 and not all 0, got {weights!r}")
    return {name: value / total for name, value in raw.items()}


def held_out(samples: Sequence[Sample], count: int, *, seed: int = 0) -> list[Sample]:
    """``count`` rows of ``samples`` to evaluate on, in their order: tasks in proportion, and in a task of few
    golds these too. ``seed`` decides which; fewer rows are all taken.
    """
    if count >= len(samples):
        return list(samples)
    return [samples[i] for i in sorted(MixtureSampler(samples, by="task", seed=seed).next(count))]


class MixtureSampler:
    """Endless draws of row numbers from ``samples``.

    Args:
        samples: the rows; only their source, task and difficulty are read.
        weights: share of the draws per source: equal, proportional to its rows, or given by name.
        by: what a "source" is here: the row's ``source`` or its ``task``.
        order: ``random``; ``difficulty`` (ascending in every epoch, equal ones shuffled); ``curriculum`` (see
            above). The latter two need a difficulty in every row.
        seed: of all shuffles.
        spread: of the curriculum; 0 is strict order, 1 lets a row come up to half a pass early or late.
        draws: over which the curriculum goes from easy to hard; None: one epoch.

    Raises:
        ConfigError: no rows, weights that do not fit, or rows without difficulty.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        *,
        weights: Weights = "proportional",
        by: Literal["source", "task"] = "source",
        order: Literal["random", "difficulty", "curriculum"] = "random",
        seed: int = 0,
        spread: float = 0.2,
        draws: int | None = None,
    ) -> None:
        if not samples:
            raise ConfigError("samples must hold at least one row, got none")
        if by not in ("source", "task"):
            raise ConfigError(f"by must be 'source' or 'task', got {by!r}")
        if order not in ("random", "difficulty", "curriculum"):
            raise ConfigError(f"order must be 'random' or 'difficulty' or 'curriculum', got {order!r}")
        if not (math.isfinite(spread) and spread >= 0):
            raise ConfigError(f"spread must be finite and at least 0, got {spread!r}")
        if draws is not None and draws < 1:
            raise ConfigError(f"draws must be at least 1, got {draws}")
        rows: dict[str, list[int]] = {}
        for i, sample in enumerate(samples):
            rows.setdefault(getattr(sample, by), []).append(i)
        self._rows = {name: np.asarray(rows[name], dtype=np.int64) for name in sorted(rows)}
        self._strata = _strata(samples)
        self.weights = mixture_weights({name: len(part) for name, part in self._rows.items()}, weights)
        self._difficulty = None if order == "random" else _difficulties(samples, order)
        self._spread = spread if order == "curriculum" else 0.0
        self._lengths = self._sizes()  # rows of a pass
        if order == "curriculum" and draws is not None:
            self._lengths = {name: max(1, round(draws * self.weights[name])) for name in self._rows}
        self._order = [order, self._spread, draws if order == "curriculum" else None]
        self._seed = seed
        self._taken = {name: 0 for name in self._rows}
        self._epochs: dict[str, tuple[int, np.ndarray]] = {}

    def next(self, n: int) -> list[int]:
        """The next ``n`` row numbers."""
        return [self._draw() for _ in range(n)]

    def state_dict(self) -> dict[str, Any]:
        """JSON-ready state: with equal arguments, a sampler that loads it draws on as this one would."""
        return {
            "seed": self._seed,
            "weights": dict(self.weights),
            "sizes": self._sizes(),
            "order": list(self._order),
            "taken": dict(self._taken),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue from ``state``.

        Raises:
            ValueError: the state of other data, weights, order or seed; the message names what differs.
        """
        own = self.state_dict()
        had, has = state.get("sizes") or {}, own["sizes"]
        for name in sorted({*had, *has}):
            if had.get(name, 0) != has.get(name, 0):
                raise ValueError(f"source {name!r} must have {had.get(name, 0)} rows, got {has.get(name, 0)}")
        for key in ("seed", "weights", "order"):
            if state.get(key) != own[key]:
                raise ValueError(f"state must have the sampler's {key} {own[key]}, got {state.get(key)}")
        self._taken = {name: int(state["taken"][name]) for name in self._rows}

    def _sizes(self) -> dict[str, int]:
        return {name: len(part) for name, part in self._rows.items()}

    def _draw(self) -> int:
        drawn = sum(self._taken.values()) + 1
        name = max(self._rows, key=lambda source: self.weights[source] * drawn - self._taken[source])
        epoch, position = divmod(self._taken[name], self._lengths[name])
        self._taken[name] += 1
        return int(self._epoch(name, epoch)[position])

    def _epoch(self, name: str, epoch: int) -> np.ndarray:
        """Row numbers of ``name`` in the order of its ``epoch``-th pass."""
        cached = self._epochs.get(name)
        if cached is None or cached[0] != epoch:
            rng = np.random.default_rng([self._seed, zlib.crc32(name.encode()), epoch])
            rows, length = self._rows[name], self._lengths[name]
            order = np.concatenate([self._shuffled(rows, rng) for _ in range(-(-length // len(rows)))])
            order = order[:length]
            if self._difficulty is not None:
                order = order[np.argsort(self._difficulty[order], kind="stable")]
            if self._spread > 0:
                keys = np.arange(length) / length + self._spread * (rng.random(length) - 0.5)
                order = order[np.argsort(keys, kind="stable")]
            self._epochs[name] = cached = (epoch, order)
        return cached[1]

    def _shuffled(self, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """``rows`` in a random order that spreads every stratum evenly."""
        order = rng.permutation(rows)
        by_stratum = np.argsort(self._strata[order], kind="stable")
        sizes = np.unique(self._strata[order], return_counts=True)[1]
        places = np.concatenate([(np.arange(size) + rng.random(size)) / size for size in sizes])
        return order[by_stratum[np.argsort(places, kind="stable")]]


def _strata(samples: Sequence[Sample]) -> np.ndarray:
    """[N] a number per task, and per gold where golds come from a closed list."""
    keys = [(s.task, s.answer if s.task in CLOSED_TASKS else "") for s in samples]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([numbers[key] for key in keys], dtype=np.int64)


def _difficulties(samples: Sequence[Sample], order: str) -> np.ndarray:
    missing = [sample.id for sample in samples if sample.difficulty is None]
    if missing:
        raise ConfigError(
            f"samples must all have a difficulty for order={order!r}, "
            f"got {len(missing)} without, first {missing[0]!r}"
        )
    return np.asarray([sample.difficulty for sample in samples], dtype=np.float64)
