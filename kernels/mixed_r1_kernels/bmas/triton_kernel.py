"""BMAS on a GPU: one grouped product over distinct ids, then one program per completion. No atomics.

The plan (distinct ids, groups, counts) is made on the CPU by the native module and goes to the device in one
copy. Sums of a completion run over its own tokens in their order of first appearance, so its scores do not
depend on what else is in the batch.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
import triton
import triton.language as tl

from mixed_r1_kernels._impl import native
from mixed_r1_kernels.embedding_table import EmbeddingTable

__all__ = ["bmas"]

ROW_BLOCK = 64
# Cosines held at once (1 GiB), beyond those of one group.
WAVE_COSINES = 1 << 28
# Rows of 16-bit floats in whole vectors; rows of float32, or of any other length.
COSINES_ALIGNED = {"BLOCK_M": ROW_BLOCK, "BLOCK_N": 64, "BLOCK_K": 64, "num_warps": 4, "num_stages": 4}
COSINES_OTHER = {"BLOCK_M": ROW_BLOCK, "BLOCK_N": 64, "BLOCK_K": 32, "num_warps": 8, "num_stages": 3}
AVERAGES = {"BLOCK_R": 64, "BLOCK_N": 128, "num_warps": 4}
# Parts of one buffer, at any offset: their alignment must not make variants of a kernel.
_PARTS = [
    *("row_begin_ptr", "row_ids_ptr", "column_begin_ptr", "column_ids_ptr", "column_counts_ptr"),
    *("tile_group_ptr", "tile_row_ptr", "completion_group_ptr", "completion_index_ptr"),
    *("distinct_begin_ptr", "distinct_rows_ptr", "distinct_counts_ptr", "precision_ptr", "recall_ptr"),
]


@triton.jit(do_not_specialize_on_alignment=_PARTS)
def cosines_kernel(
    table_ptr,
    inverse_norms_ptr,
    row_begin_ptr,
    row_ids_ptr,
    column_begin_ptr,
    column_ids_ptr,
    cosine_begin_ptr,
    tile_group_ptr,
    tile_row_ptr,
    cosines_ptr,
    row_max_ptr,
    dim,
    one,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
    BLOCK_K: tl.constexpr,
    UPCAST: tl.constexpr,
):
    """Cosines and row maxima of one block of a group's rows with all of its columns.

    ``one`` is 1.0, unknown to the compiler: without that factor it would accumulate in the tensor cores,
    which round every addition towards zero (2e-5 at d = 3584). Here they add BLOCK_K products at a time, and
    float32 additions, rounded to nearest, do the rest.
    """
    group = tl.load(tile_group_ptr + tl.program_id(0))
    first_row = tl.load(tile_row_ptr + tl.program_id(0))
    row_begin = tl.load(row_begin_ptr + group)
    row_end = tl.load(row_begin_ptr + group + 1)
    column_begin = tl.load(column_begin_ptr + group)
    column_end = tl.load(column_begin_ptr + group + 1)
    num_columns = column_end - column_begin
    cosines_ptr += tl.load(cosine_begin_ptr + group) + (first_row - row_begin).to(tl.int64) * num_columns
    # Padding repeats the last row and the last column, which changes no maximum and needs no mask.
    offs_m = tl.minimum(tl.arange(0, BLOCK_M), row_end - first_row - 1)
    offs_k = tl.arange(0, BLOCK_K)
    row_ids = tl.load(row_ids_ptr + first_row + offs_m)
    row_inverse = tl.load(inverse_norms_ptr + row_ids)
    row_ptrs = table_ptr + row_ids.to(tl.int64)[:, None] * dim + offs_k[None, :]
    row_max = tl.full([BLOCK_M], -1.0, tl.float32)
    for column in range(0, num_columns, BLOCK_N):
        offs_n = tl.minimum(column + tl.arange(0, BLOCK_N), num_columns - 1)
        column_ids = tl.load(column_ids_ptr + column_begin + offs_n)
        column_ptrs = table_ptr + column_ids.to(tl.int64)[:, None] * dim + offs_k[None, :]
        dots = tl.zeros([BLOCK_M, BLOCK_N], tl.float32)
        for k in range(0, dim, BLOCK_K):
            in_row = offs_k[None, :] < dim - k
            a = tl.load(row_ptrs + k, mask=in_row, other=0.0)
            b = tl.load(column_ptrs + k, mask=in_row, other=0.0)
            if UPCAST:
                a = a.to(tl.float32)
                b = b.to(tl.float32)
            dots += one * tl.dot(a, tl.trans(b), input_precision="ieee")
        cosines = dots * row_inverse[:, None] * tl.load(inverse_norms_ptr + column_ids)[None, :]
        cosines = tl.minimum(tl.maximum(cosines, -1.0), 1.0)
        equal = (row_ids[:, None] == column_ids[None, :]) & (row_inverse[:, None] > 0.0)
        cosines = tl.where(equal, 1.0, cosines)
        tl.store(cosines_ptr + (offs_m[:, None] * num_columns + offs_n[None, :]), cosines)
        row_max = tl.maximum(row_max, tl.max(cosines, axis=1))
    tl.store(row_max_ptr + first_row + offs_m, row_max)


@triton.jit(do_not_specialize_on_alignment=_PARTS)
def averages_kernel(
    cosines_ptr,
    row_max_ptr,
    row_begin_ptr,
    column_begin_ptr,
    column_counts_ptr,
    cosine_begin_ptr,
    completion_group_ptr,
    completion_index_ptr,
    distinct_begin_ptr,
    distinct_rows_ptr,
    distinct_counts_ptr,
    precision_ptr,
    recall_ptr,
    BLOCK_R: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Mean row maximum over the tokens of one completion, mean column maximum over those of its reference."""
    completion = tl.program_id(0)
    group = tl.load(completion_group_ptr + completion)
    index = tl.load(completion_index_ptr + completion)
    row_begin = tl.load(row_begin_ptr + group)
    column_begin = tl.load(column_begin_ptr + group)
    column_end = tl.load(column_begin_ptr + group + 1)
    num_columns = (column_end - column_begin).to(tl.int64)
    begin = tl.load(distinct_begin_ptr + completion)
    end = tl.load(distinct_begin_ptr + completion + 1)
    cosines_ptr += tl.load(cosine_begin_ptr + group)

    total = tl.zeros([BLOCK_R], tl.float64)
    tokens = tl.zeros([BLOCK_R], tl.int32)
    for first in range(begin, end, BLOCK_R):
        offs_r = first + tl.arange(0, BLOCK_R)
        counts = tl.load(distinct_counts_ptr + offs_r, mask=offs_r < end, other=0)
        rows = tl.load(distinct_rows_ptr + offs_r, mask=offs_r < end, other=row_begin)
        total += counts.to(tl.float64) * tl.load(row_max_ptr + rows).to(tl.float64)
        tokens += counts
    tl.store(precision_ptr + index, tl.sum(total) / tl.sum(tokens).to(tl.float64))

    total = tl.zeros([BLOCK_N], tl.float64)
    tokens = tl.zeros([BLOCK_N], tl.int32)
    for column in range(column_begin, column_end, BLOCK_N):
        offs_n = column + tl.arange(0, BLOCK_N)
        known = offs_n < column_end
        column_max = tl.full([BLOCK_N], -1.0, tl.float32)
        for first in range(begin, end, BLOCK_R):
            offs_r = first + tl.arange(0, BLOCK_R)
            rows = tl.load(distinct_rows_ptr + offs_r, mask=offs_r < end, other=row_begin)
            cosine_rows = cosines_ptr + (rows - row_begin).to(tl.int64) * num_columns
            here = (offs_r[:, None] < end) & known[None, :]
            cosines = tl.load(cosine_rows[:, None] + (offs_n[None, :] - column_begin), mask=here, other=-1.0)
            column_max = tl.maximum(column_max, tl.max(cosines, axis=0))
        counts = tl.load(column_counts_ptr + offs_n, mask=known, other=0)
        total += counts.to(tl.float64) * column_max.to(tl.float64)
        tokens += counts
    tl.store(recall_ptr + index, tl.sum(total) / tl.sum(tokens).to(tl.float64))


