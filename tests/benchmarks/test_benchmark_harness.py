"""The benchmark harness: it refuses wrong results, measures in turns, judges its bars and writes readable
records; the text it measures on is text."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.bars import Bar, bar_lines, errs_by, times_faster, verdicts
from benchmarks.harness import Case, Contender, Growth, measure, print_scaling, print_table, write_records

ROOT = Path(__file__).resolve().parents[2]
KERNELS = ("bmas", "box_iou", "group_advantages", "match_boxes", "token_logprobs")


def spin(count: int) -> float:
    total = 0.0
    for value in range(count):
        total += value
    return total


def case(tolerance: float, *bars: Bar) -> Case:
    contenders = [
        Contender("ours", lambda: spin(20_000), tolerance=tolerance),
        Contender("peer", lambda: spin(200_000), is_peer=True),
    ]
    return Case(
        name="sums",
        contenders=contenders,
        error=lambda total: abs(total - spin(20_000)),
        work=20_000,
        unit="GFLOP/s",
        formula="n",
        parameters={"n": 20_000},
        bars=bars,
    )


def test_times_are_in_proportion_and_recorded(tmp_path: Path) -> None:
    measured = case(0.0)
    ours, peer = measure(measured, clock="cpu", seconds=0.1)
    assert 4 < peer.median / ours.median < 25
    assert ours.p20 <= ours.median <= ours.p80 and ours.rounds > peer.rounds >= 3
    assert ours.error == 0 and peer.error > 0
    for _ in range(2):
        write_records(tmp_path / "new" / "records.jsonl", "sums", measured, [ours, peer], threads=1)
    records = [json.loads(line) for line in (tmp_path / "new" / "records.jsonl").read_text().splitlines()]
    assert [record["name"] for record in records] == ["ours", "peer"] * 2
    assert records[0]["times_faster_than"]["peer"] == pytest.approx(peer.median / ours.median, rel=1e-3)
    assert records[0]["GFLOP/s"] == pytest.approx(2e-5 / ours.median)
    assert {"commit", "date", "hardware", "versions", "peak_bytes", "clock", "parameters"} <= records[
        0
    ].keys()


def test_a_wrong_result_is_not_measured() -> None:
    with pytest.raises(AssertionError, match="sums: ours must err by <= -1.0, got 0.0"):
        measure(case(-1.0), clock="wall", seconds=0.01)


def test_a_contender_with_another_input_is_checked_by_its_own_error() -> None:
    other = Contender("other input", lambda: spin(7), tolerance=0.0, error=lambda total: abs(total - spin(7)))
    measured = dataclasses.replace(case(0.0), contenders=[other])
    assert measure(measured, clock="cpu", seconds=0.01)[0].error == 0


def test_peak_memory_is_that_of_the_call_whatever_earlier_calls_freed() -> None:
    contenders = [Contender("64 MiB", lambda: float(np.ones(2**23).sum())), Contender("0", lambda: 0.0)]
    measured = dataclasses.replace(case(0.0), contenders=contenders, error=lambda _: 0.0)
    for _ in range(2):  # the second time the allocator may have the pages of the first
        large, small = measure(measured, clock="cpu", seconds=0.01)
        if large.peak_bytes is None or small.peak_bytes is None:
            pytest.skip("this kernel does not tell peak memory")
        assert 60 * 2**20 < large.peak_bytes < 80 * 2**20
        assert small.peak_bytes < 8 * 2**20


def test_bars_are_judged_printed_and_recorded(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = case(
        0.0,
        times_faster("ours", "peer", 2),
        times_faster("ours", "peer", 1000),
        times_faster("ours", "a package that is not installed", 2),
        errs_by("ours", 0.0),
        Bar("a figure of its own", lambda _: 0.5, at_most=0.25),
    )
    measurements = measure(measured, clock="cpu", seconds=0.05)
    found = verdicts(measured.bars, measurements)
    assert [one.passed for one in found] == [True, False, None, True, False]
    assert [line.split()[-1] for line in bar_lines(found)] == ["pass", "MISSED", "measured", "pass", "MISSED"]
    print_table(measured, measurements, found)
    write_records(tmp_path / "records.jsonl", "sums", measured, measurements, 1, found)
    printed = capsys.readouterr().out
    assert printed.count("bar ") == 5 and "a figure of its own" in printed
    records = [json.loads(line) for line in (tmp_path / "records.jsonl").read_text().splitlines()][2:]
    assert records[-1]["bar"] == "a figure of its own" and records[-1]["limit"] == "<= 0.25"
    assert records[-1]["value"] == 0.5 and records[-1]["passed"] is False and records[2]["passed"] is None
    assert records[0]["value"] == pytest.approx(measurements[1].median / measurements[0].median)


def test_a_bar_has_one_limit() -> None:
    for limits in ({}, {"at_least": 1.0, "at_most": 2.0}):
        with pytest.raises(ValueError, match="x: a bar must have at_least or at_most, got both or neither"):
            Bar("x", lambda _: 1.0, **limits)


def test_the_scaling_table_has_a_line_a_case(capsys: pytest.CaptureFixture[str]) -> None:
    measured = case(0.0)
    measurements = measure(measured, clock="cpu", seconds=0.02)
    rows = [
        Growth("small", "GFLOP/s", 1e9, measurements),
        Growth("without the peer", "GFLOP/s", 1e9, measurements[:1]),
    ]
    print_scaling(rows)
    lines = capsys.readouterr().out.strip().splitlines()
    assert lines[0] == "| case | ms | GFLOP/s | peak MiB | peer |" and lines[1] == "|---|---|---|---|---|"
    first, second = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:])
    ratio = measurements[1].median / measurements[0].median
    assert first[0] == "small" and float(first[-1]) == pytest.approx(ratio, rel=5e-3)
    assert second[-1] == "-"


@pytest.mark.parametrize("op", KERNELS)
def test_an_op_has_standard_and_scaling_cases_on_one_thread_and_two(op: str) -> None:
    module = importlib.import_module(f"benchmarks.{op}")
    assert module.THREADS == (1, 2) and module.STANDARD and module.SCALING


def test_the_command_checks_measures_judges_and_records(tmp_path: Path) -> None:
    out = tmp_path / "records.jsonl"
    words = ["--op", "group_advantages", "--threads", "1", "2", "--seconds", "0.01", "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["threads"] for record in records] == [1, 1, 2, 2]
    assert [record["clock"] for record in records] == ["cpu", "cpu", "wall", "wall"]
    assert all(record["name"] == "mixed_r1 native" and record["error"] <= 1e-12 for record in records)
    assert "ragged groups" in done.stdout and str(out) in done.stdout


@pytest.mark.parametrize("peers", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_small_cases_of_every_kernel_pass_their_checks(peers: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """With peers, whose imports take long, their results too."""
    pytest.importorskip("torch")
    from benchmarks import bmas, box_iou, match_boxes, token_logprobs

    monkeypatch.setattr(bmas, "STANDARD", [(2, 3, 40, 20, 64)])
    monkeypatch.setattr(bmas, "lower_levels", lambda: ())
    monkeypatch.setattr(box_iou, "STANDARD", [(7, 5)])
    monkeypatch.setattr(box_iou, "PAIRS_PER_TIMING", 35 * 3)
    monkeypatch.setattr(match_boxes, "STANDARD", [(5, 1, 4)])
    monkeypatch.setattr(token_logprobs, "STANDARD", [(9, 16, 50, False), (9, 16, 50, True)])
    options = argparse.Namespace(scaling=False, threads=1, peers=peers, impl=["native"], device="cpu")
    for module in (bmas, box_iou, match_boxes, token_logprobs):
        for small in module.cases(options):
            measurements = measure(small, clock="cpu", seconds=0.0)
            assert any(one.is_peer for one in measurements) == peers
            loose = {one.name: one.error for one in measurements if "bf16" not in one.name}
            assert max(loose.values()) < 2e-5, loose
            accuracy = [bar for bar in small.bars if bar.name.startswith(("error", "difference"))]
            assert all(one.passed is not False for one in verdicts(accuracy, measurements))


def test_the_text_of_the_bmas_benchmark_is_like_a_models() -> None:
    """Zipf-like counts, ragged lengths, completions that share words with their reference, and a seed."""
    pytest.importorskip("tokenizers")
    from benchmarks.text import VOCABULARY, batch

    data = batch(8, 16, 554, 150)
    lengths = [len(ids) for ids in data.completions]
    assert len(lengths) == 128 and len(set(lengths)) > 100 and 110 <= min(lengths) < max(lengths) <= 997
    counts = np.array([count for _, count in Counter(sum(data.completions, [])).most_common()])
    assert max(max(ids) for ids in data.completions) < VOCABULARY
    assert 0.02 < counts[0] / counts.sum() < 0.15  # the commonest token
    ranks = np.arange(1, 301)
    slope = np.polyfit(np.log(ranks), np.log(counts[:300]), 1)[0]
    assert -1.3 < slope < -0.5  # Zipf's law has -1
    rows, columns = data.distinct()
    assert rows < sum(lengths) / 5 and columns < sum(map(len, data.references)) * 0.9
    for prompt, reference in enumerate(data.references):
        members = np.flatnonzero(data.reference_of == prompt)
        assert all(set(data.completions[i]) & set(reference) for i in members)
    again, other = batch(8, 16, 554, 150), batch(8, 16, 554, 150, seed=1)
    assert again.completions == data.completions and other.completions != data.completions
