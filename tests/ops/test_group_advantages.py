from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from mixed_r1_kernels import TaskEma, group_advantages
from mixed_r1_kernels.group_advantages import METHODS

IMPLS = ("reference", "native")
STATELESS = tuple(method for method in METHODS if method != "task_ema")
GROUP_LOCAL = ("group", "mean_only", "rloo", "maxrl")
ZIGZAG = np.array([0.0, 1.0, 1.0, 0.0, 0.2, 0.4, 0.9, 0.1])


def ragged(rng, num_groups, num_rewards=3):
    sizes = rng.integers(1, 9, num_groups)
    rewards = rng.random((sizes.sum(), num_rewards))
    rewards[rng.random(rewards.shape) < 0.2] = np.nan
    return rewards, sizes, rng.random(len(rewards)) > 0.1


def advantages(method, rewards, sizes, **keywords):
    if method == "task_ema":
        keywords.setdefault("task_ids", np.zeros(len(rewards), dtype=np.int64))
        keywords.setdefault("state", TaskEma())
    return group_advantages(rewards, sizes, method=method, **keywords)


@pytest.mark.parametrize("impl", IMPLS)
def test_hand_table(impl):
    r = np.array([1.0, 0.0, 0.0, 0.0])
    std = 0.5  # of the four, ddof 1
    batch_std = math.sqrt(((ZIGZAG - ZIGZAG.mean()) ** 2).sum() / 7)
    second = ZIGZAG[4:] - 0.4
    table = {
        "group": [0.75 / std, -0.25 / std, -0.25 / std, -0.25 / std],
        "mean_only": [0.75, -0.25, -0.25, -0.25],
        "rloo": [1.0, -1 / 3, -1 / 3, -1 / 3],
        "maxrl": [3.0, -1.0, -1.0, -1.0],
    }
    for method, expected in table.items():
        np.testing.assert_allclose(
            group_advantages(r, 4, method=method, eps=0, impl=impl), expected, atol=1e-14
        )
    batch = group_advantages(ZIGZAG, 4, method="batch", eps=0, impl=impl)
    np.testing.assert_allclose(batch[4:], second / batch_std, atol=1e-14)
    np.testing.assert_allclose(batch[:4], (ZIGZAG[:4] - 0.5) / batch_std, atol=1e-14)


@pytest.mark.parametrize("impl", IMPLS)
def test_eps_is_added_to_the_divisor(impl):
    result = group_advantages(np.array([1.0, 0.0]), 2, eps=0.25, impl=impl)
    np.testing.assert_allclose(result, [0.5 / (math.sqrt(0.5) + 0.25), -0.5 / (math.sqrt(0.5) + 0.25)])


