"""The curriculum: easy to hard over the planned draws, smoothed, resumable."""

import json
from collections import Counter

import numpy as np
import pytest

from mixed_r1.data.mixture import MixtureSampler
from mixed_r1.schema import Sample

ROWS = [
    Sample(
        id=f"{source}{i}", task="math", question="?", answer="1", source=source, difficulty=(i * 37 % n) / n
    )
    for source, n in (("a", 100), ("b", 60))
    for i in range(n)
]


def difficulties(indices, source="a"):
    return np.array([ROWS[i].difficulty for i in indices if ROWS[i].source == source])


@pytest.mark.parametrize("draws", [40, 160, 400])
def test_one_curriculum_spans_the_planned_draws(draws):
    """Fewer draws than rows: a sample of all levels; more: rows repeat, still easy to hard once."""
    drawn = MixtureSampler(ROWS, order="curriculum", spread=0.2, draws=draws).next(draws)
    for source, n in (("a", 100), ("b", 60)):
        values = difficulties(drawn, source)
        counts = Counter(i for i in drawn if ROWS[i].source == source)
        share = len(values) / n
        assert set(counts.values()) <= {int(np.floor(share)) or 1, int(np.ceil(share))}
        third = len(values) // 3
        assert values[:third].mean() < 0.35 and values[-third:].mean() > 0.65


def test_spread_bounds_how_far_a_row_leaves_its_place():
    n = 100
    for spread, bound in ((0.0, 0), (0.1, 10), (0.3, 30)):
        sampler = MixtureSampler(ROWS, order="curriculum", spread=spread, weights={"a": 1}, draws=n)
        ranks = (difficulties(sampler.next(n)) * n).round().astype(int)
        moved = np.abs(ranks - np.arange(n))
        assert moved.max() <= bound + 1
        assert (moved.max() > bound / 2) == (spread > 0)


def test_neighbours_are_mixed_and_the_seed_decides_how():
    draw = [MixtureSampler(ROWS, order="curriculum", seed=s, draws=160).next(160) for s in (0, 0, 1)]
    assert draw[0] == draw[1] != draw[2]
    assert (np.diff(difficulties(draw[0])) < 0).mean() > 0.2


@pytest.mark.parametrize("drawn", [0, 1, 90, 160, 500])
def test_a_resumed_curriculum_draws_the_same(drawn):
    def sampler():
        return MixtureSampler(ROWS, order="curriculum", weights="equal", seed=3, draws=200)

    expected = sampler().next(drawn + 100)[drawn:]
    stopped = sampler()
    stopped.next(drawn)
    resumed = sampler()
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    assert resumed.next(60) + resumed.next(40) == expected


def test_a_state_of_another_curriculum_is_refused():
    state = MixtureSampler(ROWS, order="curriculum", draws=200).state_dict()
    for other in ({"draws": 100}, {"draws": 200, "spread": 0.5}):
        with pytest.raises(ValueError, match="state must have the sampler's order"):
            MixtureSampler(ROWS, order="curriculum", **other).load_state_dict(state)
    with pytest.raises(ValueError, match="state must have the sampler's order"):
        MixtureSampler(ROWS).load_state_dict(state)


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"spread": -0.1}, "spread must be finite and at least 0, got -0.1"),
        ({"spread": float("inf")}, "spread must be finite"),
        ({"draws": 0}, "draws must be at least 1, got 0"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MixtureSampler(ROWS, order="curriculum", **kwargs)


def test_every_row_needs_a_difficulty():
    rows = [*ROWS, Sample(id="bare", task="math", question="?", answer="1")]
    with pytest.raises(ValueError, match=r"order='curriculum', got 1 without, first 'bare'"):
        MixtureSampler(rows, order="curriculum")
