"""Memory of the Triton kernels, in the interpreter only: the guard of interpreter_red_zones.py sees what it
should, and offsets of 2**33 elements are right, in virtual memory of which only the touched pages exist."""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

from triton.runtime import interpreter  # noqa: E402

from mixed_r1_kernels import (  # noqa: E402
    EmbeddingTable,
    bmas,
    box_iou,
    group_advantages,
    similarity_matrix,
    token_logprobs,
)
from mixed_r1_kernels.bmas import triton_kernel as bmas_kernels  # noqa: E402
from mixed_r1_kernels.box_iou import triton_kernel as box_iou_kernels  # noqa: E402
from mixed_r1_kernels.group_advantages import triton_kernel as advantages_kernels  # noqa: E402
from mixed_r1_kernels.token_logprobs import triton_kernel as logprobs_kernels  # noqa: E402

pytestmark = pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") != "1", reason="needs the interpreter")

ELEMENTS = 2**33
NORESERVE = getattr(mmap, "MAP_NORESERVE", 0x4000)


def virtual(shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Zeros; a page takes memory only once it is written."""
    count = int(np.prod(shape, dtype=np.int64))
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | NORESERVE
    try:
        memory = mmap.mmap(-1, count * dtype.itemsize, flags)
    except OSError as error:
        pytest.skip(f"no virtual memory of that size: {error}")
    return torch.frombuffer(memory, dtype=dtype, count=count).view(shape)


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator:
    """launch(kernel, grid, index, ...) runs one program of a grid."""
    builder = interpreter.interpreter_builder
    set_dim, set_index = builder.set_grid_dim, builder.set_grid_idx

    def run(kernel, grid: tuple[int, ...], index: tuple[int, ...], *arguments, **keywords) -> None:
        dim, at = ((*given, *fill)[:3] for given, fill in ((grid, (1, 1, 1)), (index, (0, 0, 0))))
        monkeypatch.setattr(builder, "set_grid_dim", lambda *_: set_dim(*dim))
        monkeypatch.setattr(builder, "set_grid_idx", lambda *_: set_index(*at))
        kernel[(1,)](*arguments, **keywords)

    return run


@triton.jit
def copy_kernel(source_ptr, target_ptr, offset, count, BLOCK: tl.constexpr):
    offs = tl.arange(0, BLOCK)
    values = tl.load(source_ptr + offset + offs, mask=offs < count)
    tl.store(target_ptr + offs, values, mask=offs < count)


@triton.jit
def count_kernel(target_ptr):
    tl.atomic_add(target_ptr, 1)


@pytest.mark.parametrize(
    ("source", "offset", "count", "message"),
    [
        (slice(8, 16), 0, 8, None),
        (slice(8, 16), 1, 8, "reads 4 bytes"),
        (slice(8, 16), -1, 8, "reads 4 bytes"),
        (slice(8, 12), 0, 5, "reads 4 bytes"),
        (slice(0, 32), 0, 9, "writes 4 bytes"),
    ],
)
def test_the_guard_sees_one_element_too_many(source: slice, offset: int, count: int, message) -> None:
    """The zones are views with memory of the same storage on both sides."""
    memory, target = torch.arange(32, dtype=torch.float32), torch.zeros(32)[16:24]
    if message is None:
        copy_kernel[(1,)](memory[source], target, offset, count, BLOCK=16)
        assert torch.equal(target, memory[source])
    else:
        with pytest.raises(interpreter.InterpreterError, match=message):
            copy_kernel[(1,)](memory[source], target, offset, count, BLOCK=16)


def test_the_guard_sees_an_atomic() -> None:
    with pytest.raises(interpreter.InterpreterError, match="atomic"):
        count_kernel[(1,)](torch.zeros(1, dtype=torch.int32))


def test_bmas_of_a_table_of_2_33_elements(launch) -> None:
    V, d = ELEMENTS // 2**14, 2**14
    rows, norms = virtual((V, d), torch.bfloat16), virtual((V,), torch.float32)
    table = EmbeddingTable(torch.randn(6, d, generator=torch.Generator().manual_seed(0)).bfloat16())
    small_rows, small_norms = table.tensors()
    rows[:3], rows[-3:], norms[:3], norms[-3:] = (
        *(small_rows[:3], small_rows[3:]),
        *(small_norms[:3], small_norms[3:]),
    )
    ids = (
        torch.tensor([V - 1, 0, V - 3], dtype=torch.int32),
        torch.tensor([V - 2, 2, V - 1], dtype=torch.int32),
    )
    ends, zero = torch.tensor([0, 3], dtype=torch.int32), torch.zeros(1, dtype=torch.int32)
    cosines, row_max, begins = torch.zeros(3, 3), torch.zeros(3), torch.zeros(1, dtype=torch.int64)
    arguments = rows, norms, ends, ids[0], ends, ids[1], begins, zero, zero, cosines, row_max, d, 1.0
    keywords = {"UPCAST": True} | bmas_kernels.COSINES_ALIGNED
    launch(bmas_kernels.cosines_kernel, (1,), (0,), *arguments, **keywords)
    expected = similarity_matrix([5, 0, 3], [4, 2, 5], table).cosines
    np.testing.assert_allclose(cosines, expected, rtol=0, atol=5e-7)


def test_bmas_of_a_group_of_2_33_cosines(launch) -> None:
    """The last tile of rows, then the completion that has its rows."""
    num_rows, num_columns, d, V = ELEMENTS // 2**10, 2**10, 16, 2000
    table = EmbeddingTable(torch.randn(V, d, generator=torch.Generator().manual_seed(0)))
    rows, norms = table.tensors()
    as_ids = {"dtype": torch.int32}
    row_ids, column_ids = torch.arange(num_rows, **as_ids) % V, torch.arange(num_columns, **as_ids)
    plan = torch.tensor([0, num_rows], **as_ids), row_ids, torch.tensor([0, num_columns], **as_ids)
    first = num_rows - bmas_kernels.ROW_BLOCK
    cosines, row_max = virtual((num_rows, num_columns), torch.float32), virtual((num_rows,), torch.float32)
    zero, begins = torch.zeros(1, **as_ids), torch.zeros(1, dtype=torch.int64)
    tile = zero, torch.tensor([first], **as_ids)
    keywords = {"UPCAST": True} | bmas_kernels.COSINES_OTHER
    kernel = bmas_kernels.cosines_kernel
    launch(
        kernel,
        (1,),
        (0,),
        rows,
        norms,
        *plan,
        column_ids,
        begins,
        *tile,
        cosines,
        row_max,
        d,
        1.0,
        **keywords,
    )
    completion, reference = row_ids[first:], column_ids
    expected = bmas([completion], [reference], table, impl="native")
    np.testing.assert_allclose(row_max[first:].double().mean(), expected.precision[0], atol=1e-6)

    counts, precision, recall = (
        torch.ones(num_columns, **as_ids),
        torch.zeros(1).double(),
        torch.zeros(1).double(),
    )
    distinct = (
        torch.tensor([0, 64], **as_ids),
        torch.arange(first, num_rows, **as_ids),
        torch.ones(64, **as_ids),
    )
    arguments = cosines, row_max, plan[0], plan[2], counts, begins, zero, zero, *distinct, precision, recall
    launch(bmas_kernels.averages_kernel, (1,), (0,), *arguments, **bmas_kernels.AVERAGES)
    np.testing.assert_allclose([precision[0], recall[0]], np.concatenate(expected[:2]), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("program", "rows"), [(0, [0, 131070]), (65534, [131068])])
def test_box_iou_of_2_33_pairs(launch, program: int, rows: list[int]) -> None:
    """The last block of columns; the first program of the rows also has those beyond 65,535 blocks."""
    N, M = 2**17, ELEMENTS // 2**17
    corners = torch.rand(N, 4, generator=torch.Generator().manual_seed(0))
    boxes1, boxes2, out = corners, corners[:M].contiguous(), virtual((N, M), torch.float32)
    grid, index = (M // 128, 65535), (M // 128 - 1, program)
    arguments = boxes1, boxes2, boxes1, boxes2, out, N, M
    launch(box_iou_kernels.pairs_kernel, grid, index, *arguments, KIND="giou", **box_iou_kernels.PAIRS)
    for row in rows:
        expected = box_iou(boxes1[row : row + 2], boxes2[-128:], kind="giou", impl="native")
        torch.testing.assert_close(out[row : row + 2, -128:], expected, atol=1e-6, rtol=0)


def test_group_advantages_of_2_33_rewards(launch) -> None:
    N, K = ELEMENTS // 2, 2
    values, out = virtual((N, K), torch.float64), virtual((N,), torch.float64)
    values[-5:] = torch.rand(5, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    begins, weights = torch.tensor([0, N - 5, N]), torch.ones(2, dtype=torch.float64)
    constants = torch.tensor([1e-6, 2.0**-21, 1e-140], dtype=torch.float64)
    arguments = values, begins, weights, out, out, constants, K
    launch(
        advantages_kernels.advantages_kernel,
        (2,),
        (1,),
        *arguments,
        METHOD="group",
        **advantages_kernels.GROUP,
    )
    expected = sum(group_advantages(values[-5:, k].clone(), 5, impl="native") for k in range(K))
    torch.testing.assert_close(out[-5:], expected, atol=1e-12, rtol=0)


def test_token_logprobs_of_2_33_weights_and_gradients(launch) -> None:
    """The last block of the vocabulary against the last block of tokens, forward and backward."""
    T, V, d = 2**20, 2**20, ELEMENTS // 2**20
    hidden, weight = virtual((T, d), torch.bfloat16), virtual((V, d), torch.bfloat16)
    generator = torch.Generator().manual_seed(0)
    hidden[-128:] = torch.randn(128, d, generator=generator).bfloat16() / 64
    weight[-128:] = torch.randn(128, d, generator=generator).bfloat16()
    targets = torch.full((T,), V - 1)
    shape = T, V, d
    flags = {"HAS_BANNED": False, "UPCAST": True} | logprobs_kernels.HALF
    partial = virtual((2, 4, T), torch.float32)
    arguments = hidden, weight, targets, targets, partial, *shape, V - 128, 1.0
    launch(
        logprobs_kernels.forward_kernel,
        (T // 128, 2),
        (T // 128 - 1, 1),
        *arguments,
        WANT_ENTROPY=False,
        **flags,
    )
    maximum, total, target, _ = partial[1, :, -128:]
    found = target - maximum - total.log()
    last = hidden[-128:], weight[-128:], torch.full((128,), 127)
    torch.testing.assert_close(found, token_logprobs(*last, impl="chunked"), atol=1e-5, rtol=0)

    normalisers, grad = virtual((T,), torch.float32), virtual((T,), torch.float32)
    normalisers[-128:], grad[-128:] = maximum + total.log(), 1.0
    stride = ELEMENTS // T
    out = virtual((T, stride), torch.bfloat16)
    arguments = hidden, weight, targets, targets, normalisers, grad, out, V - stride, *shape, stride, 1.0
    index = T // 128 - 1, stride // 128 - 1
    launch(logprobs_kernels.backward_kernel, (T // 128, stride // 128), index, *arguments, **flags)
    logits = last[0].float() @ last[1].float().T
    expected = torch.eye(128)[127] - torch.softmax(logits, 1)
    torch.testing.assert_close(out[-128:, -128:].float(), expected, atol=2**-8, rtol=2**-7)