@pytest.mark.parametrize("impl", IMPLS)
def test_gdpo_by_its_definition(impl):
    rng = np.random.default_rng(0)
    rewards, weights = rng.random((12, 2)), np.array([0.7, 0.3])
    expected = np.zeros(12)
    for start in range(0, 12, 4):
        group = rewards[start : start + 4]
        expected[start : start + 4] = ((group - group.mean(0)) / group.std(0, ddof=1)) @ weights
    expected = (expected - expected.mean()) / expected.std(ddof=1)
    result = group_advantages(rewards, 4, weights=weights, method="gdpo", eps=0, impl=impl)
    np.testing.assert_allclose(result, expected, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_task_ema_by_its_definition(impl):
    state, tasks = TaskEma(decay=0.9), np.repeat([5, 2], 4)
    first = group_advantages(ZIGZAG, 4, method="task_ema", task_ids=tasks, state=state, eps=0, impl=impl)
    variances = {5: ZIGZAG[:4].var(ddof=1), 2: ZIGZAG[4:].var(ddof=1)}
    np.testing.assert_allclose(first[:4], (ZIGZAG[:4] - 0.5) / math.sqrt(variances[5]), atol=1e-14)
    changed = np.concatenate([np.full(4, 0.3), ZIGZAG[4:] * 2])
    second = group_advantages(changed, 4, method="task_ema", task_ids=tasks, state=state, eps=0, impl=impl)
    expected = 0.9 * variances[2] + 0.1 * (4 * variances[2])
    assert state.variances[2] == pytest.approx(expected, rel=1e-12)
    assert state.variances[5] == variances[5] and not second[:4].any()
    np.testing.assert_allclose(second[4:], (changed[4:] - 0.8) / math.sqrt(expected), atol=1e-14)
    again = TaskEma()
    again.load_state_dict(json.loads(json.dumps(state.state_dict())))
    assert again.decay == 0.9 and again.variances == state.variances


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(5))
def test_native_equals_reference_on_ragged_groups(method, seed):
    rng = np.random.default_rng(seed)
    rewards, sizes, mask = ragged(rng, 30)
    keywords = {"weights": rng.random(3), "mask": mask}
    if method == "task_ema":
        keywords["task_ids"] = rng.integers(0, 4, len(rewards))
    results = [advantages(method, rewards, sizes, impl=impl, **keywords) for impl in IMPLS]
    assert results[0].dtype == results[1].dtype == np.float64
    np.testing.assert_allclose(*results, atol=1e-12, rtol=1e-12)
    dead = ~mask | np.isnan(rewards).all(axis=1)
    assert dead.any() and not results[1][dead].any()


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("method", GROUP_LOCAL)
def test_masked_and_missing_rows_are_as_if_absent(method, impl):
    rewards = np.array([0.1, np.nan, 0.5, np.inf, 0.9, 7.0, 1e200])
    mask = np.array([True, True, True, True, True, False, True])
    kept = [0, 2, 4]
    result = group_advantages(rewards, 7, method=method, mask=mask, impl=impl)
    expected = np.zeros(7)
    expected[kept] = group_advantages(rewards[kept], 3, method=method, impl=impl)
    np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "rewards",
    [
        np.full(12, 0.7, dtype=np.float32),
        np.full(12, 0.1) + 0.2,
        np.array([0.7, np.nextafter(0.7, 1)] * 6),
        np.array([0.7, np.nextafter(np.float32(0.7), np.float32(1))] * 6, dtype=np.float32),
        np.full(12, np.nan),
        np.array([0.5] + [np.nan] * 11),
        np.array([1e-200, -1e-200] * 6),
    ],
)
def test_no_variance_gives_exactly_zero(method, rewards, impl):
    assert not advantages(method, rewards, 12, impl=impl, eps=0).any()
    assert not advantages(method, rewards, 1, impl=impl, eps=0).any()
    assert not advantages(method, rewards, 12, impl=impl, mask=np.zeros(12, dtype=bool)).any()
    beside = np.concatenate([rewards, ZIGZAG[:4].astype(rewards.dtype)])
    result = advantages(method, beside, [12, 4], impl=impl)
    assert not result[:12].any() and result[12:].all()


REWARDS = st.one_of(
    st.floats(allow_nan=True, allow_infinity=True, width=64),
    st.sampled_from([0.0, 1.0, 0.7, 1e140, -1e140, 1e-140, 1e308, 5e-324, 1e-7]),
    st.floats(0, 1),
)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.integers(1, 6), min_size=1, max_size=4).flatmap(
        lambda sizes: st.tuples(
            st.just(sizes),
            hnp.arrays(np.float64, (sum(sizes), 2), elements=REWARDS),
            st.sampled_from([0.0, 1e-6]),
        )
    )
)
def test_always_finite_and_bounded(case):
    sizes, rewards, eps = case
    for impl in IMPLS:
        for method in METHODS:
            assert np.isfinite(advantages(method, rewards, sizes, eps=eps, impl=impl)).all()
        result = group_advantages(rewards, sizes, eps=eps, impl=impl)
        bound = np.repeat([(n - 1) / math.sqrt(n) for n in sizes], sizes)
        assert bool((np.abs(result) <= bound).all())


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("method", GROUP_LOCAL)
def test_one_poisoned_row_changes_no_other_group(method, impl):
    rewards, sizes, mask = ragged(np.random.default_rng(1), 12)
    clean = group_advantages(rewards, sizes, mask=mask, method=method, impl=impl)
    starts = np.cumsum(sizes) - sizes
    for group, start in enumerate(starts):
        for poison in (np.nan, np.inf, 1e300):
            rewards_bad = rewards.copy()
            rewards_bad[start] = poison
            result = group_advantages(rewards_bad, sizes, mask=mask, method=method, impl=impl)
            others = np.repeat(np.arange(12), sizes) != group
            np.testing.assert_array_equal(result[others], clean[others])


@pytest.mark.parametrize("impl", IMPLS)
@pytest.mark.parametrize("method", METHODS)
def test_advantages_of_a_group_add_up_to_zero(method, impl):
    rewards, sizes, mask = ragged(np.random.default_rng(2), 20)
    result = advantages(method, rewards, sizes, mask=mask, impl=impl)
    np.testing.assert_allclose(np.add.reduceat(result, np.cumsum(sizes) - sizes), 0, atol=1e-12)