class Plan(NamedTuple):
    """Distinct tokens of a batch, int32, as csrc/core/bmas_device_plan.h describes them."""

    row_begin: Any
    row_ids: Any
    column_begin: Any
    column_ids: Any
    column_counts: Any
    tile_group: Any
    tile_row: Any
    completion_group: Any
    completion_index: Any
    distinct_begin: Any
    distinct_rows: Any
    distinct_counts: Any

    def on(self, device: torch.device) -> Plan:
        """The arrays as tensors on ``device``, brought there by one copy."""
        ends = np.cumsum([array.size for array in self]).tolist()
        packed = torch.empty(ends[-1], dtype=torch.int32, pin_memory=device.type == "cuda")
        np.concatenate(self, out=packed.numpy())
        return Plan(*packed.to(device, non_blocking=True).tensor_split(ends[:-1]))


def bmas(
    completions: tuple[np.ndarray, np.ndarray],
    references: tuple[np.ndarray, np.ndarray],
    reference_of: np.ndarray,
    table: EmbeddingTable,
    num_threads: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall [N] float64 of checked (ids, offsets), computed where ``table`` is."""
    rows, inverse_norms = table.tensors()
    scores = torch.zeros(2, reference_of.size, dtype=torch.float64, device=rows.device)
    planned = native().bmas_plan(len(table), *completions, *references, reference_of, ROW_BLOCK, num_threads)
    host = Plan(*planned)
    guard = torch.cuda.device(rows.device) if rows.is_cuda else contextlib.nullcontext()
    with guard:
        plan = host.on(rows.device)
        for groups in _waves(host):
            _run_wave(groups, host, plan, rows, inverse_norms, scores)
    precision, recall = scores.cpu().numpy()
    return precision, recall


def _areas(host: Plan) -> np.ndarray:
    return np.diff(host.row_begin).astype(np.int64) * np.diff(host.column_begin)


def _waves(host: Plan) -> Iterator[tuple[int, int]]:
    """Ranges of groups with at most WAVE_COSINES cosines, or of one group."""
    begin = total = 0
    areas = _areas(host).tolist()
    for group, area in enumerate(areas):
        if group > begin and total + area > WAVE_COSINES:
            yield begin, group
            begin = group
            total = 0
        total += area
    if areas:
        yield begin, len(areas)


def _run_wave(
    groups: tuple[int, int],
    host: Plan,
    plan: Plan,
    rows: torch.Tensor,
    inverse_norms: torch.Tensor,
    scores: torch.Tensor,
) -> None:
    begin, end = groups
    cosine_begin = np.zeros(end + 1, np.int64)
    np.cumsum(_areas(host)[begin:end], out=cosine_begin[begin + 1 :])
    tiles = slice(*np.searchsorted(host.tile_group, groups))
    members = slice(*np.searchsorted(host.completion_group, groups))
    cosines = torch.empty(int(cosine_begin[-1]), dtype=torch.float32, device=rows.device)
    row_max = torch.empty(host.row_ids.size, dtype=torch.float32, device=rows.device)
    cosine_begin_on_device = torch.from_numpy(cosine_begin).to(rows.device)
    cosines_kernel[(tiles.stop - tiles.start,)](
        rows,
        inverse_norms,
        plan.row_begin,
        plan.row_ids,
        plan.column_begin,
        plan.column_ids,
        cosine_begin_on_device,
        plan.tile_group[tiles],
        plan.tile_row[tiles],
        cosines,
        row_max,
        rows.shape[1],
        1.0,
        UPCAST=not rows.is_cuda,  # the interpreter multiplies bfloat16 as its bits
        **_cosines_launch(rows),
    )
    averages_kernel[(members.stop - members.start,)](
        cosines,
        row_max,
        plan.row_begin,
        plan.column_begin,
        plan.column_counts,
        cosine_begin_on_device,
        plan.completion_group[members],
        plan.completion_index[members],
        plan.distinct_begin[members.start : members.stop + 1],
        plan.distinct_rows,
        plan.distinct_counts,
        *scores,
        **AVERAGES,
    )


def _cosines_launch(rows: torch.Tensor) -> dict[str, int]:
    aligned = rows.shape[1] % 16 == 0 and rows.data_ptr() % 16 == 0
    return COSINES_ALIGNED if rows.element_size() == 2 and aligned else COSINES_OTHER


# For the compile-only tests: each launch as (kernel, run-time types, ":16" where divisible by 16; the rest).
_TYPES = "*{0} *fp32:16 *i32 *i32 *i32 *i32 *i64:16 *i32 *i32 *fp32:16 *fp32:16 {1} fp32"
COMPILE_SIGNATURES = [
    (cosines_kernel, _TYPES.format("bf16:16", "i32:16"), COSINES_ALIGNED | {"UPCAST": False}),
    (cosines_kernel, _TYPES.format("fp16:16", "i32:16"), COSINES_ALIGNED | {"UPCAST": False}),
    (cosines_kernel, _TYPES.format("bf16:16", "i32"), COSINES_OTHER | {"UPCAST": False}),
    (cosines_kernel, _TYPES.format("bf16", "i32:16"), COSINES_OTHER | {"UPCAST": False}),
    (cosines_kernel, _TYPES.format("fp32:16", "i32:16"), COSINES_OTHER | {"UPCAST": False}),
    (cosines_kernel, _TYPES.format("fp32", "i32"), COSINES_OTHER | {"UPCAST": False}),
    (averages_kernel, "*fp32:16 *fp32:16" + " *i32" * 3 + " *i64:16" + " *i32" * 5 + " *fp64" * 2, AVERAGES),
]
