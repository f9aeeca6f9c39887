"""The native implementation against the reference, which shares no code with it: every field bit-equal."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import compile_gold, verify
from tests.rewards.completion_strategies import ANSWERS, COMPLETIONS, golds, wrapped


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(golds(), st.lists(COMPLETIONS, min_size=1, max_size=8))
def test_native_equals_reference(gold: tuple[Any, ...], completions: list[str]) -> None:
    task, answer, options, config = gold
    compiled = compile_gold(task, answer, options=options, settings=config)
    assert compiled.native.valid == (compiled.error is None)
    both = [
        verify(completions, [compiled], gold_of=[0] * len(completions), impl=impl)
        for impl in ("native", "reference")
    ]
    for name, native, reference in zip(both[0]._fields, *both, strict=True):
        np.testing.assert_array_equal(native, reference, err_msg=f"{name} of {completions!r} for {gold!r}")


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.sampled_from(["chart", "math"]), ANSWERS, ANSWERS)
def test_an_answer_equals_itself(task: str, text: str, noise: str) -> None:
    """What compiles as a gold is right when given as the answer, by both implementations."""
    compiled = compile_gold(task, text)
    completion = wrapped(text, 0)
    for impl in ("native", "reference"):
        result = verify([completion, wrapped(noise, 0)], [compiled], gold_of=[0, 0], impl=impl)
        tags = (Reason.NO_ANSWER_TAG, Reason.DUPLICATE_TAG, Reason.TAG_ORDER)  # in the text itself
        if compiled.error is None and result.task_reason[0] not in tags:
            assert result.task_value[0] == 1.0
        assert np.isnan(result.task_value[1]) or 0.0 <= result.task_value[1] <= 1.0
