"""Memory of training against the size of its file and the number of its prompts: the benchmark, small."""

from __future__ import annotations

import pytest
from rich.console import Console

from benchmarks.data_memory import MAX_GROWTH_MB, MAX_TOWER_RATIO, compare, tower_bytes


def test_a_vision_pass_is_as_large_for_many_prompts_as_for_a_few():
    few, many = tower_bytes(8), tower_bytes(24)
    assert 1e6 < few and many < MAX_TOWER_RATIO * few


@pytest.mark.slow
def test_memory_grows_with_neither_file_nor_prompts(capsys):
    record = compare((1, 12), [8, 24], Console())
    assert 0 < record["resident_mb"]["1 MB"] and record["growth_mb"] < MAX_GROWTH_MB
    assert record["tower_mb"][8] > 1 and record["tower_ratio"] < MAX_TOWER_RATIO
    assert "12 MB" in capsys.readouterr().out
