"""Cases of gpu_check.py: every op on a GPU, beside torch, torch.compile and the fused kernels of others."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from benchmarks.box_iou import random_boxes
from benchmarks.harness import Case, Contender
from benchmarks.text import Batch, batch
from mixed_r1_kernels import EmbeddingTable, bmas, box_iou, group_advantages, token_logprobs
from mixed_r1_kernels._impl import missing

DEVICE = "cuda"


def own(op: Callable[[str], Any], tolerance: float, impls: tuple[str, ...] = ("triton",)) -> list[Contender]:
    present = [impl for impl in impls if missing(impl, DEVICE) is None]
    return [
        Contender(f"mixed_r1 {impl}", lambda impl=impl: op(impl), tolerance=tolerance) for impl in present
    ]


def that_run(peers: Iterator[tuple[str, Callable[[], Any]]]) -> list[Contender]:
    """Peers that run on these inputs; what the others raised is printed."""
    found = []
    for name, call in peers:
        try:
            call()
            torch.cuda.synchronize()
        except Exception as error:  # a peer's failure, of any kind, is a finding and not ours
            print(f"  {name} does not run here: {type(error).__name__}: {str(error)[:200]}")
        else:
            found.append(Contender(name, call, is_peer=True))
    return found


def largest_difference(expected: np.ndarray) -> Callable[[Any], float]:
    def error(result: Any) -> float:
        values = result.detach().double().cpu().numpy() if isinstance(result, torch.Tensor) else result
        return float(np.abs(np.asarray(values, np.float64) - expected).max())

    return error


def bmas_cases() -> Iterator[Case]:
    for prompts, dim in ((8, 2048), (8, 3584), (64, 2048)):
        generator = torch.Generator().manual_seed(0)
        rows = torch.randn(32768, dim, generator=generator) * 0.02 + 0.01 * torch.randn(
            dim, generator=generator
        )
        table = EmbeddingTable(rows.bfloat16())
        data = batch(prompts, 16, 554, 150)
        pairs = data.reference_of
        oracle, tolerance = ("reference", 5e-7) if prompts == 8 else ("native", 1e-6)
        expected = bmas(data.completions, data.references, table, reference_of=pairs, impl=oracle)
        moved = table.to(DEVICE)

        def run(impl: str, data: Batch = data, moved: EmbeddingTable = moved) -> np.ndarray:
            scores = bmas(data.completions, data.references, moved, reference_of=data.reference_of, impl=impl)
            return np.stack(scores[:2])

        members = [np.flatnonzero(pairs == prompt) for prompt in range(prompts)]
        distinct = [len(set().union(*(data.completions[i] for i in ids))) for ids in members]
        work = sum(n * len(set(text)) for n, text in zip(distinct, data.references, strict=True))
        yield Case(
            name=f"bmas, {prompts} x 16, d={dim}, bfloat16 table, lists in, arrays out",
            contenders=[*own(run, tolerance, ("triton", "cuda")), *that_run(_bmas_peers(data, moved))],
            error=largest_difference(np.stack(expected[:2])),
            work=2.0 * dim * work,
            unit="GFLOP/s",
            formula="2 d sum_g rows_g columns_g, distinct ids",
            parameters={"prompts": prompts, "completions": 16 * prompts, "dim": dim},
            synchronize=torch.cuda.synchronize,
        )


def _bmas_peers(data: Batch, table: EmbeddingTable) -> Iterator[tuple[str, Callable[[], Any]]]:
    """Padded pairs of rows normalised beforehand, from ids on the GPU to precision and recall [2, N]."""
    unit = torch.nn.functional.normalize(table.rows.float(), dim=1).bfloat16()
    a, a_known, a_sizes = _padded(data.completions)
    b, b_known, b_sizes = _padded([data.references[prompt] for prompt in data.reference_of])

    def torch_padded() -> torch.Tensor:
        parts = []
        for x, x_known, y, y_known in zip(*(v.split(16) for v in (a, a_known, b, b_known)), strict=True):
            cosines = torch.bmm(unit[x], unit[y].transpose(1, 2)).float()
            over_y = cosines.masked_fill(~y_known[:, None], -2).amax(2) * x_known
            over_x = cosines.masked_fill(~x_known[:, :, None], -2).amax(1) * y_known
            parts.append(torch.stack([over_y.sum(1), over_x.sum(1)]))
        return torch.cat(parts, 1) / torch.stack([a_sizes, b_sizes])

    yield "torch, padded, bf16", torch_padded
    yield "torch.compile, padded, bf16", torch.compile(torch_padded)
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


def _padded(sequences: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in sequences], batch_first=True).to(
        DEVICE
    )
    sizes = torch.tensor([len(row) for row in sequences], device=DEVICE)
    return ids, torch.arange(ids.shape[1], device=DEVICE) < sizes[:, None], sizes


def box_iou_cases() -> Iterator[Case]:
    for count1, count2 in ((1000, 1000), (10000, 10000)):
        a, b = random_boxes(count1, np.float32, 0), random_boxes(count2, np.float32, 1)
        x, y = torch.from_numpy(a).to(DEVICE), torch.from_numpy(b).to(DEVICE)

        def in_torch(x: torch.Tensor = x, y: torch.Tensor = y) -> torch.Tensor:
            overlap = torch.minimum(x[:, None, 2:], y[:, 2:]) - torch.maximum(x[:, None, :2], y[:, :2])
            inter = overlap.clamp(min=0).prod(2)
            areas = (x[:, 2:] - x[:, :2]).prod(1)[:, None] + (y[:, 2:] - y[:, :2]).prod(1)
            return inter / (areas - inter)

        peers = iter([("torch", in_torch), ("torch.compile", torch.compile(in_torch))])
        yield Case(
            name=f"box_iou, {count1} x {count2}, float32",
            contenders=[
                *own(lambda impl, x=x, y=y: box_iou(x, y, impl=impl), 1e-6, ("triton", "cuda")),
                *that_run(peers),
            ],
            error=largest_difference(box_iou(a, b, impl="native").astype(np.float64)),
            work=4.0 * count1 * count2,
            unit="GB/s",
            formula="4 bytes a pair written",
            synchronize=torch.cuda.synchronize,
        )


def group_advantages_cases() -> Iterator[Case]:
    rewards = np.random.default_rng(0).random(16384)
    on_gpu = torch.from_numpy(rewards).to(DEVICE)

    def view() -> torch.Tensor:
        groups = on_gpu.view(-1, 16)
        return ((groups - groups.mean(1, keepdim=True)) / (groups.std(1, keepdim=True) + 1e-6)).view(-1)

    yield Case(
        name="group_advantages, 16384 rewards in groups of 16, float64",
        contenders=[
            *own(lambda impl: group_advantages(on_gpu, 16, impl=impl), 1e-9, ("triton", "cuda")),
            *that_run(iter([("torch view", view), ("torch.compile view", torch.compile(view))])),
        ],
        error=largest_difference(group_advantages(rewards, 16, impl="native")),
        work=16.0 * rewards.size,
        unit="GB/s",
        formula="8 bytes read and 8 written for each reward",
        synchronize=torch.cuda.synchronize,
    )


def token_logprobs_cases() -> Iterator[Case]:
    for T, d, V in ((4096, 2048, 151936), (16384, 3584, 151936)):
        generator = torch.Generator(DEVICE).manual_seed(0)
        hidden = torch.randn(T, d, device=DEVICE, dtype=torch.bfloat16, generator=generator)
        weight = torch.randn(V, d, device=DEVICE, dtype=torch.bfloat16, generator=generator) / d**0.5
        targets = torch.randint(V, (T,), device=DEVICE, generator=generator)
        hidden.requires_grad_()
        expected = _exact_logprobs(hidden.detach(), weight, targets)

        def full(hidden=hidden, weight=weight, targets=targets) -> torch.Tensor:
            return torch.log_softmax((hidden @ weight.T).float(), -1).gather(1, targets[:, None])[:, 0]

        def step(
            logprobs: Callable[[], torch.Tensor], hidden: torch.Tensor = hidden
        ) -> Callable[[], torch.Tensor]:
            def run() -> torch.Tensor:
                hidden.grad = None
                values = logprobs()
                values.sum().backward()
                return values

            return run

        def ours(impl: str, step=step, hidden=hidden, weight=weight, targets=targets) -> torch.Tensor:
            return step(lambda: token_logprobs(hidden, weight, targets, impl=impl))()

        peers = iter(
            [("torch, full logits", step(full)), ("torch.compile, full logits", step(torch.compile(full)))]
        )
        yield Case(
            name=f"token_logprobs, T={T}, d={d}, V={V}, bfloat16, frozen weight, forward and backward",
            # bfloat16 products are exact in float32; sums of d of them, and of V exponentials, are not.
            contenders=[*own(ours, 1e-4, ("triton", "chunked")), *that_run(peers)],
            error=largest_difference(expected),
            work=4.0 * T * d * V,
            unit="GFLOP/s",
            formula="2 products of 2 T d V",
            synchronize=torch.cuda.synchronize,
        )


def _exact_logprobs(hidden: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor) -> np.ndarray:
    parts = []
    wide = weight.double()
    for rows, chosen in zip(hidden.split(1024), targets.split(1024), strict=True):
        parts.append(torch.log_softmax(rows.double() @ wide.T, -1).gather(1, chosen[:, None])[:, 0].cpu())
    return torch.cat(parts).numpy()


CASES: dict[str, Callable[[], Iterator[Case]]] = {
    "bmas": bmas_cases,
    "box_iou": box_iou_cases,
    "group_advantages": group_advantages_cases,
    "token_logprobs": token_logprobs_cases,
}
