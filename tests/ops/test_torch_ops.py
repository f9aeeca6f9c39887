"""torch.ops.mixed_r1: values against the native ops, opcheck for every op, dtype and layout, torch.compile,
shapes and devices without values, bad arguments. The launchers for CUDA are tested in test_torch_cuda.py."""

from __future__ import annotations

import importlib
import sys

import numpy as np
import pytest
import torch
from torch._subclasses import FakeTensorMode

import mixed_r1_kernels
from mixed_r1_kernels import EmbeddingTable, ImplUnavailable
from mixed_r1_kernels.bmas import api as bmas_api
from mixed_r1_kernels.box_iou import api as box_iou_api
from mixed_r1_kernels.group_advantages import METHODS
from mixed_r1_kernels.group_advantages import api as advantages_api

try:
    import mixed_r1_kernels.ops  # noqa: F401 (registers the ops)
except ImplUnavailable as error:
    pytest.skip(str(error), allow_module_level=True)

ops = torch.ops.mixed_r1
KINDS = ("iou", "giou", "diou", "ciou")
ROW_TYPES = (torch.float32, torch.float16, torch.bfloat16)


def random_boxes(count: int, dtype: torch.dtype, seed: int = 0) -> torch.Tensor:
    corners = torch.from_numpy(np.random.default_rng(seed).random((count, 4)) * 100)
    return torch.cat([corners[:, :2], corners[:, :2] + corners[:, 2:]], dim=1).to(dtype)


def laid_out(tensor: torch.Tensor, layout: str) -> torch.Tensor:
    """The same values in other memory: transposed, every second row, or one element off a boundary."""
    if layout == "transposed":
        return tensor.T.contiguous().T
    if layout == "strided":
        return torch.stack([tensor, tensor], dim=1)[:, 0]
    if layout == "offset":
        return torch.cat([tensor.new_zeros(1), tensor.flatten()])[1:].view(tensor.shape)
    return tensor


LAYOUTS = ("contiguous", "transposed", "strided", "offset")


def rewards_of(method: str, layout: str = "contiguous") -> tuple:
    rng = np.random.default_rng(0)
    rewards = torch.from_numpy(rng.random((9, 2)))
    rewards[2, 0] = torch.nan
    weights, sizes = torch.tensor([0.7, 0.3], dtype=torch.float64), torch.tensor([4, 1, 4])
    scales = laid_out(torch.rand(9, dtype=torch.float64), layout) if method == "task_ema" else None
    mask = laid_out(torch.arange(9) != 5, layout)
    return laid_out(rewards, layout), laid_out(sizes, layout), weights, mask, method, 1e-6, scales


