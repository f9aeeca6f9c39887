"""Settings of Mixed-Reward. Every field can also be set for one task or for one row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, TypeAlias

from pydantic import Field, model_validator

from mixed_r1.config import Config, ConfigError
from mixed_r1.schema import TASKS, Task
from mixed_r1_kernels.verify import VerifySettings

__all__ = ["COLUMN_OF", "TASK_COLUMNS", "BoxScore", "OpenEndedConfig", "RewardConfig"]

COLUMN_OF: dict[str, str] = {
    "yes_no": "matching",
    "multiple_choice": "matching",
    "chart": "chart",
    "math": "math",
    "grounding": "iou",
    "open_ended": "open_ended",
}
BoxScore: TypeAlias = Literal["continuous", "threshold", "giou", "plus_one", "vlm_r1"]
TASK_COLUMNS = ("matching", "chart", "math", "iou", "open_ended")
MAX_WEIGHT = 1e6  # totals are finite


ROBUST: dict[str, Any] = {
    "combine": "min",
    "idf": True,
    "baseline": "measured",
    "length_penalty": (0.5, 2.0),
    "repetition_penalty": 2,
}


class OpenEndedConfig(Config):
    """How a BMAS becomes the open-ended reward. All off by default: the reward is BMAS clamped to [0, 1].

    ``combine``: the ``mean`` of precision and recall, or the ``min``, which a text that only has frequent
    tokens (high precision) or only lists content words (high recall) cannot raise. ``idf`` weights each token
    by log((M + 1) / (df + 1)) over the M references of the data. Then, in this order:
        ``baseline`` b: x -> max(0, (x - b) / (1 - b)), b a number, or "measured" on pairs of unrelated
            references;
        ``length_penalty`` (lo, hi): with r = answer tokens / reference tokens, x * r / lo below lo, and
            x * hi / r above hi;
        ``repetition_penalty`` n: x * (distinct n-grams / n-grams) of the answer's tokens.
    ``preset="robust"`` turns all of them on. ``idf`` and a measured baseline need ``MixedReward.calibrate``.
    """

    preset: Literal["robust"] | None = None
    combine: Literal["mean", "min"] = "mean"
    idf: bool = False
    baseline: float | Literal["measured"] | None = None
    length_penalty: tuple[float, float] | None = None
    repetition_penalty: int | None = Field(default=None, ge=1, le=16)
    max_answer_bytes: int = Field(default=1 << 15, ge=1)

    @property
    def is_calibrated(self) -> bool:
        """Whether scores depend on what ``MixedReward.calibrate`` measured."""
        return self.idf or self.baseline == "measured"

    @model_validator(mode="before")
    @classmethod
    def _fill_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset") == "robust":
            return {**ROBUST, **values}
        return values

    @model_validator(mode="after")
    def _check(self) -> OpenEndedConfig:
        if isinstance(self.baseline, float) and not 0.0 <= self.baseline < 1.0:
            raise ValueError(f"baseline must be in [0, 1) or 'measured', got {self.baseline}")
        if self.length_penalty is not None and not 0 < self.length_penalty[0] <= self.length_penalty[1]:
            raise ValueError(f"length_penalty must be (lo, hi) with 0 < lo <= hi, got {self.length_penalty}")
        return self


class RewardConfig(Config):
    """Settings of ``MixedReward``.

    total = w_task * task + w_format * format; without a format (``format="none"``) its weight goes to the
    task. ``weights`` names columns (matching, chart, math, iou, open_ended, format, or a function of yours)
    and overrides ``task_weight`` and ``format_weight`` there. ``box_frame`` is the frame of *predicted*
    boxes. ``box_score``, P predicted and G gold boxes, matched one to one for the largest sum of IoU:
        continuous   sum of matched IoU / max(P, G)
        threshold    number of matched IoU >= box_threshold / max(P, G)
        giou         sum of max(0, GIoU) of the matched pairs / max(P, G)
        plus_one     as continuous, a box holding the pixels x1..x2 inclusive (width x2 - x1 + 1)
        vlm_r1       VLM-R1's rule on the first predicted and the first gold box: 1 if IoU > 0.5, where an
                     overlap of at most one pixel counts as none
    ``math="math_verify"`` (extra [math]) gives what the exact reader cannot read to math-verify, in processes
    that are killed after ``math_seconds`` an answer. Golds it alone can read are masked without it.
    ``chart_text="anls"`` takes texts with 1 - edit distance / longer length >= 0.5, where both have at most
    256 characters; longer ones must be equal.
    ``think="prefilled"``: the prompt opens the thought, so a completion begins inside it. ``box``: of several
    ``\\boxed{..}`` the ``last`` counts, or none unless all say the same (``only``).
    ``chart_years``: whether a gold 1000 to 2999 without a unit must be met exactly, as a year, or within the
    tolerance; ``auto`` takes it for a quantity where the question asks how many or how much, and names no
    year. ``list_order``: ``ordered`` compares lists in order, ``any`` in any; ``auto`` those of charts in
    order and those of math as sets. ``tasks`` overrides fields by task: ``{"grounding": {"box_score":
    "threshold"}}``. Overrides of ``weights`` and ``open_ended`` change the keys they name and leave the
    others; an ``open_ended`` that names ``preset`` (null: none) starts anew from it.
    """

    format: Literal["think_answer", "answer", "boxed", "think_boxed", "none"] = "think_answer"
    think: Literal["written", "prefilled"] = "written"
    box: Literal["only", "last"] = "only"
    think_tag: str = "think"
    answer_tag: str = "answer"
    task_weight: float = Field(default=0.9, ge=0.0, le=MAX_WEIGHT)
    format_weight: float = Field(default=0.1, ge=0.0, le=MAX_WEIGHT)
    weights: dict[str, float] = Field(default_factory=dict)
    box_frame: Literal["pixels", "norm1000", "norm1", "resized"] = "pixels"
    box_score: BoxScore = "continuous"
    box_threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    chart_score: Literal["relaxed", "graded"] = "relaxed"
    chart_text: Literal["exact", "anls"] = "exact"
    chart_tolerance: float = Field(default=0.05, ge=0.0, lt=1.0)
    chart_years: Literal["auto", "exact", "tolerant"] = "auto"
    list_order: Literal["auto", "ordered", "any"] = "auto"
    math: Literal["native", "math_verify"] = "native"
    math_seconds: float = Field(default=5.0, gt=0.0, le=600.0)
    max_bytes: int = Field(default=1 << 20, ge=1, le=1 << 30)
    max_answer_bytes: int = Field(default=4096, ge=1, le=1 << 30)
    max_items: int = Field(default=64, ge=1, le=1 << 30)
    max_boxes: int = Field(default=256, ge=1, le=1 << 30)
    max_depth: int = Field(default=64, ge=1, le=1 << 30)
    open_ended: OpenEndedConfig = OpenEndedConfig()
    tasks: dict[Task, dict[str, Any]] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _check(self) -> RewardConfig:
        self.verify_settings()
        for name, weight in self.weights.items():
            if not 0 <= weight <= MAX_WEIGHT:
                raise ValueError(f"weights[{name!r}] must be in [0, {MAX_WEIGHT:g}], got {weight}")
        for task in self.tasks:
            self.for_task(task)
        return self

    def verify_settings(self) -> VerifySettings:
        """The part that the ``verify`` op reads."""
        values = {name: getattr(self, name) for name in VerifySettings.__dataclass_fields__}
        if self.chart_years == "auto":  # decided by each row's question
            values["chart_years"] = "exact"
        return VerifySettings(**values)

    def for_task(self, task: Task, overrides: Mapping[str, Any] | None = None) -> RewardConfig:
        """These settings with those of ``tasks[task]``, then ``overrides`` (``Sample.reward``), applied.

        Raises ConfigError for an unknown key or a value out of range.
        """
        config = self
        for changes in (self.tasks.get(task), overrides):
            if changes:
                config = config._changed(changes)
        return config

    def in_format(self, answer: str) -> str:
        """A completion in the answer format whose answer is ``answer``."""
        body = f"<{self.answer_tag}>{answer}</{self.answer_tag}>"
        return {
            "think_answer": f"<{self.think_tag}>-</{self.think_tag}>{body}",
            "answer": body,
            "boxed": f"\\boxed{{{answer}}}",
            "none": answer,
        }[self.format]

    def _changed(self, changes: Mapping[str, Any]) -> RewardConfig:
        """These settings with ``changes``, without ``tasks``; nested blocks merge key by key."""
        if "tasks" in changes:
            raise ValueError("tasks must not be set for one task or one row")
        values = {name: getattr(self, name) for name in type(self).model_fields if name != "tasks"}
        values.update(changes)
        weights, open_ended = changes.get("weights"), changes.get("open_ended")
        if isinstance(weights, Mapping):
            values["weights"] = {**self.weights, **weights}
        if isinstance(open_ended, Mapping) and "preset" not in open_ended:
            known = {name: getattr(self.open_ended, name) for name in OpenEndedConfig.model_fields}
            values["open_ended"] = {**known, **open_ended}
        return type(self).from_mapping(values)

    def column_weights(self, names: tuple[str, ...]) -> dict[str, float]:
        """The weight of each column in ``total``. Raises ConfigError for a weight of none of ``names``."""
        unknown = [name for name in self.weights if name not in names]
        if unknown:
            raise ConfigError(f"weights must name columns of {names}, got {unknown[0]!r}")
        weights = {name: self.weights.get(name, self.task_weight) for name in names}
        weights["format"] = self.weights.get("format", self.format_weight)
        if self.format == "none":
            for name in TASK_COLUMNS:
                weights[name] += weights["format"]
            weights["format"] = 0.0
        return weights


assert set(COLUMN_OF) == set(TASKS) and set(COLUMN_OF.values()) == set(TASK_COLUMNS)
