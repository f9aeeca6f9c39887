"""Why one completion has the reward it has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixed_r1.rewards.grounding import POINT_IN_BOX, VLM_R1, first_iou, match
from mixed_r1.rewards.open_ended import OpenEndedScorer
from mixed_r1.rewards.reward import MixedReward
from mixed_r1.rewards.rows import GoldBoxes
from mixed_r1.rewards.rules import rule_of
from mixed_r1.schema import Box, Sample
from mixed_r1_kernels import Reason, similarity_matrix
from mixed_r1_kernels.verify import VerifyResult, verify

__all__ = ["BoxMatch", "Cell", "Explanation", "TokenMatch", "explain"]


@dataclass(frozen=True)
class Cell:
    """One column: its value (None: not applicable), weight reason and, in a sentence, the rule behind it."""

    value: float | None
    weight: float
    reason: Reason
    rule: str = ""


@dataclass(frozen=True)
class BoxMatch:
    """A predicted box, the gold box it was scored against (None: none), and their IoU; in pixels of the
    original image. Under ``box_score="vlm_r1"`` that is the first of each, and no other; under
    ``"point_in_box"`` the prediction is (x, y, x, y), and ``gold`` the first box that holds it.
    """

    predicted: Box
    gold: Box | None
    iou: float


@dataclass(frozen=True)
class TokenMatch:
    """A token and the most similar token of the other side."""

    token: str
    best: str
    similarity: float


@dataclass(frozen=True)
class Explanation:
    """Everything behind one row of a RewardBatch. ``total`` is None for a masked row; ``error`` then says
    why.

    ``boxes`` for grounding; ``answer_tokens`` (answer -> reference), ``reference_tokens`` (reference ->
    answer) and ``similarity`` [answer tokens, reference tokens] for open_ended.
    """

    task: str
    answer: str
    gold: Any
    total: float | None
    cells: dict[str, Cell]
    error: str | None = None
    boxes: tuple[BoxMatch, ...] = ()
    answer_tokens: tuple[TokenMatch, ...] = ()
    reference_tokens: tuple[TokenMatch, ...] = ()
    similarity: np.ndarray | None = None


def explain(reward: MixedReward, completion: str, sample: Sample | Mapping[str, Any]) -> Explanation:
    """Score one completion and say why. Raises as ``MixedReward`` does."""
    with reward.taking_turns():
        return _explain(reward, completion, sample)


def _explain(reward: MixedReward, completion: str, sample: Sample | Mapping[str, Any]) -> Explanation:
    batch = reward([completion], [sample])
    slots = reward.rows.slots([sample])
    row, column = reward.rows.prepared[slots[0]], batch.names[reward.rows.column[slots[0]]]
    task = row.task
    cells = {}
    for k, name in enumerate(batch.names):
        value = float(batch.values[0, k])
        reason = Reason(int(batch.reasons[0, k]))
        rule = _rule(reward, name, task, reason, batch.answers[0], sample)
        cells[name] = Cell(None if np.isnan(value) else value, float(batch.weights[0, k]), reason, rule)
    total = float(batch.total[0]) if batch.mask[0] else None
    found = Explanation(task, batch.answers[0], row.gold.spec.answer, total, cells, row.error)
    scorer = reward.tasks[task].scorer
    if row.error is not None or cells[column].reason not in (Reason.OK, Reason.DEGENERATE):
        return found
    if scorer == "boxes":
        result = verify([completion], [row.gold], impl=reward.impl)
        return replace(found, boxes=_box_matches(result, reward.rows.gold_boxes(slots)))
    if scorer == "embedding" and reward.open_ended is not None:
        return _with_tokens(found, reward.open_ended)
    return found


def _rule(
    reward: MixedReward,
    column: str,
    task_name: str,
    reason: Reason,
    answer: str,
    row: Sample | Mapping[str, Any],
) -> str:
    """The sentence behind ``reason`` in ``column``; what code of the user decided is said by that code."""
    task = reward.tasks[task_name]
    if column in reward.functions and reason == Reason.OK:
        return f"The function {column} gave this value."
    if column != task.column or task.scorer != "task" or reason != Reason.OK:
        return rule_of(column, task.reader, reason)
    sample = row if isinstance(row, Sample) else Sample.model_validate(dict(row))
    return task.why(answer, sample) or f"The score of {type(task).__name__} gave this value."


def _box_matches(result: VerifyResult, gold: GoldBoxes) -> tuple[BoxMatch, ...]:
    matching = match(result.boxes, result.box_counts, gold)
    columns = [matching.predicted_index.tolist(), matching.gold_index.tolist(), matching.iou.tolist()]
    if gold.mode[0] == VLM_R1:
        columns = [[0], [0], first_iou(matching, result.box_counts, gold.counts).tolist()]
    if gold.mode[0] == POINT_IN_BOX:
        x, y = matching.predicted[0, :2].tolist()
        edges = enumerate(gold.boxes.tolist())
        inside = [i for i, (x1, y1, x2, y2) in edges if x1 <= x <= x2 and y1 <= y <= y2][:1]
        columns = [[0] * len(inside), inside, [0.0] * len(inside)]
    partner = {predicted: (which, iou) for predicted, which, iou in zip(*columns, strict=True)}
    golds: list[Box] = [tuple(box) for box in gold.boxes.tolist()]
    return tuple(
        BoxMatch(
            tuple(box), golds[partner[i][0]] if i in partner else None, partner[i][1] if i in partner else 0.0
        )
        for i, box in enumerate((result.boxes * gold.scale).tolist())
    )


def _with_tokens(found: Explanation, scorer: OpenEndedScorer) -> Explanation:
    answer_ids, reference_ids = scorer.token_ids([found.answer, found.gold])
    similar = similarity_matrix(answer_ids, reference_ids, scorer.table)
    left, right = scorer.tokens(answer_ids), scorer.tokens(reference_ids)
    cosines = similar.cosines
    return replace(
        found,
        answer_tokens=tuple(
            TokenMatch(left[i], right[j], float(cosines[i, j])) for i, j in enumerate(similar.best_reference)
        ),
        reference_tokens=tuple(
            TokenMatch(right[j], left[i], float(cosines[i, j])) for j, i in enumerate(similar.best_completion)
        ),
        similarity=cosines,
    )
