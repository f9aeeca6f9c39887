"""BMAS: 8 prompts x 16 completions of real prose, and a sweep over width, group size and length.

Work is counted after deduplication, 2 d sum_g rows_g columns_g (rows and columns: distinct ids of a group's
completions and of its reference), for every contender alike: a rate tells what a method that does the least
work would have to reach.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from benchmarks.bars import Bar, errs_by, times_faster
from benchmarks.bmas_levels import at_level, lower_levels
from benchmarks.harness import Case, Contender
from benchmarks.peers_bmas import peers
from benchmarks.text import Batch, batch, table_bits
from mixed_r1_kernels import BmasScores, EmbeddingTable, bmas

THREADS = (1, 2)
TOLERANCE = 5e-7
OWN = "mixed_r1 native"
STANDARD = [(8, 16, 554, 150, 2048), (8, 16, 554, 150, 3584)]
SCALING = [
    *((8, 16, 554, 150, dim) for dim in (512, 1024, 2048, 3584, 5120, 8192)),
    *((8, group, 554, 150, 2048) for group in (1, 4, 64)),
    *((8, 16, length, 150, 2048) for length in (20, 100, 4000)),
    *((8, 16, 554, length, 2048) for length in (10, 1000)),
    *((prompts, 16, 554, 150, 2048) for prompts in (1, 64)),
]


def cases(options: argparse.Namespace) -> Iterator[Case]:
    tables: dict[int, tuple[np.ndarray, EmbeddingTable]] = {}
    for sizes in SCALING if options.scaling else STANDARD:
        *shape, dim = sizes
        if dim not in tables:
            tables.clear()
            bits = table_bits(dim)
            tables[dim] = bits, EmbeddingTable(bits, dtype="bfloat16")
        case = _case(batch(*shape), *tables[dim], options)
        judged = not options.scaling and options.threads == 1 and options.peers and "native" in options.impl
        yield replace(case, bars=_bars(case, tuple(shape), dim)) if judged else case


def _case(data: Batch, bits: np.ndarray, table: EmbeddingTable, options: argparse.Namespace) -> Case:
    def run(impl: str, on: EmbeddingTable) -> BmasScores:
        pairs = data.reference_of
        return bmas(
            data.completions, data.references, on, reference_of=pairs, impl=impl, num_threads=options.threads
        )

    expected = run("reference", table)

    def error(result: Any) -> float:
        return float(max(np.abs(result[i] - expected[i]).max() for i in (0, 1)))

    moved = table.to(options.device)
    contenders = [
        Contender(f"mixed_r1 {impl}", lambda impl=impl: run(impl, moved), tolerance=TOLERANCE)
        for impl in options.impl
    ]
    if options.peers:
        found = peers(data, bits, options.threads, packages=not options.scaling)
        contenders += [Contender(name, call, is_peer=True) for name, call in found]
    rows, columns = data.distinct()
    work = 2.0 * table.dim * sum(r * c for r, c in _group_sizes(data))
    tokens = sum(map(len, data.completions))
    prompts, completions = len(data.references), len(data.completions)
    name = f"{prompts} x {completions // prompts}, d={table.dim}, {tokens // completions} tokens a completion"
    parameters = {
        "prompts": prompts,
        "completions": completions,
        "dim": table.dim,
        "vocabulary": len(table),
        "table": table.dtype,
        "completion_tokens": tokens,
        "distinct_completion_tokens": rows,
        "reference_tokens": sum(map(len, data.references)),
        "distinct_reference_tokens": columns,
    }
    formula = "2 d sum_g rows_g columns_g, distinct ids"
    return Case(name, contenders, error, work, "GFLOP/s", formula, parameters)


def _bars(case: Case, shape: tuple[int, ...], dim: int) -> list[Bar]:
    bars = [
        times_faster(OWN, "torch, each pair, f32", 60),
        times_faster(OWN, "numkong dots_packed, dedup", 1.2),
        errs_by(OWN, TOLERANCE),
    ]
    scores = np.stack(next(one for one in case.contenders if one.name == OWN).run()[:2])
    for name in lower_levels():
        level = at_level(name, shape, dim)
        difference = float(np.abs(level.scores - scores).max())
        case.parameters[f"{name}_ms"] = level.seconds * 1e3
        label = f"largest difference of {name} ({level.seconds * 1e3:.1f} ms)"
        bars.append(Bar(label, lambda _, difference=difference: difference, at_most=1e-6))
    return bars


def _group_sizes(data: Batch) -> Iterator[tuple[int, int]]:
    for prompt, reference in enumerate(data.references):
        members = np.flatnonzero(data.reference_of == prompt)
        yield len(set().union(*(data.completions[i] for i in members))), len(set(reference))
