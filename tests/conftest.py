"""What the tests of several packages start from: tiny models, a run's beginning, programs on several ranks.

Imports are inside the fixtures, as the tests of the CUDA sources run where torch is not installed.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.processes import free_port, made_once

WORDS = [
    "Which digit is in the picture? Answer with one letter.",
    "<think>The bar is tall.</think><answer>42</answer>",
    "Is the left digit larger than the right digit? yes no",
    "Describe the photo: a flower on a dark ground, and a small building behind it.",
]


@pytest.fixture(scope="module")
def samples() -> list[Any]:
    """Text only, one image, and several images of different sizes."""
    import numpy as np
    from PIL import Image

    from mixed_r1.schema import Sample

    def image(seed: int, width: int = 48, height: int = 48) -> Image.Image:
        pixels = np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    return [
        Sample(id="text", task="math", question="What is 2 + 2?", answer="4"),
        Sample(id="one", task="yes_no", question="Is the digit a 7?", images=(image(0),), answer="yes"),
        Sample(
            id="several",
            task="open_ended",
            question="Describe the photos, all of them, in a few words.",
            images=(image(1), image(2, 96, 48), image(3)),
            answer="a flower",
        ),
    ]


@pytest.fixture(scope="module", params=["qwen2_5_vl", "internvl"])
def adapter(request: pytest.FixtureRequest) -> Any:
    from mixed_r1.models import tiny_adapter

    return tiny_adapter(request.param, corpus=WORDS, seed=0)


@pytest.fixture(scope="session")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """See ``warm_start``. Not to be changed: every test of every process has this one."""
    from tests.train.runs import warm_start

    return made_once(tmp_path_factory, "start", warm_start)


@dataclass
class Rank:
    """One started process and what it printed."""

    process: Any  # see tests/forked.py
    log: Path

    def wait(self, timeout: float = 120) -> int:
        from tests import forked

        return forked.finish(self.process, timeout)

    def go_on(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    @property
    def text(self) -> str:
        return self.log.read_text()


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Callable[..., list[Rank]]]:
    """``launch(program, *arguments)`` starts a program of tests/ once per rank, as a launcher would."""
    from tests import forked

    started: list[Rank] = []

    def start(name: str, *arguments: object, ranks: int = 2, fault: str | None = None) -> list[Rank]:
        environment = {
            "WORLD_SIZE": str(ranks),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(free_port()),
            **({"FAULT": fault} if fault else {}),
        }
        words = str(Path(__file__).parent / name), [str(argument) for argument in arguments]
        new = []
        for rank in range(ranks):
            log = tmp_path / f"log-{len(started) + rank}.txt"
            own = {**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)}
            new.append(Rank(forked.start(forked.program, *words, own, log=log), log))
        started.extend(new)
        return new

    yield start
    for rank in started:
        rank.process.kill()
        rank.wait()
