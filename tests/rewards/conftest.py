"""Fixtures of the reward tests: one verdict at a time, from every implementation that can run here."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify
from mixed_r1_kernels.verify.api import IMPLEMENTED

sys.path.insert(0, str(Path(__file__).parent))  # completion_pieces, completion_strategies, captions


class Verdict(NamedTuple):
    value: float
    reason: Reason
    boxes: list[list[float]]


class FormatVerdict(NamedTuple):
    value: float
    reason: Reason
    task_reason: Reason
    answer: str


@pytest.fixture(params=IMPLEMENTED)
def impl(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def judge(impl: str) -> Any:
    """judge(task, gold, answer, options=(), **settings) -> Verdict on an answer given without tags."""

    def run(task: str, gold: Any, answer: str, options: tuple[str, ...] = (), **settings: Any) -> Verdict:
        compiled = compile_gold(
            task, gold, options=options, settings=VerifySettings(format="none", **settings)
        )
        result = verify([answer], [compiled], impl=impl)
        return Verdict(float(result.task_value[0]), Reason(result.task_reason[0]), result.boxes.tolist())

    return run


@pytest.fixture
def judge_format(impl: str) -> Any:
    """judge_format(completion, **settings) -> FormatVerdict, with an open_ended gold."""

    def run(completion: str, **settings: Any) -> FormatVerdict:
        gold = compile_gold("open_ended", None, settings=VerifySettings(**settings))
        result = verify([completion], [gold], impl=impl)
        start, end = result.spans[0].tolist()
        return FormatVerdict(
            float(result.format_value[0]),
            Reason(result.format_reason[0]),
            Reason(result.task_reason[0]),
            completion[start:end],
        )

    return run
