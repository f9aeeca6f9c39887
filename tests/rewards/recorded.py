"""The rewards of a fixed batch, by their bits: what a change of structure must leave as it is.

    python -m tests.rewards.recorded      # write recorded.json anew, after a change of a rule

One digest per settings and row says which rule moved. The open-ended column is not in the digest: its last
bits depend on the instruction set, so it is recorded as values and compared within a bound.
"""

from __future__ import annotations

import hashlib
import json
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from mixed_r1.rewards import MixedReward, RewardBatch, RewardConfig
from mixed_r1.schema import Sample
from tests.rewards.captions import REFERENCES
from tests.rewards.minilm import parts

RECORD = Path(__file__).with_name("recorded.json")
BOXES = [[10, 10, 50, 50], [60, 20, 90, 80], [5, 70, 30, 95]]
SIZES = {"image_size": (100, 120), "resized_size": (56, 84)}


def _row(task: str, answer: Any, **fields: Any) -> Sample:
    return Sample(id=f"{task}-1", task=task, question="q", answer=answer, **fields)  # type: ignore[arg-type]


ROWS = [
    _row("yes_no", "yes"),
    _row("multiple_choice", "B", options=("red", "blue")),
    _row("chart", "42"),
    _row("chart", ("42", "Norway")),
    _row("chart", "Norway", reward={"chart_text": "anls"}),
    _row("math", "1/2"),
    _row("math", r"\sqrt{8}", reward={"weights": {"math": 0.3}}),
    _row("grounding", BOXES, **SIZES),
    _row("grounding", BOXES, **SIZES, reward={"box_score": "giou"}),
    _row("grounding", BOXES[0], **SIZES, frame="norm1000", reward={"box_score": "plus_one"}),
    _row("grounding", BOXES[1], **SIZES, reward={"box_score": "vlm_r1"}),
    _row("grounding", BOXES[2], **SIZES, reward={"box_score": "threshold", "box_frame": "resized"}),
    _row("open_ended", REFERENCES[0]),
    _row("open_ended", REFERENCES[1], reward={"open_ended": {"preset": "robust"}}),
    _row("chart", "nan"),  # masked
]
ANSWERS = [
    "yes", "blue", "B", "43.1", "0.5", r"2\sqrt{2}", "[42, Norway]", "42, norwy", "Norwy",
    "[[11, 12, 53, 50], [58, 20, 91, 77], [0, 70, 31, 99]]", "[[58, 20, 91, 77], [11, 12, 53, 50]]",
    "[10, 11, 52, 50]", "[60, 20, 90, 80] or so", "A brown puppy plays with a ball.",
    "Children play in the sand by the sea.", REFERENCES[0], "42", "\ud800", "", "[" * 5000, "x" * 1_100_000,
    "the " * 500, "no or yes", "[nan, 0, 1, 1]", "A" * 3, "9" * 400, "1 2 3 4", "(1,2),(30,40)",
]  # fmt: skip
FORMS = ("<think>because</think><answer>{}</answer>", "<answer>{}</answer>", r"so \boxed{{{}}}", "{}")
SETTINGS: dict[str, dict[str, Any]] = {
    "default": {},
    "answer": {"format": "answer", "weights": {"format": 0.2, "iou": 0.8}},
    "boxed": {"format": "boxed", "chart_score": "graded", "box_frame": "norm1000"},
    "none": {"format": "none", "tasks": {"chart": {"task_weight": 2.0}, "math": {"max_answer_bytes": 3}}},
    "robust": {"open_ended": {"preset": "robust"}},
}


def _lengths(completions: Any, answers: Any, samples: Any) -> list[float | None]:
    return [len(answer) / 7 if answer else None for answer in answers]


def record() -> dict[str, Any]:
    """Settings and row -> digest of its batch, and the open-ended values."""
    found: dict[str, Any] = {}
    for name, settings in SETTINGS.items():
        reward = MixedReward(*parts(), config=RewardConfig(**settings), functions={"length": _lengths})
        reward.calibrate([_row("open_ended", text) for text in REFERENCES])
        texts = [form.format(answer) for form in FORMS for answer in ANSWERS]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # the row that is masked
            batch = reward(texts * len(ROWS), [row for row in ROWS for _ in texts])
        for i, row in enumerate(ROWS):
            part = slice(i * len(texts), (i + 1) * len(texts))
            if row.task == "open_ended":
                values = batch.column("open_ended")[part].tolist()
                found[f"{name} {i} values"] = [None if np.isnan(v) else round(v, 6) for v in values]
            found[f"{name} {i} {row.task}"] = _digest(batch, part)
    return found


def _digest(batch: RewardBatch, part: slice) -> str:
    exact = [k for k, column in enumerate(batch.names) if column != "open_ended"]
    arrays = [batch.values[part][:, exact], batch.reasons[part], batch.mask[part], batch.weights[part]]
    if np.isnan(batch.column("open_ended")[part]).all():
        arrays.append(batch.total[part])
    digest = hashlib.sha256()
    for array in [*arrays, batch.spans[part]]:
        digest.update(np.where(np.isnan(array), -1.0, array).astype("<f8").tobytes())
    return digest.hexdigest()[:16]


if __name__ == "__main__":
    RECORD.write_text(json.dumps(record(), indent=0) + "\n")
