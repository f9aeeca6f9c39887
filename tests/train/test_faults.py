"""One rank that fails takes the others with it, soon, and says why; what was saved before goes on."""

from __future__ import annotations

import re
import time

import pytest

PATIENCE = 10  # seconds the others may take to leave
TIMEOUT = 3  # seconds of silence after which a rank counts as lost


def leave(ranks, failed):
    """Wait for the others; how long after the fault they were gone."""
    for number, rank in enumerate(ranks):
        if number != failed:
            assert rank.wait() != 0, rank.text
    return time.time() - float(re.search(r"fault at ([\d.]+)", ranks[failed].text)[1])


@pytest.mark.parametrize("failed", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_an_error_on_one_rank_ends_all_and_is_named(launch, tmp_path, failed):
    ranks = launch("run_ranks.py", tmp_path, 60, fault=f"raise {failed} rollout of step 1")
    assert leave(ranks, failed) < PATIENCE
    assert ranks[failed].wait() != 0 and "ordered by the test" in ranks[failed].text
    cause = f"rank {failed}, rollout of step 1, row r1, row r2: ArithmeticError: ordered by the test"
    assert f"rank {1 - failed} stops: {cause}" in ranks[1 - failed].text


@pytest.mark.parametrize("failed", [1, pytest.param(0, marks=pytest.mark.slow)])
def test_a_killed_rank_ends_the_others(launch, tmp_path, failed):
    ranks = launch("run_ranks.py", tmp_path, TIMEOUT, fault=f"kill {failed} rollout of step 1")
    assert leave(ranks, failed) < TIMEOUT + 5
    wanted = "no sign of life from rank 1" if failed else "rank 0"
    assert wanted in ranks[1 - failed].text


@pytest.mark.slow
@pytest.mark.parametrize("failed", [0, 1])
def test_a_stopped_rank_ends_the_others(launch, tmp_path, failed):
    """Stopped, it holds its connections open: only the silence tells."""
    ranks = launch("run_ranks.py", tmp_path, TIMEOUT, fault=f"stop {failed} rollout of step 1")
    assert leave(ranks, failed) < TIMEOUT + 5
    assert f"rank {failed}" in ranks[1 - failed].text
