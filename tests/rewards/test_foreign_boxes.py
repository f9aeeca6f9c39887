"""IoU of grounding answers against torchvision, pycocotools and VLM-R1.

torchvision 0.28 needs the same torch to the digit, so what its four functions gave for a table of pairs is
written down here. pycocotools is called where it is installed. ``EXCEPTIONS`` names where we differ, and why.
"""

from __future__ import annotations

import numpy as np
import pytest
from foreign_rules import vlm_r1_iou
from scipy.optimize import linear_sum_assignment

from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1_kernels import paired_box_iou

KINDS = ("iou", "giou", "diou", "ciou")
# Two boxes; iou, giou, diou and ciou of torchvision in float64, to nine digits.
TABLE = [
    ((0, 0, 100, 100), (0, 0, 100, 100), 1.0, 1.0, 1.0, 1.0),
    ((0, 0, 100, 100), (0, 0, 50, 50), 0.25, 0.25, 0.1875, 0.1875),
    ((0, 0, 100, 100), (50, 50, 150, 150), 0.142857143, -0.079365079, 0.031746032, 0.031746032),
    ((0, 0, 100, 100), (200, 200, 300, 300), 0.0, -0.777777778, -0.444444444, -0.444444444),
    ((0, 0, 100, 100), (100, 0, 200, 100), 0.0, 0.0, -0.2, -0.2),
    ((10, 20, 110, 220), (10, 20, 110, 120), 0.5, 0.5, 0.45, 0.446751871),
    ((10, 20, 110, 220), (12, 18, 108, 215), 0.927099842, 0.926703802, 0.926858719, 0.926858694),
    ((0, 0, 640, 480), (300, 200, 340, 260), 0.0078125, 0.0078125, 0.00765625, 0.005560845),
    ((285.25, 185.5, 1193.5, 851.25), (285.0, 188.75, 1192.5, 851.0), 0.993375547, 0.993374101, 0.993373466,
     0.993373465),
    ((285.25, 185.5, 1193.5, 851.25), (279.25, 198.0, 1189.5, 849.25), 0.967658667, 0.96751573, 0.967617572,
     0.967617484),
    ((0.1, 0.2, 0.35, 0.9), (0.05, 0.25, 0.4, 0.7), 0.511363636, 0.40932282, 0.502179964, 0.499007731),
    ((0, 0, 1000, 2), (499, 0, 501, 1000), 0.001001001, -0.995002999, -0.123499499, -0.619936967),
    ((-50, -50, 50, 50), (-25, -75, 75, 25), 0.391304348, 0.311304348, 0.351304348, 0.351304348),
    ((0, 0, 3, 4), (0, 0, 4, 3), 0.6, 0.5375, 0.584375, 0.581912332),
    ((5, 5, 5, 25), (0, 0, 10, 30), 0.0, 0.0, 0.0, -0.001689461),
]  # fmt: skip
# Two boxes, torchvision's four scores, ours, and who is right.
EXCEPTIONS = [
    ((5, 5, 5, 5), (5, 5, 5, 5), (np.nan,) * 4, (0.0,) * 4,
     "0 / 0: a NaN in one reward is a NaN in the loss of its batch, so a box without area overlaps nothing"),
    ((30, 30, 10, 10), (10, 10, 30, 30), (0.0, 1.0, 0.0, 0.0), (1.0,) * 4,
     "corners in another order span the same box, which torchvision asks its caller to sort; in an answer an "
     "inverted box is BAD_BOX before any IoU is taken"),
]  # fmt: skip


@pytest.mark.parametrize("column", range(4), ids=KINDS)
def test_torchvisions_table(impl: str, column: int) -> None:
    first, second = (np.array([row[side] for row in TABLE], np.float64) for side in (0, 1))
    expected = np.array([row[2 + column] for row in TABLE], np.float64)
    scores = paired_box_iou(first, second, kind=KINDS[column], impl=impl)
    # Theirs adds 1e-7 to two denominators: 1e-7 relative to a union of 0.15 at the smallest.
    np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("first", "second", "theirs", "ours", "why"), EXCEPTIONS)
def test_where_we_differ(
    impl: str, first: tuple, second: tuple, theirs: tuple, ours: tuple, why: str
) -> None:
    pair = np.array([first], np.float64), np.array([second], np.float64)
    scores = [float(paired_box_iou(*pair, kind=kind, impl=impl)[0]) for kind in KINDS]
    assert tuple(scores) == ours != theirs and why


@pytest.mark.parametrize("row", [row for row in TABLE if min(row[0]) >= 0 and row[0][0] < row[0][2]])
def test_answers_are_paid_torchvisions_iou(impl: str, row: tuple) -> None:
    """From the text of an answer to the reward: ``continuous`` is iou, ``giou`` that from 0 up."""
    sample = {"id": "1", "task": "grounding", "question": "?", "answer": [list(row[0])]}
    for box_score, expected in (("continuous", row[2]), ("giou", max(0.0, row[3]))):
        config = RewardConfig(format="none", box_score=box_score)
        batch = MixedReward(config=config, impl=impl)([str(list(row[1]))], [sample])
        assert batch.total[0] == pytest.approx(expected, abs=1e-6)


