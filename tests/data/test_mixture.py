import json
from collections import Counter

import pytest

from mixed_r1.data.mixture import MixtureSampler, mixture_weights
from mixed_r1.schema import Sample

SIZES = {"a": 30, "b": 10, "c": 5}
SAMPLES = [
    Sample(
        id=f"{name}{i}",
        task="math",
        question="?",
        answer="1",
        source=name,
        difficulty=((i * 7) % size) / size,
    )
    for name, size in SIZES.items()
    for i in range(size)
]


@pytest.mark.parametrize(
    ("weights", "share"),
    [
        ("equal", {"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}),
        ("proportional", {"a": 30 / 45, "b": 10 / 45, "c": 5 / 45}),
        ({"a": 3, "c": 1}, {"a": 0.75, "b": 0.0, "c": 0.25}),
    ],
)
def test_every_prefix_keeps_the_shares(weights, share):
    sampler = MixtureSampler(SAMPLES, weights=weights)
    assert sampler.weights == pytest.approx(share)
    drawn = [SAMPLES[i].source for i in sampler.next(400)]
    for t in range(1, 401):
        counts = Counter(drawn[:t])
        assert all(abs(counts[name] - share[name] * t) <= 1.0 + 1e-9 for name in SIZES)


def test_an_epoch_takes_each_row_once_and_the_next_is_shuffled_anew():
    sampler = MixtureSampler(SAMPLES)
    first, second = sampler.next(45), sampler.next(45)
    assert sorted(first) == sorted(second) == list(range(45))
    assert first != second
    assert MixtureSampler(SAMPLES).next(45) == first
    assert MixtureSampler(SAMPLES, seed=1).next(45) != first


@pytest.mark.parametrize("drawn", [0, 1, 7, 44, 45, 200])
def test_a_resumed_sampler_draws_the_same(drawn):
    whole = MixtureSampler(SAMPLES, weights="equal", seed=3)
    expected = whole.next(drawn + 100)[drawn:]
    stopped = MixtureSampler(SAMPLES, weights="equal", seed=3)
    stopped.next(drawn)
    state = json.loads(json.dumps(stopped.state_dict()))
    resumed = MixtureSampler(SAMPLES, weights="equal", seed=3)
    resumed.load_state_dict(state)
    assert resumed.next(60) + resumed.next(40) == expected


def test_a_foreign_state_is_refused():
    state = MixtureSampler(SAMPLES).state_dict()
    with pytest.raises(ValueError, match="state must have the sampler's seed 1, got 0"):
        MixtureSampler(SAMPLES, seed=1).load_state_dict(state)
    with pytest.raises(ValueError, match=r"source .* must have \d+ rows, got \d+"):
        MixtureSampler(SAMPLES[:-1]).load_state_dict(state)
    with pytest.raises(ValueError, match="sampler's weights"):
        MixtureSampler(SAMPLES, weights="equal").load_state_dict(state)


def test_difficulty_order_is_easy_to_hard_in_every_epoch():
    sampler = MixtureSampler(SAMPLES, order="difficulty", weights={"a": 1})
    for _ in range(2):
        values = [SAMPLES[i].difficulty for i in sampler.next(30)]
        assert values == sorted(values)


def test_task_mixture():
    rows = [
        Sample(id="m", task="math", question="?", answer="1"),
        Sample(id="y", task="yes_no", question="?", answer="no"),
    ]
    assert MixtureSampler(rows, by="task", weights={"yes_no": 1}).next(3) == [1, 1, 1]


@pytest.mark.parametrize(
    ("kwargs", "message"),
    [
        ({"weights": {"z": 1}}, r"weights must name sources of the data \(a, b, c\), got \['z'\]"),
        ({"weights": {"a": -1}}, "weights must be finite, at least 0 and not all 0"),
        ({"weights": {"a": float("nan")}}, "weights must be finite"),
        ({"weights": {}}, "not all 0"),
        ({"weights": "even"}, "weights must be 'equal', 'proportional' or a mapping, got 'even'"),
        ({"by": "colour"}, "by must be 'source' or 'task'"),
        ({"order": "alphabet"}, "order must be 'random' or 'difficulty'"),
    ],
)
def test_wrong_arguments(kwargs, message):
    with pytest.raises(ValueError, match=message):
        MixtureSampler(SAMPLES, **kwargs)


def test_rows_needed_and_difficulty_needed():
    with pytest.raises(ValueError, match="at least one row"):
        MixtureSampler([])
    rows = [Sample(id="m", task="math", question="?", answer="1")]
    with pytest.raises(ValueError, match="got 1 without, first 'm'"):
        MixtureSampler(rows, order="difficulty")
    assert mixture_weights({"a": 1}, "equal") == {"a": 1.0}
