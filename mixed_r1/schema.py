"""The one row type of the project: a prompt, its images, and a gold answer that a verifier can check."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mixed_r1 import golds
from mixed_r1.frames import FRAMES, Box, Frame
from mixed_r1.options import LETTERS
from mixed_r1.tasks import CLOSED_TASKS, TASKS, TaskName, task_of, task_order
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
    "TaskName",
    "lone_surrogate",
    "task_order",
]

MAX_SIDE = 1 << 31
_LONE = re.compile("[\ud800-\udfff]")
_TEXTS = ("id", "source", "question", "answer", "options", "alternatives", "messages", "metadata")


def lone_surrogate(value: Any) -> str | None:
    """The first half of a UTF-16 pair that stands alone in a text, or in those of a list or mapping: JSON can
    write it, UTF-8, and so every file, cannot."""
    if isinstance(value, str):
        found = None if value.isascii() else _LONE.search(value)
        return found[0] if found else None
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    if isinstance(value, (list, tuple)):
        return next((lone for item in value if (lone := lone_surrogate(item)) is not None), None)
    return None


class Sample(BaseModel):
    """One row of a mixed data set.

    ``task`` is one of ``mixed_r1.tasks``, or a task of your own that was registered there.
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

    Boxes are corners (x1 < x2, y1 < y2) in pixels of the original image unless ``frame`` says otherwise. Of
    several images, ``image_of`` says which one they are in, by its index from 0. A photo that its EXIF data
    turn is meant as it is shown; ``boxes_in`` says "stored" where boxes were drawn on its unturned pixels.
    ``image_size`` is (width, height) in pixels of the image the boxes refer to; ``resized_size`` is that
    image as the model sees it. ``reward`` overrides fields of RewardConfig for this row. ``alternatives``
    are further answers that are as right as ``answer``. ``options`` may be a mapping from letters to texts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)

    id: str = Field(min_length=1)
    task: TaskName
    question: str = ""
    messages: tuple[dict[str, Any], ...] | None = None
    images: tuple[Any, ...] = ()
    answer: Any
    options: tuple[str, ...] | None = None
    alternatives: tuple[Any, ...] = ()
    source: str = "unknown"
    frame: Frame = "pixels"
    image_of: int | None = Field(default=None, ge=0)
    boxes_in: Literal["shown", "stored"] = "shown"
    image_size: tuple[int, int] | None = None
    resized_size: tuple[int, int] | None = None
    difficulty: float | None = None
    reward: dict[str, Any] | None = None
    metadata: dict[str, Any] = Field(default_factory=dict)

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
        for name in _TEXTS:
            if (lone := lone_surrogate(getattr(self, name))) is not None:
                raise ValueError(f"{name} must be text that UTF-8 can hold, got a lone surrogate {lone!a}")
        task = task_of(self.task)
        if task.needs_options and not self.options:
            raise ValueError(f"options must list at least one choice for task {self.task}")
        if self.options is not None and len(self.options) > len(LETTERS):
            raise ValueError(f"options must have at most {len(LETTERS)} entries, got {len(self.options)}")
        for name in ("image_size", "resized_size"):
            size = getattr(self, name)
            if size is not None and not (1 <= min(size) and max(size) <= MAX_SIDE):
                raise ValueError(f"{name} must be positive, at most {MAX_SIDE}, got {size}")
        object.__setattr__(self, "answer", task.checked(self.answer, self.options))
        if self.alternatives and task.scorer in ("boxes", "embedding"):
            raise ValueError(f"alternatives must be absent for task {self.task}, got {self.alternatives!r}")
        others = tuple(task.checked(other, self.options) for other in self.alternatives)
        object.__setattr__(self, "alternatives", others)
        return self

    @property
    def boxes(self) -> tuple[Box, ...]:
        """The gold boxes in ``frame``; none where the task's answer is no boxes."""
        return self.answer if task_of(self.task).scorer == "boxes" else ()

    @property
    def gold_text(self) -> str:
        """The answer as a person reads it."""
        return task_of(self.task).shown(self.answer, self.options)
