"""Boxes in the forms models write them, and what is none."""

from __future__ import annotations

from typing import Any

import pytest

from mixed_r1_kernels import Reason

BOX = [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    "answer",
    [
        "[1, 2, 3, 4]",
        "[1,2,3,4]",
        "[ 1 2 3 4 ]",
        "(1, 2, 3, 4)",
        "(1,2),(3,4)",
        "(1, 2) (3, 4)",
        "[[1, 2, 3, 4]]",
        "[(1,2),(3,4)]",
        "<box>[[1, 2, 3, 4]]</box>",
        "<|box_start|>(1,2),(3,4)<|box_end|>",
        "<|object_ref_start|>dog<|object_ref_end|><|box_start|>(1,2),(3,4)<|box_end|>",
        '{"bbox_2d": [1, 2, 3, 4], "label": "dog"}',
        '[{"bbox_2d": [1, 2, 3, 4], "label": "a [9, 9, 9, 9] \\" dog"}]',
        "[{'Position': [1, 2, 3, 4], 'Confidence': 0.9}]",
        '```json\n[{"bbox_2d": [1, 2, 3, 4]}]\n```',
        "The dog is at [1.0, 2.0, 3e0, 40e-1].",
        "the dog (2 of them, see below) is at [1, 2, 3, 4] (yes)",
        '5" long: [1, 2, 3, 4]',
        "[+1, 2, 3., 4]",
        "[1, 2, 3, 4] [",
        "] [1, 2, 3, 4]",
        '{"bbox_2d": [1, 2, 3, 4], "point_2d": [60, 120]}',  # a point beside the box
        "[1] [1, 2, 3, 4]",  # a label
        "The dog is at [1, 2, 3, 4] in [640, 480]",  # a size
        "[1, 2, 3, 4] (0.95)",
        "[1, 2, 3, 4] [0.95]",
        "[1, 2, 3, 4] (5, 6)",
        "The pair (5, 6) is at [1, 2, 3, 4]",
        '{"x1": 1, "y1": 2, "x2": 3, "y2": 4}',
        "{'xmin': 1, 'ymin': 2, 'xmax': 3, 'ymax': 4}",
        "x1=1, y1=2, x2=3, y2=4",
        "x1: 1, y1: 2, x2: 3, y2: 4",
        "left = 1, top = 2, right = 3, bottom = 4",
        "1, 2, 3, 4",  # the whole answer
        "1 2 3 4",
        "[[1, 2], [3, 4]]",
        '["1", "2", "3", "4"]',
        "['1', '2', '3', '4']",
        '{"bbox_2d": "1, 2, 3, 4"}',
        "<box>1 2 3 4</box>",
        "<box>(1,2),(3,4)</box>",
        "from (1, 2) to (3, 4)",
        "\uff3b\uff11\uff0c\uff12\uff0c\uff13\uff0c\uff14\uff3d",
    ],
)
def test_one_box(judge: Any, answer: str) -> None:
    value, reason, boxes = judge("grounding", None, answer)
    assert value != value and reason == Reason.OK and boxes == [BOX]


@pytest.mark.parametrize(
    "answer",
    [
        "[[1, 2, 3, 4], [5, 6, 7, 8]]",
        '[{"bbox_2d": [1, 2, 3, 4]}, {"bbox_2d": [5, 6, 7, 8]}]',
        "[1, 2, 3, 4] and [5, 6, 7, 8]",
        "(1,2),(3,4),(5,6),(7,8)",
        '{"dogs": [[1, 2, 3, 4], [5, 6, 7, 8]]}',
    ],
)
def test_two_boxes(judge: Any, answer: str) -> None:
    assert judge("grounding", None, answer).boxes == [BOX, [5.0, 6.0, 7.0, 8.0]]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("no box here", Reason.NO_BOX),
        ("[]", Reason.NO_BOX),
        ('{"x": 1, "y": 2, "w": 3, "h": 4}', Reason.NO_BOX),  # not corners
        ("{1, 2, 3, 4}", Reason.NO_BOX),
        ("[1; 2; 3; 4]", Reason.NO_BOX),
        ("[1px, 2px, 3px, 4px]", Reason.NO_BOX),
        ("[1px, 2, 3, 4]", Reason.BAD_BOX),
        ("[0x1, 2, 3, 4]", Reason.BAD_BOX),
        ("[1_0, 2, 30, 4]", Reason.BAD_BOX),
        ("[1, 2, 3, 4}", Reason.BAD_BOX),
        ("[10, 10, 5, 5]", Reason.BAD_BOX),  # x, y, width, height
        ("[1e9, 0, 1000000001, 1]", Reason.BAD_BOX),
        ("[1, 2, 3]", Reason.BAD_BOX),
        ("[1, 2, 3, 4, 5]", Reason.BAD_BOX),
        ("[1, 2, 3, 4", Reason.BAD_BOX),  # cut off
        ("[[1, 2, 3, 4], [5, 6", Reason.BAD_BOX),
        ("(1, 2)", Reason.BAD_BOX),
        ("(1, 2), (3, 4, 5)", Reason.BAD_BOX),
        ("[3, 2, 1, 4]", Reason.BAD_BOX),
        ("[1, 4, 3, 2]", Reason.BAD_BOX),
        ("[1, 2, 1, 4]", Reason.BAD_BOX),
        ("[nan, 2, 3, 4]", Reason.BAD_BOX),
        ("[NaN, NaN, NaN, NaN]", Reason.BAD_BOX),
        ("[1, 2, Infinity, 4]", Reason.BAD_BOX),
        ("[1, 2, 3, 1e999]", Reason.BAD_BOX),
        ("[1, 2, 3, 1e308]", Reason.BAD_BOX),
        ("[true, 2, 3, 4]", Reason.BAD_BOX),
        ("[1, 2, 3, null]", Reason.BAD_BOX),
        ("[1, 2, 3, 4] [3, 2, 1, 4]", Reason.BAD_BOX),
        ('{"bbox_2d": [1, 2, 3, 4], "bbox_2d": [1, 2, 3, 4]}', Reason.BAD_BOX),
        ("[" * 64 + "1, 2, 3, 4" + "]" * 64, Reason.OK),
        ("[" * 65 + "1, 2, 3, 4" + "]" * 65, Reason.TOO_DEEP),
        ("[" * 100_000, Reason.TOO_DEEP),
        ("[1,2,3,4]" * 256, Reason.OK),
        ("[1,2,3,4]" * 257, Reason.TOO_MANY_ITEMS),
        ("[1,2,3,4]" * 100_000, Reason.TOO_MANY_ITEMS),
    ],
)
def test_reasons(judge: Any, answer: str, reason: Reason) -> None:
    value, found, boxes = judge("grounding", None, answer)
    assert found == reason
    assert (value != value) == (reason == Reason.OK) and bool(boxes) == (reason == Reason.OK)
