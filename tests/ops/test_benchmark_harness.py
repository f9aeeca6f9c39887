"""The benchmark harness: it refuses wrong results, measures in turns, and writes readable records."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.harness import Case, Contender, measure, write_records


def spin(count: int) -> float:
    total = 0.0
    for value in range(count):
        total += value
    return total


def case(tolerance: float) -> Case:
    contenders = [
        Contender("ours", lambda: spin(20_000), tolerance=tolerance),
        Contender("peer", lambda: spin(200_000), is_peer=True),
    ]
    return Case(
        "sums", contenders, lambda total: abs(total - spin(20_000)), 20_000, "GFLOP/s", "n", {"n": 20_000}
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
