"""Memory of training against the size of its file: the benchmark itself, small."""

from __future__ import annotations

from rich.console import Console

from benchmarks.data_memory import MAX_GROWTH_MB, MAX_TOWER_RATIO, compare


def test_memory_grows_with_neither_file_nor_prompts(capsys):
    record = compare((1, 12), [8, 24], Console())
    assert 0 < record["resident_mb"]["1 MB"] and record["growth_mb"] < MAX_GROWTH_MB
    assert record["tower_mb"][8] > 1 and record["tower_ratio"] < MAX_TOWER_RATIO
    assert "12 MB" in capsys.readouterr().out