def batch_of(dtype: torch.dtype, layout: str = "contiguous", ids: torch.dtype = torch.int32) -> tuple:
    """The arguments of ops.bmas, and the lists they hold."""
    rng = np.random.default_rng(1)
    rows = torch.from_numpy(rng.standard_normal((40, 33)).astype(np.float32)).to(dtype)
    rows[7] = 0
    lists = [[rng.integers(0, 40, n).tolist() for n in sizes] for sizes in ((9, 0, 30, 5), (12, 1, 0))]
    pairs = torch.tensor([0, 1, 0, 2])
    flat = []
    for side in lists:
        flat.append(laid_out(torch.tensor([token for ids_ in side for token in ids_], dtype=ids), layout))
        flat.append(laid_out(torch.tensor([0, *np.cumsum([len(ids_) for ids_ in side])]), layout))
    norms = EmbeddingTable(rows).tensors()[1]
    return (laid_out(rows, layout), laid_out(norms, layout), *flat, laid_out(pairs, layout), 2), lists, pairs


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_boxes_equal_the_native_op(kind, dtype, layout):
    a, b = random_boxes(7, dtype), random_boxes(5, dtype, 1)
    expected = mixed_r1_kernels.box_iou(a, b, kind=kind)
    x, y = laid_out(a, layout), laid_out(b, layout)
    assert torch.equal(ops.box_iou(x, y, kind), expected)
    assert torch.equal(ops.paired_box_iou(x[:5], y, kind), expected.diagonal())
    assert ops.box_iou(x[:0], y, kind).shape == (0, 5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_matches_equal_the_native_op(dtype, layout):
    pred, target = random_boxes(9, dtype), random_boxes(7, dtype, 1)
    counts = torch.tensor([5, 0, 4]), torch.tensor([3, 2, 2])
    expected = mixed_r1_kernels.match_boxes(pred, target, *counts)
    assert len(expected.pred_index) > 2
    target_of, iou, total = ops.match_boxes(laid_out(pred, layout), laid_out(target, layout), *counts)
    matched = target_of >= 0
    assert torch.equal(matched.nonzero()[:, 0], expected.pred_index)
    assert torch.equal(target_of[matched], expected.target_index)
    assert torch.equal(iou[matched], expected.iou) and not iou[~matched].any()
    assert torch.equal(total, expected.total)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_advantages_equal_the_native_op(method, layout):
    rewards, sizes, weights, mask, *_, scales = rewards_of(method, layout)
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


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("layout", ["contiguous", "strided", "offset"])
@pytest.mark.parametrize("ids", [torch.int32, torch.int64])
def test_bmas_equals_the_native_op(dtype, layout, ids):
    arguments, lists, pairs = batch_of(dtype, layout, ids)
    expected = mixed_r1_kernels.bmas(*lists, EmbeddingTable(arguments[0]), reference_of=pairs, impl="native")
    for found, values in zip(ops.bmas(*arguments), expected[:2], strict=True):
        np.testing.assert_array_equal(found.numpy(), values)
    empty = torch.zeros(0, dtype=ids)
    start = torch.zeros(1, dtype=torch.int64)
    nothing = ops.bmas(*arguments[:2], empty, start, empty, start, torch.zeros(0, dtype=torch.int64))
    assert [part.shape for part in nothing] == [(0,), (0,)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck_of_boxes(dtype, layout):
    a, b = (laid_out(random_boxes(6, dtype, seed), layout) for seed in (0, 1))
    for kind in KINDS:
        torch.library.opcheck(ops.box_iou.default, (a, b, kind))
        torch.library.opcheck(ops.paired_box_iou.default, (a, b, kind))
    counts = torch.tensor([4, 2]), torch.tensor([1, 5])
    torch.library.opcheck(ops.match_boxes.default, (a, b, *counts))


@pytest.mark.parametrize("layout", ["contiguous", "strided"])
def test_opcheck_of_advantages(layout):
    for method in METHODS:
        torch.library.opcheck(ops.group_advantages.default, rewards_of(method, layout))


@pytest.mark.parametrize("dtype", ROW_TYPES)
@pytest.mark.parametrize("layout", ["contiguous", "strided", "offset"])
def test_opcheck_of_bmas(dtype, layout):
    torch.library.opcheck(ops.bmas.default, batch_of(dtype, layout)[0])


def test_no_result_claims_a_gradient():
    a = random_boxes(4, torch.float64).requires_grad_()
    rewards, sizes, weights, *_ = rewards_of("group")
    arguments = batch_of(torch.float32)[0]
    results = [
        ops.box_iou(a, a),
        *ops.match_boxes(a, a, torch.tensor([4]), torch.tensor([4])),
        ops.group_advantages(rewards.requires_grad_(), sizes, weights),
        *ops.bmas(arguments[0].requires_grad_(), *arguments[1:]),
    ]
    assert not any(result.requires_grad for result in results)


def step(a, b, rewards, sizes, weights, counts, *batch):
    advantages = ops.group_advantages(rewards, sizes, weights)
    target_of, iou, total = ops.match_boxes(a, b, counts, counts)
    precision, recall = ops.bmas(*batch)
    overlaps = ops.box_iou(a, b * 2, "giou").sum() + ops.paired_box_iou(a, b).sum()
    return overlaps + iou.sum() + total.sum() + target_of.sum() + advantages.abs().sum(), precision + recall


def inputs_of_step() -> tuple:
    rewards, sizes, weights, *_ = rewards_of("group")
    boxes = random_boxes(6, torch.float64), random_boxes(6, torch.float64, 1)
    return *boxes, rewards, sizes, weights, torch.tensor([2, 4]), *batch_of(torch.bfloat16)[0]


def test_compiles_without_a_graph_break():
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager", dynamic=True)
    torch.testing.assert_close(compiled(*inputs_of_step()), step(*inputs_of_step()))


@pytest.mark.slow
def test_compiles_with_the_default_backend():
    compiled = torch.compile(step, fullgraph=True)
    torch.testing.assert_close(compiled(*inputs_of_step()), step(*inputs_of_step()))


def test_fake_kernels_of_a_gpu():
    """What a plan is made from stays on the CPU; results are where the table or the rewards are."""
    plan = batch_of(torch.bfloat16)[0][2:]
    with FakeTensorMode(allow_non_fake_inputs=True):
        a, b = torch.empty(6, 4, device="cuda"), torch.empty(2, 4, device="cuda")
        rewards = torch.empty(9, 2, dtype=torch.float64, device="cuda")
        weights = torch.empty(2, dtype=torch.float64, device="cuda")
        rows, norms = torch.empty(40, 33, device="cuda").bfloat16(), torch.empty(40, device="cuda")
        results = [
            (ops.box_iou(a, b), (6, 2), torch.float32),
            (ops.paired_box_iou(a, a), (6,), torch.float32),
            (ops.group_advantages(rewards, torch.tensor([4, 5]), weights), (9,), torch.float64),
            *((part, (4,), torch.float64) for part in ops.bmas(rows, norms, *plan)),
        ]
    for result, shape, dtype in results:
        assert (result.device.type, result.shape, result.dtype) == ("cuda", shape, dtype)


def boxes_error(a, b, *rest):
    return lambda: ops.box_iou(a, b, *rest)


def advantages_error(rewards, sizes, weights=None, *rest):
    weights = torch.ones(rewards.shape[-1]).double() if weights is None else weights
    return lambda: ops.group_advantages(rewards, torch.tensor(sizes), weights, *rest)


def bmas_error(**changes):
    names = [argument.name for argument in ops.bmas.default._schema.arguments]
    values = dict(zip(names, batch_of(torch.float32)[0], strict=True))
    return lambda: ops.bmas(**(values | changes))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (boxes_error(torch.zeros(2, 3), torch.zeros(2, 4)), RuntimeError, r"boxes1 must have shape \[N, 4\]"),
        (boxes_error(torch.zeros(2, 4), torch.zeros(2, 4).double()), RuntimeError, "boxes1's dtype"),
        (boxes_error(torch.zeros(2, 4).half(), torch.zeros(2, 4).half()), RuntimeError, "float32 or float64"),
        (boxes_error(torch.zeros(2, 4), torch.zeros(2, 4), "siou"), RuntimeError, "got 'siou'"),
        (
            lambda: ops.paired_box_iou(torch.zeros(2, 4), torch.zeros(1, 4)),
            RuntimeError,
            "2 rows like boxes1, got 1",
        ),
        (
            lambda: ops.match_boxes(
                torch.zeros(2, 4), torch.zeros(1, 4), torch.tensor([2]), torch.tensor([2])
            ),
            RuntimeError,
            "target_counts must be at least 0 and add up to 1, got 2 with 1 left",
        ),
        (
            lambda: ops.match_boxes(
                torch.zeros(1, 4), torch.zeros(1, 4), torch.tensor([1, 0]), torch.tensor([1])
            ),
            RuntimeError,
            "target_counts must have 2 entries, got 1",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [3]),
            RuntimeError,
            "group_sizes must add up to 4, got 3",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [5, -1]),
            RuntimeError,
            "group_sizes must be at least 1 and add up to 4, got 5",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [2**63 - 1, 2**63 - 1, 6]),
            RuntimeError,
            "group_sizes must be at least 1 and add up to 4",
        ),
        (advantages_error(torch.zeros(4, 1), [4]), RuntimeError, "rewards must be float64"),
        (advantages_error(torch.zeros(4).double(), [4]), RuntimeError, r"rewards must have shape \[N, K\]"),
        (
            advantages_error(torch.zeros(4, 1).double(), [4], torch.ones(2).double()),
            RuntimeError,
            r"weights must have shape \[1\], got \[2\]",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [4], torch.tensor([float("inf")]).double()),
            RuntimeError,
            r"weights must be numbers of at most 1e\+100, got inf",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [4], torch.tensor([float("nan")]).double()),
            RuntimeError,
            r"weights must be numbers of at most 1e\+100, got nan",
        ),
        (
            lambda: torch.ops.mixed_r1.match_boxes(
                torch.zeros(1, 4), torch.zeros(1, 3), torch.tensor([1]), torch.tensor([1])
            ),
            RuntimeError,
            r"target must have shape \[N, 4\], got \[1, 3\]",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [4], None, torch.ones(4)),
            RuntimeError,
            "mask must be Bool, got Float",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [4], None, None, "task_ema"),
            RuntimeError,
            "scales must be given",
        ),
        (
            advantages_error(torch.zeros(4, 1).double(), [4], None, None, "group", -1.0),
            RuntimeError,
            "eps must be finite and at least 0, got -1",
        ),
        (bmas_error(rows=torch.zeros(4)), RuntimeError, r"rows must have shape \[V, d\]"),
        (
            bmas_error(rows=torch.zeros(40, 33).double()),
            RuntimeError,
            "rows must be float32, float16 or bfloat16",
        ),
        (
            bmas_error(inverse_norms=torch.zeros(39)),
            RuntimeError,
            r"inverse_norms must have shape \[40\], got \[39\]",
        ),
        (bmas_error(inverse_norms=torch.zeros(40).double()), RuntimeError, "inverse_norms must be Float"),
        (
            bmas_error(completion_ids=torch.full((44,), 40)),
            RuntimeError,
            r"completion_ids must be in \[0, V\) with V = 40, got 40",
        ),
        (bmas_error(completion_ids=torch.full((44,), 2**32)), RuntimeError, "V = 40, got 4294967296"),
        (
            bmas_error(reference_ids=torch.full((13,), -1).int()),
            RuntimeError,
            "reference_ids must be in .* got -1",
        ),
        (
            bmas_error(reference_ids=torch.zeros(13)),
            RuntimeError,
            "reference_ids must be int32 or int64, got Float",
        ),
        (
            bmas_error(completion_offsets=torch.tensor([0, 45, 9, 39, 44])),
            RuntimeError,
            "completion_offsets must start at 0, not decrease, and end at the number of ids, 44",
        ),
        (
            bmas_error(reference_offsets=torch.zeros(0).long()),
            RuntimeError,
            "reference_offsets must start at 0",
        ),
        (bmas_error(reference_of=torch.tensor([0, 1, 3, 0])), RuntimeError, r"in \[0, R\) with R = 3, got 3"),
        (
            bmas_error(reference_of=torch.tensor([0])),
            RuntimeError,
            r"reference_of must have shape \[4\], got \[1\]",
        ),
        (bmas_error(num_threads=0), RuntimeError, "num_threads must be a positive integer, got 0"),
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


@pytest.mark.parametrize("dtype", ROW_TYPES)
def test_impl_cuda_of_bmas_by_its_cpu_kernels(dtype):
    arguments, lists, pairs = batch_of(dtype)
    table = EmbeddingTable(arguments[0])
    sides = [[part.numpy() for part in arguments[i : i + 2]] for i in (2, 4)]
    found = bmas_api._torch_op(*map(tuple, sides), pairs.numpy(), table, 2)
    expected = mixed_r1_kernels.bmas(*lists, table, reference_of=pairs, impl="native")
    np.testing.assert_array_equal(np.stack(found), np.stack(expected[:2]))


def test_an_older_torch_is_named(monkeypatch):
    monkeypatch.delitem(sys.modules, "mixed_r1_kernels.ops")
    monkeypatch.setattr(torch, "__version__", "2.9.1")
    with pytest.raises(ImplUnavailable, match=r"torch must be 2\.10 or newer .*, got 2\.9\.1"):
        importlib.import_module("mixed_r1_kernels.ops")