@pytest.mark.parametrize("impl", IMPLS)
def test_empty(impl):
    for method in METHODS:
        for rewards, sizes in (
            (np.zeros(0), 4),
            (np.zeros((0, 3)), []),
            (np.zeros(0), np.zeros(0, dtype=np.int64)),
        ):
            result = advantages(method, rewards, sizes, impl=impl)
            assert result.shape == (0,) and result.dtype == np.float64


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.int64])
def test_tensors_in_tensors_out(dtype):
    rewards = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0], [1.0, 1.0]]).to(dtype)
    result = group_advantages(
        rewards, torch.tensor([2, 2]), weights=torch.tensor([0.5, 2.0]), mask=torch.ones(4) > 0
    )
    assert isinstance(result, torch.Tensor) and result.dtype == torch.float64
    expected = group_advantages(rewards.double().numpy(), 2, weights=[0.5, 2.0])
    np.testing.assert_array_equal(result.numpy(), expected)


def test_strided_and_swapped_arrays():
    rewards, sizes, mask = ragged(np.random.default_rng(3), 10)
    expected = group_advantages(rewards, sizes, mask=mask)
    for same in (np.asfortranarray(rewards), np.repeat(rewards, 2, axis=0)[::2], rewards.astype(">f8")):
        result = group_advantages(same, sizes.astype(np.int16), mask=np.repeat(mask, 2)[::2])
        np.testing.assert_array_equal(result, expected)


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"rewards": [1.0, 0.0]}, TypeError, "rewards must be an ndarray or a torch tensor, got list"),
        ({"rewards": np.array(["a", "b"])}, TypeError, "rewards must hold real numbers"),
        ({"rewards": np.zeros((2, 1, 1))}, ValueError, r"rewards must have shape \[N\] or \[N, K\]"),
        ({"rewards": np.zeros((2, 0))}, ValueError, r"rewards must have shape \[N\] or \[N, K\]"),
        ({"group_sizes": 3}, ValueError, "group_sizes must be at least 1 and divide the 2 rewards, got 3"),
        ({"group_sizes": 0}, ValueError, "group_sizes must be at least 1"),
        ({"group_sizes": True}, ValueError, "group_sizes must be at least 1 and divide .* got True"),
        ({"group_sizes": [1, 2]}, ValueError, "group_sizes must add up to the 2 rewards, got 3"),
        ({"group_sizes": [2, 0]}, ValueError, r"group_sizes must be in \[1, 2\], got 0 to 2"),
        ({"group_sizes": [2**63 - 1, 2**63 - 1, 4]}, ValueError, r"group_sizes must be in \[1, 2\]"),
        ({"group_sizes": [2.0]}, ValueError, "group_sizes must be one or a list of integers"),
        ({"weights": [1.0, 1.0]}, ValueError, "weights must be 1 numbers of at most 1e"),
        ({"weights": [math.nan]}, ValueError, "weights must be 1 numbers of at most 1e"),
        ({"method": "grpo"}, ValueError, "method must be one of"),
        ({"eps": -1.0}, ValueError, "eps must be finite and at least 0, got -1.0"),
        ({"mask": np.ones(2)}, ValueError, r"mask must be \[2\] booleans, got float64 \[2\]"),
        ({"mask": np.ones(3, dtype=bool)}, ValueError, r"mask must be \[2\] booleans, got bool \[3\]"),
        ({"method": "task_ema"}, ValueError, "task_ids and state must be given"),
        (
            {"method": "task_ema", "state": TaskEma(), "task_ids": np.zeros(2)},
            ValueError,
            r"task_ids must be \[2\] integers, got float64",
        ),
    ],
)
def test_bad_arguments(change, error, message):
    arguments = {"rewards": np.array([1.0, 0.0]), "group_sizes": 2, **change}
    with pytest.raises(error, match=message):
        group_advantages(arguments.pop("rewards"), arguments.pop("group_sizes"), **arguments)


def test_bad_decay():
    with pytest.raises(ValueError, match=r"decay must be in \[0, 1\), got 1.0"):
        TaskEma(decay=1.0)


def test_state_must_be_a_task_ema():
    with pytest.raises(TypeError, match="state must be a TaskEma, got dict"):
        group_advantages(np.zeros(2), 2, method="task_ema", task_ids=[0, 0], state={})