def test_answers_are_paid_pycocotools_iou() -> None:
    """Several boxes: the sum over the best assignment of its matrix, over the larger number of boxes."""
    mask = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(0)

    def boxes(count: int) -> np.ndarray:
        corners = rng.integers(0, 300, (count, 2))
        return np.concatenate([corners, corners + rng.integers(1, 300, (count, 2))], axis=1).astype(
            np.float64
        )

    golds = [boxes(count) for count in rng.integers(1, 6, 200)]
    answers = [boxes(count) for count in rng.integers(1, 6, 200)]
    for gold, answer in zip(golds[::2], answers[::2], strict=True):  # near misses
        n = min(len(gold), len(answer))
        answer[:n] = gold[:n] + np.tile(rng.integers(-20, 21, (n, 2)), 2)
    expected = []
    for gold, answer in zip(golds, answers, strict=True):
        as_xywh = [np.concatenate([x[:, :2], x[:, 2:] - x[:, :2]], axis=1) for x in (answer, gold)]
        scores = mask.iou(*as_xywh, [0] * len(gold))
        expected.append(scores[linear_sum_assignment(-scores)].sum() / max(scores.shape))
    rows = [
        {"id": f"{i}", "task": "grounding", "question": "?", "answer": gold.tolist()}
        for i, gold in enumerate(golds)
    ]
    texts = [str(answer.astype(int).tolist()) for answer in answers]
    batch = MixedReward(config=RewardConfig(format="none"))(texts, rows)
    np.testing.assert_allclose(batch.total, expected, rtol=0, atol=1e-12)
    assert 0 <= min(expected) < 0.1 and 0.8 < max(expected)


FORMS = (  # in which VLM-R1's models and ours answer; one box each
    "{box}", "{{{box}}}", '{{"bbox_2d": {box}, "label": "dog"}}', '[{{"bbox_2d": {box}, "label": "dog"}}]',
    '```json\n[\n\t{{"bbox_2d": {box}, "label": "dog"}}\n]\n```', "The dog is at {box}.",
    '{{"Position": {box}}}', "The bounding box coordinates are: {box}", "dog: {box}", "**{box}**",
)  # fmt: skip
# What its pattern of whole numbers in square brackets does not find, and ours does: the answer says one box.
UNREAD = (
    "({0}, {1}), ({2}, {3})",
    "[{0}.0, {1}.0, {2}.0, {3}.0]",
    "<box>{0} {1} {2} {3}</box>",
    "{0}, {1}, {2}, {3}",
)


def test_vlm_r1s_forms_and_rule(impl: str) -> None:
    """The hard rule of its first release in ``vlm_r1``; the IoU that it pays now in ``continuous``, but for
    overlaps of a pixel."""
    rng = np.random.default_rng(1)
    golds, boxes = [], []
    for _ in range(60):
        x, y, w, h = (int(v) for v in rng.integers(1, 200, 4))
        golds.append([x, y, x + w, y + h])
        dx, dy = (int(v) for v in rng.integers(-min(w, 40), min(w, 40) + 1, 2))
        boxes.append([x + max(dx, -x), y + max(dy, -y), x + w + max(dx, -x), y + h + max(dy, -y)])
    cases = [(form.format(box=box), gold) for form in FORMS for box, gold in zip(boxes, golds, strict=True)]
    texts = [f"<think>It is there.</think><answer>{text}</answer>" for text, _ in cases]
    rows = [
        {"id": str(i), "task": "grounding", "question": "?", "answer": gold}
        for i, (_, gold) in enumerate(cases)
    ]
    theirs = np.array([vlm_r1_iou(text, gold) for text, (_, gold) in zip(texts, cases, strict=True)], float)
    hard = MixedReward(config=RewardConfig(box_score="vlm_r1"), impl=impl)(texts, rows).column("iou")
    np.testing.assert_array_equal(hard, theirs > 0.5)
    soft = MixedReward(config=RewardConfig(box_score="continuous"), impl=impl)(texts, rows).column("iou")
    whole = theirs > 0
    np.testing.assert_allclose(soft[whole], theirs[whole], rtol=0, atol=1e-12)
    assert 100 < hard.sum() < len(hard) - 100 and soft[~whole].max(initial=0.0) < 0.5


@pytest.mark.parametrize("form", UNREAD)
def test_forms_that_vlm_r1_does_not_read(impl: str, form: str) -> None:
    text, gold = f"<answer>{form.format(10, 20, 110, 220)}</answer>", [10, 20, 110, 220]
    row = {"id": "1", "task": "grounding", "question": "?", "answer": gold}
    assert vlm_r1_iou(text, gold) is None
    config = RewardConfig(format="answer", box_score="vlm_r1")
    assert MixedReward(config=config, impl=impl)([text], [row]).column("iou")[0] == 1.0
