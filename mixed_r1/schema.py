"""The one row type of the project: a prompt, its images, and a gold answer that a verifier can check."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeAlias, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from mixed_r1 import golds
from mixed_r1_kernels.reason import Reason

__all__ = [
    "CLOSED_TASKS",
    "FRAMES",
    "LETTERS",
    "TASKS",
    "Box",
    "Frame",
    "Reason",
    "Sample",
    "Task",
    "task_order",
]

Task: TypeAlias = Literal["yes_no", "multiple_choice", "chart", "math", "grounding", "open_ended"]
TASKS: tuple[Task, ...] = get_args(Task)
CLOSED_TASKS: tuple[Task, ...] = ("yes_no", "multiple_choice")  # the gold is one of a short list

Frame: TypeAlias = Literal["pixels", "norm1000", "norm1"]
FRAMES: tuple[Frame, ...] = get_args(Frame)

Box: TypeAlias = tuple[float, float, float, float]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
MAX_SIDE = 1 << 31


def task_order(task: str) -> tuple[int, str]:
    """Key that sorts names of tasks: those of ``TASKS`` in their order, then others, ``all`` last."""
    return (len(TASKS) + 1 if task == "all" else TASKS.index(task) if task in TASKS else len(TASKS), task)


class Sample(BaseModel):
    """One row of a mixed data set.

    ``images`` holds file paths, encoded bytes or PIL images, in the order in which the prompt shows them.
    ``answer`` depends on ``task``:

    =================  ==================================================================
    yes_no             ``"yes"`` or ``"no"`` (``True``/``False`` are read as such)
    multiple_choice    the letter of one of ``options`` (``"A"`` is the first), its text, or its index from
                       0; several letters where all of them must be chosen
    chart              text, a number, or a list of them (also a printed one)
    math               text or a number
    grounding          boxes ``[[x1, y1, x2, y2], ...]`` (a single box may be given flat) in ``frame``
    open_ended         the reference text
    =================  ==================================================================

    Boxes are corners (x1 < x2, y1 < y2) in pixels of the original image unless ``frame`` says otherwise.
    ``image_size`` is (width, height) in pixels of the image the boxes refer to; ``resized_size`` is that
    image as the model sees it. ``reward`` overrides fields of RewardConfig for this row. ``alternatives``
    are further answers that are as right as ``answer``. ``options`` may be a mapping from letters to texts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: str = Field(min_length=1)
    task: Task
    question: str = ""
    messages: tuple[dict[str, Any], ...] | None = None
    images: tuple[Any, ...] = ()
    answer: Any
    options: tuple[str, ...] | None = None
    alternatives: tuple[Any, ...] = ()
    source: str = "unknown"
    frame: Frame = "pixels"
    image_size: tuple[int, int] | None = None
    resized_size: tuple[int, int] | None = None
    difficulty: float | None = None
    reward: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

    @field_validator("images", mode="before")
    @classmethod
    def _images_is_a_list(cls, value: Any) -> Any:
        if isinstance(value, (str, bytes)):
            raise ValueError("must be a list of paths, bytes or PIL images, got a single one")
        return value

    @model_validator(mode="before")
    @classmethod
    def _as_given(cls, values: Any) -> Any:
        """What column files and data sets make of rows, see ``mixed_r1.golds``."""
        if not isinstance(values, Mapping):
            return values
        fields = golds.plain_row(values)
        if fields.get("options") is not None:
            fields["options"] = golds.as_options(fields["options"])
        return fields

    @model_validator(mode="after")
    def _check(self) -> Sample:
        if not self.question and not self.messages:
            raise ValueError("question must not be empty where messages are absent")
        if self.task == "multiple_choice" and not self.options:
            raise ValueError("options must list at least one choice for task multiple_choice")
        if self.options is not None and len(self.options) > len(LETTERS):
            raise ValueError(f"options must have at most {len(LETTERS)} entries, got {len(self.options)}")
        for name in ("image_size", "resized_size"):
            size = getattr(self, name)
            if size is not None and not (1 <= min(size) and max(size) <= MAX_SIDE):
                raise ValueError(f"{name} must be positive, at most {MAX_SIDE}, got {size}")
        answer = _checked_answer(self.task, self.answer, self.options)
        object.__setattr__(self, "answer", answer)
        if self.alternatives and self.task in ("grounding", "open_ended"):
            raise ValueError(f"alternatives must be absent for task {self.task}, got {self.alternatives!r}")
        others = tuple(_checked_answer(self.task, other, self.options) for other in self.alternatives)
        object.__setattr__(self, "alternatives", others)
        return self


def _checked_answer(task: Task, answer: Any, options: tuple[str, ...] | None) -> Any:
    if task == "yes_no":
        verdict = golds.as_verdict(answer)
        if verdict in ("yes", "no"):
            return verdict
        raise ValueError(f"answer must be 'yes' or 'no' for task yes_no, got {answer!r}")
    if task == "multiple_choice":
        letters = LETTERS[: len(options or ())]
        chosen = golds.as_choice(answer, options or ())
        if isinstance(chosen, str) and chosen and all(letter in letters for letter in chosen):
            return chosen
        raise ValueError(
            f"answer must be one of the letters {letters!r}, an option's text, or its index from 0, for task "
            f"multiple_choice, got {answer!r}"
        )
    if task == "grounding":
        return _checked_boxes(golds.as_boxes(answer))
    if task == "chart":
        answer = golds.printed_list(answer)
    if task == "chart" and isinstance(answer, (list, tuple)):
        if not answer:
            raise ValueError("answer must not be an empty list for task chart")
        return tuple(_checked_scalar(task, item) for item in answer)
    if task in ("chart", "math"):
        return _checked_scalar(task, answer)
    if not isinstance(answer, str) or not answer.strip():
        raise ValueError(f"answer must be a non-empty text for task {task}, got {answer!r}")
    return answer


def _checked_scalar(task: Task, answer: Any) -> str:
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or not str(answer).strip():
        raise ValueError(f"answer must be a text or a number for task {task}, got {answer!r}")
    if isinstance(answer, float) and not math.isfinite(answer):
        raise ValueError(f"answer must be finite for task {task}, got {answer!r}")
    return golds.as_scalar_text(answer)


def _is_finite(value: Any) -> bool:
    try:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float64
        return False


def _checked_boxes(answer: Any) -> tuple[Box, ...]:
    boxes = answer
    if isinstance(answer, (list, tuple)) and len(answer) == 4 and not isinstance(answer[0], (list, tuple)):
        boxes = (answer,)
    if not isinstance(boxes, (list, tuple)) or not boxes:
        raise ValueError(
            f"answer must be a non-empty list of boxes [x1, y1, x2, y2] for task grounding, got {answer!r}"
        )
    checked: list[Box] = []
    for box in boxes:
        if not isinstance(box, (list, tuple)) or len(box) != 4 or not all(map(_is_finite, box)):
            raise ValueError(f"answer must hold boxes of four finite numbers [x1, y1, x2, y2], got {box!r}")
        x1, y1, x2, y2 = (float(v) for v in box)
        if not (x1 < x2 and y1 < y2):
            raise ValueError(f"answer must hold boxes with x1 < x2 and y1 < y2, got {box!r}")
        checked.append((x1, y1, x2, y2))
    return tuple(checked)
