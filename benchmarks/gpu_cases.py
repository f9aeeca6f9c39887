"""Cases of gpu_check.py: every op on a GPU, beside torch and the fused kernels of others.

``CASES[op](device, size, compiled)`` yields them: ``size`` is "full", or "dry" for a CPU; ``compiled`` asks
for torch.compile of the peers alone, whose compilation takes longer than all the rest.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.box_iou import random_boxes
from benchmarks.gpu_oracles import BmasProblem, bmas_problem
from benchmarks.gpu_timing import GpuCase, GpuContender
from mixed_r1_kernels import EmbeddingTable, bmas, box_iou, group_advantages, token_logprobs
from mixed_r1_kernels.token_logprobs.reference import token_logprobs as exact_token_logprobs

Peers = Iterator[tuple[str, Callable[[], Any]]]
BMAS_SIZES = {"full": ((8, 2048), (8, 3584), (64, 2048)), "dry": ((1, 64),)}


def own(op: Callable[[str], Any], tolerance: float, device: str, **asks: bool) -> list[GpuContender]:
    """Both implementations for a GPU; one that is not there fails. On a CPU the one that runs there."""
    impls = ("triton", "cuda") if device == "cuda" else ("native",)
    return [
        GpuContender(f"mixed_r1 {impl}", lambda impl=impl: op(impl), tolerance=tolerance, **asks)
        for impl in impls
    ]


def peers_of(peers: Peers, compiled: bool) -> list[GpuContender]:
    if not compiled:
        return [GpuContender(name, call, is_peer=True) for name, call in peers]
    backend = os.environ.get("MIXED_R1_COMPILE_BACKEND", "inductor")
    return [
        GpuContender(f"torch.compile, {name}", torch.compile(call, backend=backend), is_peer=True)
        for name, call in peers
        if name.startswith("torch")
    ]


def largest_difference(expected: torch.Tensor) -> Callable[[Any], float]:
    """The largest absolute difference from ``expected``, where that is."""

    def error(result: Any) -> float:
        found = torch.as_tensor(result).detach().to(expected.device, expected.dtype)
        return float((found - expected).abs().max())

    return error


def bmas_cases(device: str, size: str, compiled: bool) -> Iterator[GpuCase]:
    for prompts, dim in BMAS_SIZES[size]:
        problem = bmas_problem(prompts, dim)
        moved = EmbeddingTable(problem.rows).to(device)

        def run(impl: str, problem: BmasProblem = problem, moved: EmbeddingTable = moved) -> np.ndarray:
            scores = bmas(
                problem.completions, problem.references, moved, reference_of=problem.reference_of, impl=impl
            )
            return np.stack(scores[:2])

        # What tensor cores cut off and sums round, as in tests/ops/device_bmas.py.
        tolerance = max(5e-7, 2.0**-23 * (4 + (dim / 64) ** 0.5))
        ours = [] if compiled else own(run, tolerance, device, asks_host=True)
        products, rows = problem.distinct()
        yield GpuCase(
            name=f"bmas, {prompts} x 16, d={dim}, bfloat16 table, lists in, arrays out",
            contenders=[*ours, *peers_of(bmas_peers(problem, moved, device), compiled)],
            error=largest_difference(torch.from_numpy(problem.expected)),
            least_bytes=2.0 * dim * rows,
            least_flops=2.0 * dim * products,
            formula="2 d sum_g rows_g columns_g operations; 2 d bytes a row of the table, distinct ids",
            parameters={"prompts": prompts, "completions": 16 * prompts, "dim": dim},
        )


def bmas_peers(problem: BmasProblem, table: EmbeddingTable, device: str) -> Peers:
    """Padded pairs of rows normalised beforehand, from ids on the GPU to precision and recall [2, N]."""
    unit = torch.nn.functional.normalize(table.tensors()[0].float(), dim=1).bfloat16()
    a, a_known, a_sizes = _padded(problem.completions, device)
    b, b_known, b_sizes = _padded([problem.references[prompt] for prompt in problem.reference_of], device)

    def torch_padded() -> torch.Tensor:
        parts = []
        for x, x_known, y, y_known in zip(*(v.split(16) for v in (a, a_known, b, b_known)), strict=True):
            cosines = torch.bmm(unit[x], unit[y].transpose(1, 2)).float()
            over_y = cosines.masked_fill(~y_known[:, None], -2).amax(2) * x_known
            over_x = cosines.masked_fill(~x_known[:, :, None], -2).amax(1) * y_known
            parts.append(torch.stack([over_y.sum(1), over_x.sum(1)]))
        return torch.cat(parts, 1) / torch.stack([a_sizes, b_sizes])

    yield "torch, padded, bf16", torch_padded
    with contextlib.suppress(ImportError):
        from late_interaction_kernels import maxsim_pairs

        def late_interaction() -> torch.Tensor:
            sums = (
                maxsim_pairs(unit[a], unit[b], a_known, b_known),
                maxsim_pairs(unit[b], unit[a], b_known, a_known),
            )
            return torch.stack(sums) / torch.stack([a_sizes, b_sizes])

        yield "late-interaction-kernels, both ways", late_interaction
    with contextlib.suppress(ImportError):
        from flash_maxsim import flash_maxsim_varlen, pack_pairs

        def flash() -> torch.Tensor:
            x, y = (
                [unit[ids[known]] for ids, known in zip(*side, strict=True)]
                for side in ((a, a_known), (b, b_known))
            )
            sums = [flash_maxsim_varlen(*pack_pairs(x, y)), flash_maxsim_varlen(*pack_pairs(y, x))]
            return torch.stack(sums) / torch.stack([a_sizes, b_sizes])

        yield "flash-maxsim, both ways", flash


def _padded(sequences: list[list[int]], device: str) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rows = [torch.tensor(row) for row in sequences]
    ids = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True).to(device)
    sizes = torch.tensor([len(row) for row in sequences], device=device)
    return ids, torch.arange(ids.shape[1], device=device) < sizes[:, None], sizes


def box_iou_cases(device: str, size: str, compiled: bool) -> Iterator[GpuCase]:
    for count in (1000, 20000) if size == "full" else (50,):
        a, b = random_boxes(count, np.float32, 0), random_boxes(count, np.float32, 1)
        x, y = torch.from_numpy(a).to(device), torch.from_numpy(b).to(device)

        def in_torch(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            overlap = torch.minimum(x[:, None, 2:], y[:, 2:]) - torch.maximum(x[:, None, :2], y[:, :2])
            inter = overlap.clamp(min=0).prod(2)
            areas = (x[:, 2:] - x[:, :2]).prod(1)[:, None] + (y[:, 2:] - y[:, :2]).prod(1)
            return inter / (areas - inter)

        def run(impl: str, x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            return box_iou(x, y, impl=impl)

        expected = torch.from_numpy(box_iou(a, b, impl="native")).to(device)
        ours = [] if compiled else own(run, 1e-6, device)
        yield GpuCase(
            name=f"box_iou, {count} x {count}, float32",
            contenders=[*ours, *peers_of(iter([("torch", in_torch)]), compiled)],
            error=largest_difference(expected),
            least_bytes=4.0 * count * count + 32.0 * count,
            least_flops=0.0,
            formula="4 bytes a pair written, 16 a box read",
            parameters={"boxes": count},
        )


def group_advantages_cases(device: str, size: str, compiled: bool) -> Iterator[GpuCase]:
    for count in (16384, 1 << 20) if size == "full" else (256,):
        rewards = torch.from_numpy(np.random.default_rng(0).random(count))
        on_device = rewards.to(device)
        expected = group_advantages(rewards, 16, impl="native").to(device)

        def view(rewards: torch.Tensor = on_device) -> torch.Tensor:
            groups = rewards.view(-1, 16)
            return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-6)).view(-1)

        def run(impl: str, rewards: torch.Tensor = on_device) -> torch.Tensor:
            return group_advantages(rewards, 16, impl=impl)

        ours = [] if compiled else own(run, 1e-9, device, asks_host=True)
        yield GpuCase(
            name=f"group_advantages, {count} rewards in groups of 16, float64",
            contenders=[*ours, *peers_of(iter([("torch view", view)]), compiled)],
            error=largest_difference(expected),
            least_bytes=16.0 * count,
            least_flops=0.0,
            formula="8 bytes read and 8 written for each reward",
            parameters={"rewards": count},
        )


def token_logprobs_cases(device: str, size: str, compiled: bool) -> Iterator[GpuCase]:
    sizes = ((8192, 2048, 151936), (16384, 3584, 151936)) if size == "full" else ((8, 16, 200),)
    for T, d, V in sizes:
        generator = torch.Generator(device).manual_seed(0)
        half = {"device": device, "dtype": torch.bfloat16, "generator": generator}
        hidden, weight = torch.randn(T, d, **half), torch.randn(V, d, **half) / d**0.5
        targets = torch.randint(V, (T,), device=device, generator=generator)
        parts = zip(hidden.split(1024), targets.split(1024), strict=True)
        wide = weight.double()
        exact = torch.cat([exact_token_logprobs(h.double(), wide, t, (), 1.0)[0] for h, t in parts])
        del wide
        for backward in (False, True):
            yield _token_logprobs_case(
                hidden.detach().requires_grad_(backward), weight, targets, exact, device, compiled
            )


def _token_logprobs_case(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    targets: torch.Tensor,
    exact: torch.Tensor,
    device: str,
    compiled: bool,
) -> GpuCase:
    (T, d), V, backward = hidden.shape, len(weight), hidden.requires_grad

    def full() -> torch.Tensor:
        logits = (hidden @ weight.T).float()
        return torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]

    def step(logprobs: Callable[[], torch.Tensor]) -> torch.Tensor:
        values = logprobs()
        if backward:
            hidden.grad = None
            values.sum().backward()
        return values

    forward = peers_of(iter([("torch, full logits", full)]), compiled)
    peers = [
        GpuContender(one.name, lambda one=one: step(one.run), is_peer=True)  # type: ignore[misc]
        for one in forward
    ]
    impls = ("triton", "chunked") if device == "cuda" else ("chunked",)
    ours = [
        GpuContender(
            f"mixed_r1 {impl}",
            lambda impl=impl: step(lambda: token_logprobs(hidden, weight, targets, impl=impl)),  # type: ignore[misc]
            # bfloat16 products are exact in float32; sums of d of them, and of V exponentials, are not.
            tolerance=1e-4,
        )
        for impl in impls
    ]
    what = "forward and backward" if backward else "forward"
    return GpuCase(
        name=f"token_logprobs, T={T}, d={d}, V={V}, bfloat16, frozen weight, {what}",
        contenders=[*([] if compiled else ours), *peers],
        error=largest_difference(exact),
        least_bytes=2.0 * d * (T + V),
        least_flops=(4.0 if backward else 2.0) * T * d * V,
        formula="2 T d V operations a product, two with the backward",
        parameters={"T": T, "d": d, "V": V, "backward": backward},
    )


CASES: dict[str, Callable[[str, str, bool], Iterator[GpuCase]]] = {
    "bmas": bmas_cases,
    "box_iou": box_iou_cases,
    "group_advantages": group_advantages_cases,
    "token_logprobs": token_logprobs_cases,
}
