"""group_advantages of tensors on a GPU, or in Triton's interpreter. Not collected by name:
test_triton_interpreter.py runs it where there is no GPU, benchmarks/gpu_check.py where there is one."""

from __future__ import annotations

import os

import numpy as np
import pytest
import torch

from mixed_r1_kernels import TaskEma, group_advantages
from mixed_r1_kernels._impl import missing
from mixed_r1_kernels.group_advantages import METHODS

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
# On a GPU one that is not built fails; the interpreter has no CUDA.
IMPLS = [impl for impl in ("triton", "cuda") if DEVICE == "cuda" or missing(impl, DEVICE) is None]

pytestmark = pytest.mark.parametrize("impl", IMPLS)


def run(impl: str, method: str, rewards: np.ndarray, sizes, **keywords) -> np.ndarray:
    values = rewards if impl == "reference" else torch.from_numpy(rewards).to(DEVICE)
    if method == "task_ema":
        keywords |= {"task_ids": np.arange(len(rewards)) % 3, "state": TaskEma()}
    result = group_advantages(values, sizes, method=method, impl=impl, **keywords)
    if impl == "reference":
        return result
    assert result.dtype == torch.float64 and result.device.type == DEVICE
    return result.cpu().numpy()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("num_rewards", [1, 3])
def test_ragged_groups(impl: str, method: str, num_rewards: int) -> None:
    rng = np.random.default_rng(num_rewards)
    sizes = np.array([1, 2, 127, 128, 129, 5, 300])
    rewards = rng.random((sizes.sum(), num_rewards))
    rewards[rng.random(rewards.shape) < 0.2] = np.nan
    rewards[-300:] = 0.7
    rewards[7, 0], rewards[8, 0] = np.inf, 1e200
    keywords = {"weights": rng.random(num_rewards), "mask": rng.random(len(rewards)) > 0.1}
    expected = run("reference", method, rewards, sizes, **keywords)
    result = run(impl, method, rewards, sizes, **keywords)
    np.testing.assert_allclose(result, expected, atol=1e-12, rtol=1e-12)
    assert not result[-300:].any() and np.isfinite(result).all()


@pytest.mark.parametrize("method", METHODS)
def test_no_variance_gives_exactly_zero(impl: str, method: str) -> None:
    equal = np.array([0.7, np.nextafter(np.float32(0.7), np.float32(1))] * 6, dtype=np.float32)
    for rewards, sizes in ((equal, 12), (equal, 1), (np.full(12, np.nan), 12), (np.zeros(12), 4)):
        assert not run(impl, method, rewards, sizes, eps=0.0).any()


def test_extreme_rewards_stay_finite(impl: str) -> None:
    rewards = np.array([1e140, -1e140, 1e-140, 0.0, 5e-324, 1e308, 1.0, -1e-300])
    for method in METHODS:
        assert np.isfinite(run(impl, method, rewards, [4, 2, 2], eps=0.0)).all()
    result = run(impl, "group", rewards, 8, eps=0.0)
    assert bool((np.abs(result) <= 7 / np.sqrt(8)).all())


def test_empty_and_other_dtypes(impl: str) -> None:
    assert group_advantages(torch.zeros(0, device=DEVICE), 4, impl=impl).shape == (0,)
    rewards = torch.tensor([1, 0, 0, 1], device=DEVICE)
    for dtype in (torch.int64, torch.bfloat16, torch.float32, torch.bool):
        result = group_advantages(rewards.to(dtype), 2, impl=impl)
        torch.testing.assert_close(result, group_advantages(rewards.double(), 2, impl=impl), atol=0, rtol=0)


def test_bad_arguments(impl: str) -> None:
    rewards = torch.zeros(4, device=DEVICE)
    with pytest.raises(TypeError, match="rewards must be a torch tensor"):
        group_advantages(np.zeros(4), 2, impl=impl)
    with pytest.raises(ValueError, match=r"rewards must have shape \[N\] or \[N, K\]"):
        group_advantages(rewards[None, None], 2, impl=impl)
    with pytest.raises(ValueError, match="group_sizes must be at least 1 and divide the 4 rewards, got 3"):
        group_advantages(rewards, 3, impl=impl)
