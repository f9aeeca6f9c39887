"""The rewards are, bit for bit, those that were recorded: see recorded.py, which writes them anew."""

from __future__ import annotations

import json

import pytest

from tests.rewards import recorded


def test_rewards_are_those_that_were_recorded() -> None:
    expected, found = json.loads(recorded.RECORD.read_text()), recorded.record()
    assert found.keys() == expected.keys()
    exact = {key for key in expected if not key.endswith("values")}
    assert len(exact) == len(recorded.ROWS) * len(recorded.SETTINGS)
    assert {key for key in exact if found[key] != expected[key]} == set()
    for key in expected.keys() - exact:
        assert found[key] == pytest.approx(expected[key], abs=2e-6), key
