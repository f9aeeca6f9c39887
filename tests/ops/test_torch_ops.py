from __future__ import annotations

import numpy as np
import pytest
import torch

import mixed_r1_kernels
from mixed_r1_kernels import ImplUnavailable
from mixed_r1_kernels.box_iou import api as box_iou_api
from mixed_r1_kernels.group_advantages import METHODS
from mixed_r1_kernels.group_advantages import api as advantages_api

try:
    import mixed_r1_kernels.ops  # noqa: F401 (registers the ops)
except ImplUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)

ops = torch.ops.mixed_r1
KINDS = ("iou", "giou", "diou", "ciou")
CHECKS = ("test_schema", "test_faketensor")


def random_boxes(count: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    corners = torch.from_numpy(np.random.default_rng(seed).random((count, 4)) * 100)
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1).to(dtype)


def rewards_of(method: str) -> tuple:
    rng = np.random.default_rng(0)
    rewards = torch.from_numpy(rng.random((9, 2)))
    rewards[2, 0] = torch.nan
    weights, sizes = torch.tensor([0.7, 0.3], dtype=torch.float64), torch.tensor([4, 1, 4])
    scales = torch.rand(9, dtype=torch.float64) if method == "task_ema" else None
    return rewards, sizes, weights, torch.arange(9) != 5, method, 1e-6, scales


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_boxes_equal_the_native_op(kind, dtype):
    a, b = random_boxes(7, dtype), random_boxes(5, dtype, 1)
    expected = mixed_r1_kernels.box_iou(a, b, kind=kind)
    assert torch.equal(ops.box_iou(a, b, kind), expected)
    assert torch.equal(ops.box_iou(a.T.contiguous().T, torch.stack([b, b], 2)[..., 0], kind), expected)
    assert torch.equal(ops.paired_box_iou(a[:5], b, kind), expected.diagonal())
    assert ops.box_iou(a[:0], b, kind).shape == (0, 5)


@pytest.mark.parametrize("method", METHODS)
def test_advantages_equal_the_native_op(method):
    rewards, sizes, weights, mask, *_, scales = rewards_of(method)
    found = ops.group_advantages(rewards, sizes, weights, mask, method, 1e-6, scales)
    if method == "task_ema":
        centred = mixed_r1_kernels.group_advantages(
            rewards, sizes, weights=weights, mask=mask, method="mean_only"
        )
        expected = centred / (scales + 1e-6)
    else:
        expected = mixed_r1_kernels.group_advantages(
            rewards, sizes, weights=weights, mask=mask, method=method
        )
    torch.testing.assert_close(found, expected, atol=1e-14, rtol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("strided", [False, True])
def test_opcheck(dtype, strided):
    a, b = random_boxes(6, dtype), random_boxes(6, dtype, 1)
    if strided:
        a, b = a.T.contiguous().T, torch.cat([b, b])[::2]
    for kind in KINDS:
        torch.library.opcheck(ops.box_iou.default, (a, b, kind), test_utils=CHECKS)
        torch.library.opcheck(ops.paired_box_iou.default, (a, b, kind), test_utils=CHECKS)


def test_opcheck_of_advantages():
    for method in METHODS:
        torch.library.opcheck(ops.group_advantages.default, rewards_of(method), test_utils=CHECKS)


def test_compiles_without_a_graph_break():
    def step(a, b, rewards, sizes, weights):
        advantages = ops.group_advantages(rewards, sizes, weights)
        return ops.box_iou(a, b * 2, "giou").sum() + ops.paired_box_iou(a, b).sum() + advantages.abs().sum()

    rewards, sizes, weights, *_ = rewards_of("group")
    inputs = random_boxes(6, torch.float64), random_boxes(6, torch.float64, 1), rewards, sizes, weights
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(*inputs), step(*inputs))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: ops.box_iou(torch.zeros(2, 3), torch.zeros(2, 4)),
            ValueError,
            r"boxes1 must have shape \[N, 4\]",
        ),
        (lambda: ops.box_iou(torch.zeros(2, 4), torch.zeros(2, 4).double()), TypeError, "boxes1's dtype"),
        (
            lambda: ops.box_iou(torch.zeros(2, 4).half(), torch.zeros(2, 4).half()),
            TypeError,
            "float32 or float64",
        ),
        (lambda: ops.box_iou(torch.zeros(2, 4), torch.zeros(2, 4), "siou"), ValueError, "got 'siou'"),
        (
            lambda: ops.paired_box_iou(torch.zeros(2, 4), torch.zeros(1, 4)),
            ValueError,
            "2 rows like boxes1, got 1",
        ),
        (
            lambda: ops.group_advantages(
                torch.zeros(4, 1).double(), torch.tensor([3]), torch.ones(1).double()
            ),
            ValueError,
            "group_sizes must add up to the 4 rewards, got 3",
        ),
        (
            lambda: ops.group_advantages(
                torch.zeros(4, 1).double(), torch.tensor([5, -1]), torch.ones(1).double()
            ),
            ValueError,
            "group_sizes must be at least 1 and add up to the 4 rewards",
        ),
        (
            lambda: ops.group_advantages(torch.zeros(4, 1), torch.tensor([4]), torch.ones(1).double()),
            TypeError,
            "rewards must be float64",
        ),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize("paired", [False, True])
def test_impl_cuda_of_boxes_by_its_cpu_kernels(paired):
    """What impl="cuda" runs, on the kernels that the same ops have for CPU tensors."""
    a, b = random_boxes(5, torch.float64), random_boxes(5, torch.float64, 1)
    function = mixed_r1_kernels.paired_box_iou if paired else mixed_r1_kernels.box_iou
    assert torch.equal(box_iou_api._run_on_gpu(a, b, "ciou", "cuda", paired), function(a, b, kind="ciou"))


def test_impl_cuda_of_advantages_by_its_cpu_kernels():
    rewards, sizes, weights, mask, *_ = rewards_of("gdpo")
    arrays = sizes.numpy(), weights.numpy(), mask.numpy()
    found = advantages_api._run_on_gpu("cuda", rewards, rewards, *arrays, "gdpo", 1e-6, None)
    expected = mixed_r1_kernels.group_advantages(rewards, sizes, weights=weights, mask=mask, method="gdpo")
    assert torch.equal(found, expected)
