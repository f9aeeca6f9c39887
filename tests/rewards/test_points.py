"""Points for gold boxes (``box_score: point_in_box``): forms that GUI models give, and what is no point."""

from __future__ import annotations

from typing import Any

import pytest

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.explain import explain
from mixed_r1.schema import Reason

ROW = {"id": "1", "task": "grounding", "question": "Where do I click?", "answer": [100, 200, 140, 220]}


def judged(answer: str, impl: str, row: dict[str, Any] = ROW, **settings: Any) -> tuple[float, Reason]:
    config = RewardConfig(format="none", box_score="point_in_box", **settings)
    batch = MixedReward(config=config, impl=impl)([answer], [row])
    return float(batch.column("iou")[0]), Reason(int(batch.reasons[0, batch.names.index("iou")]))


@pytest.mark.parametrize(
    "answer",
    [
        "(120, 210)", "[120, 210]", "120, 210", "120 210", "<point>120 210</point>", "click(120, 210)",
        "pyautogui.click(x=120, y=210)", "click(start_box='(120,210)')", '{"point_2d": [120, 210]}',
        '[{"point_2d": [120, 210], "label": "OK button"}]', '{"x": 120, "y": 210}', "(100, 200)",
        "(140.0, 220.0)", "<|box_start|>(120,210)<|box_end|>", "[110, 205, 130, 215]",
        "(110, 205), (130, 215)", "<|box_start|>(100,200),(140,220)<|box_end|>",
        '```json\n[{"point_2d": [120, 210]}]\n```',
        "The button is at (120, 210).", "[[110, 205], [130, 215]]",
    ],
)  # fmt: skip
def test_inside(impl: str, answer: str) -> None:
    assert judged(answer, impl) == (1.0, Reason.OK)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("(99, 210)", Reason.OK),
        ("(120, 221)", Reason.OK),
        ("[0, 0, 1000, 1000]", Reason.OK),  # its centre is elsewhere
        ("(120, 210), (5, 5), (130, 215)", Reason.BAD_BOX),
        ("(120, 210) [110, 205, 130, 215]", Reason.AMBIGUOUS),
        ("[120, 210] [500, 500]", Reason.AMBIGUOUS),
        ("[[120, 210], [1, 1], [2, 2]]", Reason.AMBIGUOUS),
        ("x=120, y=210, x=5, y=5", Reason.AMBIGUOUS),
        ("(nan, 210)", Reason.BAD_BOX),
        ("(1e12, 210)", Reason.BAD_BOX),
        ("the OK button", Reason.NO_BOX),
        ("120", Reason.NO_BOX),
        ("[1, 2, 3]", Reason.BAD_BOX),
    ],
)
def test_outside_or_none(impl: str, answer: str, reason: Reason) -> None:
    assert judged(answer, impl) == (0.0, reason)


def test_several_golds_and_frames(impl: str) -> None:
    two = {**ROW, "answer": [[0, 0, 10, 10], [100, 200, 140, 220]], "image_size": [2000, 400]}
    assert judged("(5, 5)", impl, two) == (1.0, Reason.OK)
    assert judged("(60, 525)", impl, two, box_frame="norm1000") == (1.0, Reason.OK)
    assert judged("(120, 210)", impl, two, box_frame="norm1000") == (0.0, Reason.OK)


def test_rows_of_every_kind_in_one_batch(impl: str) -> None:
    """A point of one row is no box of its neighbours."""
    config = RewardConfig(format="none", box_score="continuous")
    rows = [ROW, {**ROW, "id": "2", "reward": {"box_score": "point_in_box"}}, {**ROW, "id": "3"}]
    batch = MixedReward(config=config, impl=impl)(["[100, 200, 140, 220]", "(120, 210)", "(120, 210)"], rows)
    assert batch.column("iou").tolist() == [1.0, 1.0, 0.0]


def test_explained() -> None:
    reward = MixedReward(config=RewardConfig(format="none", box_score="point_in_box"))
    (found,) = explain(reward, "(120, 210)", ROW).boxes
    assert found.predicted == (120.0, 210.0, 120.0, 210.0) and found.gold == (100.0, 200.0, 140.0, 220.0)
    (found,) = explain(reward, "(0, 0)", ROW).boxes
    assert found.gold is None
