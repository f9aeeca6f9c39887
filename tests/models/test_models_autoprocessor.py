"""Inputs equal those of ``AutoProcessor`` itself, whose classes need torchvision."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from mixed_r1.models import FAMILIES

TORCHVISION = "torchvision==0.28.0"
LEVEL = 1 / 255 / 0.26  # one of 256 levels of a colour, as the image processors scale it


@pytest.fixture(scope="module")
def torchvision(tmp_path_factory):
    """A folder with torchvision alone: in the environment it would change what transformers imports."""
    folder = tmp_path_factory.mktemp("torchvision")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", folder, TORCHVISION]
    done = subprocess.run(pip, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


@pytest.mark.slow
def test_inputs_equal_autoprocessors(torchvision, tmp_path):
    """Token ids always; pixels bit for bit with the processors' Pillow backend, and within two levels of a
    colour with their torchvision backend, which resizes by other code."""
    program = Path(__file__).with_name("run_autoprocessor.py")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, program, torchvision, tmp_path]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["torchvision"].startswith("0.28.0") and found["families"].keys() == FAMILIES.keys()
    for backends in found["families"].values():
        for row in [*backends["pil"], *backends["torchvision"]]:
            assert row["ids"] and row["names"]
        assert [row["apart"] for row in backends["pil"]] == [0.0] * 3
        assert all(row["apart"] <= 2.1 * LEVEL for row in backends["torchvision"])
