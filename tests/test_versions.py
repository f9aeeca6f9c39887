"""``tests.versions``: what it reads out of a run of pytest, and the table that it prints."""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console

from tests.versions import SHOWN, run_tests, table, versions

TESTS = """
import pytest

def test_right(): pass
def test_wrong(): assert False
@pytest.mark.skip
def test_left_out(): pass
@pytest.mark.slow
def test_slow(): assert False
"""


def test_counts_of_a_run_and_the_table(tmp_path: Path, capsys) -> None:
    (tmp_path / "test_some.py").write_text(TESTS)
    found = run_tests(Path(sys.executable), tmp_path, tmp_path, ["test_some.py"], 0)
    assert (found["passed"], found["failed"], found["skipped"]) == (1, 1, 1)
    assert found["failures"] == ["test_some::test_wrong"] and found["seconds"] > 0
    here = versions(Path(sys.executable))
    assert set(here) == {"python", *SHOWN}
    capsys.readouterr()
    Console(width=120).print(table([{"resolution": "newest", **found, "versions": here}]))
    shown = capsys.readouterr().out
    assert here["torch"] in shown and "newest" in shown


def test_nothing_that_can_be_collected_is_no_pass(tmp_path: Path) -> None:
    found = run_tests(Path(sys.executable), tmp_path, tmp_path, ["absent.py"], 0)
    assert found["passed"] == 0
