"""Tasks and golds are spread evenly over what the sampler draws."""

from __future__ import annotations

from collections import Counter

import numpy as np

from mixed_r1.data.mixture import MixtureSampler, held_out
from mixed_r1.schema import Sample


def rows(**counts: int) -> list[Sample]:
    """yes, no: yes/no rows; math: rows of another task."""
    made = []
    for gold, count in counts.items():
        task = "math" if gold == "math" else "yes_no"
        answer = "1" if gold == "math" else gold
        made += [Sample(id=f"{gold}{i}", task=task, question="?", answer=answer) for i in range(count)]
    return made


def test_every_stretch_of_an_epoch_holds_each_gold_in_proportion():
    samples = rows(yes=300, no=100, math=200)
    drawn = [samples[i] for i in MixtureSampler(samples, seed=3).next(600)]
    assert len({s.id for s in drawn}) == 600, "an epoch is every row once"
    for start in range(0, 600, 60):
        golds = Counter(s.answer for s in drawn[start : start + 60])
        for gold, expected in (("yes", 30), ("no", 10), ("1", 20)):
            assert abs(golds[gold] - expected) <= 2, f"{gold} at {start}: {golds}"


def test_the_order_inside_a_stratum_is_random_and_that_of_the_seed():
    samples = rows(yes=200, no=200)
    first, again, other = (MixtureSampler(samples, seed=s).next(400) for s in (1, 1, 2))
    assert first == again != other
    places = np.array([i for i in first if samples[i].answer == "yes"])
    assert abs(np.corrcoef(places, np.arange(200))[0, 1]) < 0.25
    runs = sum(samples[a].answer == samples[b].answer for a, b in zip(first, first[1:], strict=False))
    assert 100 < runs < 300, "golds do not simply take turns"


def test_held_out_rows_are_stratified_in_their_order_and_seeded():
    samples = rows(yes=30, no=30, math=40)
    chosen = held_out(samples, 50, seed=0)
    assert Counter(s.task for s in chosen) == {"yes_no": 30, "math": 20}
    assert Counter(s.answer for s in chosen)["yes"] in (14, 15, 16)
    assert [s.id for s in chosen] == [s.id for s in samples if s in chosen]
    assert held_out(samples, 50, seed=0) == chosen != held_out(samples, 50, seed=1)
    assert held_out(samples, 100) == samples == held_out(samples, 1000)
