"""Settings of Mixed-Reward. Every field can also be set for one task or for one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias

from pydantic import Field, field_validator, model_validator

from mixed_r1.config import Config, ConfigError
from mixed_r1.frames import PredictedFrame
from mixed_r1.loading import load_object
from mixed_r1.tasks import BUILT_IN, TASK_COLUMNS, Task, TaskName, load_tasks
from mixed_r1_kernels.verify import VerifySettings
from mixed_r1_kernels.verify.settings import Think

__all__ = ["TASK_COLUMNS", "BoxScore", "OpenEndedConfig", "RewardConfig", "column_names"]

BoxScore: TypeAlias = Literal["continuous", "threshold", "giou", "plus_one", "vlm_r1", "point_in_box"]
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
    """robust: all of the following at once."""
    combine: Literal["mean", "min"] = "mean"
    """mean or min of precision and recall."""
    idf: bool = False
    """Weigh each token by how few references hold it."""
    baseline: float | Literal["measured"] | None = Field(None, examples=["measured"])
    """What unrelated texts score, taken off; measured: on pairs of references."""
    length_penalty: tuple[float, float] | None = Field(None, examples=["[0.5, 2.0]"])
    """Lengths, relative to the reference, within which nothing is taken off."""
    repetition_penalty: int | None = Field(default=None, ge=1, le=16, examples=[2])
    """n of the n-grams whose distinct share multiplies the score."""
    max_answer_bytes: int = Field(default=1 << 15, ge=1)
    """Longer answers are not scored."""

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


# What decides which code runs is a setting of all rows: no row, and no data set, may name it.
WHOLE_ONLY = ("tasks", "custom_tasks", "functions")


class RewardConfig(Config):
    """Settings of ``MixedReward``.

    total = w_task * task + w_format * format; without a format (``format="none"``) its weight goes to the
    task. ``weights`` names columns (matching, chart, math, iou, open_ended, format, a task or a function of
    yours) and overrides ``task_weight`` and ``format_weight`` there. ``custom_tasks`` names tasks of your
    own, ``package.module:ClassName``, and ``functions`` rewards of your own by column, ``{"brevity":
    "package.module:function"}``: both import that module. ``box_frame`` is the frame of *predicted* boxes;
    None is ``pixels``, and in training the frame that the model speaks. ``box_score``, P predicted and G gold
    boxes, matched one to one for the largest sum of IoU:
        continuous   sum of matched IoU / max(P, G)
        threshold    number of matched IoU >= box_threshold / max(P, G)
        giou         sum of max(0, GIoU) of the matched pairs / max(P, G)
        plus_one     as continuous, a box holding the pixels x1..x2 inclusive (width x2 - x1 + 1)
        vlm_r1       the rule of VLM-R1's first release on the first predicted and the first gold box: 1 if
                     IoU > 0.5, where an overlap of at most one pixel counts as none. Its present code pays
                     the IoU itself: that is ``continuous``, but for the pixel
        point_in_box 1 where the one point that the answer names lies in a gold box, its edges included; a
                     box stands for its centre, and more than one place is AMBIGUOUS (clicks on a screen)
    ``math="math_verify"`` (extra [math]) gives what the exact reader cannot read to math-verify, in processes
    that are killed after ``math_seconds`` an answer. Golds it alone can read are masked without it.
    ``chart_text="anls"`` takes texts with 1 - edit distance / longer length >= 0.5, where both have at most
    256 characters; longer ones must be equal.
    ``think="prefilled"``: the prompt opens the thought, so a completion begins inside it; None is
    ``written``, and in training what the model's chat template does. ``box``: of several
    ``\\boxed{..}`` the ``last`` counts, or none unless all say the same (``only``).
    ``chart_years``: whether a gold 1000 to 2999 without a unit must be met exactly, as a year, or within the
    tolerance; ``auto`` takes it for a quantity where the question asks how many or how much, and names no
    year. ``list_order``: ``ordered`` compares lists in order, ``any`` in any; ``auto`` those of charts in
    order and those of math as sets. ``tasks`` overrides fields by task: ``{"grounding": {"box_score":
    "threshold"}}``. Overrides of ``weights`` and ``open_ended`` change the keys they name and leave the
    others; an ``open_ended`` that names ``preset`` (null: none) starts anew from it.
    """

    format: Literal["think_answer", "answer", "boxed", "think_boxed", "none"] = "think_answer"
    """What a completion must look like."""
    think: Think | None = Field(None, examples=["prefilled"])
    """Whether the completion or the prompt opens the thought; none: as the chat template has it."""
    box: Literal["only", "last"] = "only"
    """Of several boxed answers the last counts, or none unless all say the same."""
    think_tag: str = "think"
    """Name of the tag around the thought."""
    answer_tag: str = "answer"
    """Name of the tag around the answer."""
    task_weight: float = Field(default=0.9, ge=0.0, le=MAX_WEIGHT)
    """Weight of the task's column in the total."""
    format_weight: float = Field(default=0.1, ge=0.0, le=MAX_WEIGHT)
    """Weight of the format in the total."""
    weights: dict[str, float] = Field(default_factory=dict, examples=["{iou: 1.0, format: 0.05}"])
    """Weights of columns, where they are others."""
    box_frame: PredictedFrame | None = Field(None, examples=["norm1000"])
    """Coordinates of predicted boxes; none: the model's, and pixels outside of training."""
    box_score: BoxScore = Field("continuous", examples=["giou"])
    """How matched boxes are scored."""
    box_threshold: float = Field(default=0.5, gt=0.0, le=1.0)
    """IoU from which a box is right, for box_score=threshold."""
    chart_score: Literal["relaxed", "graded"] = "relaxed"
    """relaxed: right within the tolerance; graded: less, the farther off."""
    chart_text: Literal["exact", "anls"] = "exact"
    """exact texts, or a normalised edit similarity of at least 0.5."""
    chart_tolerance: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Relative error of a number that is still right."""
    chart_years: Literal["auto", "exact", "tolerant"] = "auto"
    """Whether golds of 1000 to 2999 must be met exactly; auto: as the question suggests."""
    list_order: Literal["auto", "ordered", "any"] = "auto"
    """Whether the order of lists counts; auto: in charts it does, in math it does not."""
    math: Literal["native", "math_verify"] = "native"
    """Who reads math: the exact reader, or math-verify for what that cannot read."""
    math_seconds: float = Field(default=5.0, gt=0.0, le=600.0)
    """Seconds after which math-verify is stopped."""
    max_bytes: int = Field(default=1 << 20, ge=1, le=1 << 30)
    """Longer completions score 0."""
    max_answer_bytes: int = Field(default=4096, ge=1, le=1 << 30)
    """Longer answers score 0, but for open-ended ones."""
    max_items: int = Field(default=64, ge=1, le=1 << 30)
    """Most items of a list."""
    max_boxes: int = Field(default=256, ge=1, le=1 << 30)
    """Most boxes of an answer."""
    max_depth: int = Field(default=64, ge=1, le=1 << 30)
    """Deepest nesting of brackets."""
    open_ended: OpenEndedConfig = Field(OpenEndedConfig(), examples=["{preset: robust}"])
    """How BMAS becomes the reward of open-ended answers."""
    custom_tasks: tuple[str, ...] = Field((), examples=["[my_tasks:Counting]"])
    """Tasks of your own, package.module:ClassName."""
    functions: dict[str, str] = Field(default_factory=dict, examples=["{brevity: my_rewards:brevity}"])
    """Rewards of your own, a column each."""
    tasks: dict[TaskName, dict[str, Any]] = Field(
        default_factory=dict, examples=["{grounding: {box_score: threshold}}"]
    )
    """Settings that differ for one task."""

    @field_validator("custom_tasks")
    @classmethod
    def _register(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        load_tasks(names)
        return names

    @model_validator(mode="after")
    def _check(self) -> RewardConfig:
        self.verify_settings()
        for column, name in self.functions.items():
            if not callable(load_object(name, what=f"functions.{column}")):
                raise ValueError(f"functions.{column} must name a function, got {name!r}")
        for name, weight in self.weights.items():
            if not 0 <= weight <= MAX_WEIGHT:
                raise ValueError(f"weights[{name!r}] must be in [0, {MAX_WEIGHT:g}], got {weight}")
        for task in self.tasks:
            self.for_task(task)
        return self

    def verify_settings(self) -> VerifySettings:
        """The part that the ``verify`` op reads."""
        fields = [name for name in VerifySettings.__dataclass_fields__ if name != "places"]
        values = {name: getattr(self, name) for name in fields}
        values["think"] = self.think or "written"
        values["places"] = "point" if self.box_score == "point_in_box" else "boxes"
        if self.chart_years == "auto":  # decided by each row's question
            values["chart_years"] = "exact"
        return VerifySettings(**values)

    @property
    def frame(self) -> PredictedFrame:
        """The frame of predicted boxes."""
        return self.box_frame or "pixels"

    def for_model(self, frame: PredictedFrame, think: Think = "written") -> RewardConfig:
        """These settings for a model that writes boxes in ``frame``, and whose prompts open the thought
        (``prefilled``) or not. Raises ConfigError where others are set.
        """
        if self.box_frame not in (None, frame):
            raise ConfigError(
                f"reward.box_frame must be {frame}, which the model speaks, or left out, "
                f"got {self.box_frame}; for answers in another frame set reward.tasks.grounding.box_frame"
            )
        if self.think not in (None, think):
            does = "opens" if think == "prefilled" else "does not open"
            raise ConfigError(
                f"reward.think must be {think}, as the model's chat template {does} <{self.think_tag}>, or "
                f"left out, got {self.think}"
            )
        return self.model_copy(update={"box_frame": frame, "think": think})

    def own_tasks(self) -> list[Task]:
        """The tasks that ``custom_tasks`` names."""
        return load_tasks(self.custom_tasks)

    def columns(self) -> tuple[str, ...]:
        """The columns of a MixedReward of these settings."""
        return column_names(self.own_tasks(), tuple(self.functions))

    def for_task(self, task: str, overrides: Mapping[str, Any] | None = None) -> RewardConfig:
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
        opened = "" if self.think == "prefilled" else f"<{self.think_tag}>"
        thought = f"{opened}-</{self.think_tag}>"
        body, box = f"<{self.answer_tag}>{answer}</{self.answer_tag}>", f"\\boxed{{{answer}}}"
        if self.format in ("think_answer", "think_boxed"):
            return thought + (body if self.format == "think_answer" else box)
        return {"answer": body, "boxed": box, "none": answer}[self.format]

    def _changed(self, changes: Mapping[str, Any]) -> RewardConfig:
        """These settings with ``changes``, without ``tasks``; nested blocks merge key by key."""
        for name in WHOLE_ONLY:
            if name in changes:
                raise ValueError(f"{name} must not be set for one task or one row")
        values = {name: getattr(self, name) for name in type(self).model_fields if name not in WHOLE_ONLY}
        values.update(changes)
        weights, open_ended = changes.get("weights"), changes.get("open_ended")
        if isinstance(weights, Mapping):
            values["weights"] = {**self.weights, **weights}
        if isinstance(open_ended, Mapping) and "preset" not in open_ended:
            known = {name: getattr(self.open_ended, name) for name in OpenEndedConfig.model_fields}
            values["open_ended"] = {**known, **open_ended}
        return type(self).from_mapping(values)

    def column_weights(
        self, names: Sequence[str], task_columns: Sequence[str] = TASK_COLUMNS
    ) -> dict[str, float]:
        """The weight of each column in ``total``. Raises ConfigError for a weight of none of ``names``.

        ``task_columns`` are those of ``names`` that a task fills: they take the weight of a format that is
        none.
        """
        unknown = [name for name in self.weights if name not in names]
        if unknown:
            raise ConfigError(f"weights must name columns of {tuple(names)}, got {unknown[0]!r}")
        weights = {name: self.weights.get(name, self.task_weight) for name in names}
        weights["format"] = self.weights.get("format", self.format_weight)
        if self.format == "none":
            for name in task_columns:
                weights[name] += weights["format"]
            weights["format"] = 0.0
        return weights


def column_names(tasks: Sequence[Task], functions: Sequence[str] = ()) -> tuple[str, ...]:
    """The columns of the built-in tasks, of ``tasks``, of ``functions``, and ``format``.

    Raises:
        ConfigError: a function with the name of another column.
    """
    of_tasks = tuple(dict.fromkeys(task.column for task in (*BUILT_IN, *tasks)))
    for name in functions:
        if name in of_tasks or name == "format":
            raise ConfigError(f"functions must have names of their own, got {name!r}")
    return (*of_tasks, *functions, "format")
