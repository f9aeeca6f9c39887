"""Everything that decides a training run: a YAML file plus ``key=value`` overrides.

The keys of the file are flat. In the code they come in groups, one class each, so that a part of the trainer
can say which of them it reads. ``TrainConfig`` is all of them together, with the rules between groups.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from mixed_r1.config import Config, ConfigError
from mixed_r1.data.sources.files import data_files
from mixed_r1.data.spec import SourceSpec
from mixed_r1.foreign_names import hints
from mixed_r1.opened import CLIP_BOXES
from mixed_r1.rewards import RewardConfig
from mixed_r1.schema import TASKS
from mixed_r1.tasks import task_of

__all__ = [
    "EvaluationSettings",
    "LossName",
    "ModelSettings",
    "OptimizerSettings",
    "SamplingSettings",
    "TrainConfig",
    "settings_of_run",
]

Beta = Annotated[float, Field(ge=0, lt=1)]
LossName = Literal["grpo", "dapo", "dr_grpo", "gspo", "cispo"]
LINEAR_LAYERS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


class ModelSettings(Config):
    """The model that is trained, and which of its weights are."""

    model: Path  # a Hugging Face directory of a supported family
    dtype: Literal["float32", "bfloat16"] = "float32"
    device: str = "auto"  # auto: cuda where there is one
    system_prompt: str | None = None
    # Run Python code that comes with ``model``? Then ``revision`` names the commit that was read (40 digits).
    trust_remote_code: bool = False
    revision: str | None = None
    # Of an image as the model sees it; None: as the checkpoint says. A tile of InternVL has 448 x 448.
    min_pixels: int | None = Field(None, ge=1)
    max_pixels: int | None = Field(None, ge=1)
    freeze: tuple[Literal["vision", "projector"], ...] = ("vision", "projector")
    gradient_checkpointing: bool = False
    lora_rank: int = Field(0, ge=0)  # 0: train the weights themselves
    lora_alpha: float = Field(32.0, gt=0)  # adapters are scaled by lora_alpha / lora_rank
    lora_targets: tuple[str, ...] = LINEAR_LAYERS  # linear layers of the language model
    lora_vision_targets: tuple[str, ...] = ()  # linear layers of the vision tower and projector; [all]: all

    @model_validator(mode="after")
    def _check_lora(self) -> ModelSettings:
        if self.lora_vision_targets and not self.lora_rank:
            raise ValueError("lora_rank must be at least 1 where lora_vision_targets are given, got 0")
        if self.lora_rank and set(self.freeze) != {"vision", "projector"}:
            raise ValueError(
                f"freeze must be [vision, projector] where lora_rank is above 0, got {list(self.freeze)}"
            )
        return self

    @property
    def frozen_tower(self) -> bool:
        """Whether nothing trains between pixels and image features: then features need no second pass."""
        return {"vision", "projector"} <= set(self.freeze) and not self.lora_vision_targets

    def load_options(self) -> dict[str, Any]:
        """What ``load_adapter`` needs beside the path."""
        names = ("dtype", "system_prompt", "trust_remote_code", "revision", "min_pixels", "max_pixels")
        return {name: getattr(self, name) for name in names}


class DataSettings(Config):
    """The rows of the run, and the order in which they are drawn."""

    data: (
        Path | SourceSpec
    )  # training rows: a file, a folder or a glob, or a source such as {kind: coco, ...}
    validation: Path | SourceSpec | None = None  # held-out rows
    # Of both, where they do not say it themselves: see SourceSpec
    columns: dict[str, str | tuple[str, ...]] = {}  # ours: theirs
    convert: dict[str, str | tuple[str, ...]] = {}
    task: str | None = None  # of every row
    image_folder: Path | None = None  # where relative image paths start; default: beside the file
    clip_boxes: float = Field(CLIP_BOXES, ge=0)  # pixels by which boxes may leave their image
    mixture: Literal["equal", "proportional"] | dict[str, float] = "proportional"  # or a weight per source
    order: Literal["random", "difficulty", "curriculum"] = "random"  # of the rows of a source
    curriculum_spread: float = Field(0.2, ge=0)  # 0: strictly easy to hard; 1: up to half the run off
    max_prompt_tokens: int = Field(8192, ge=1)  # longer prompts are left out and counted

    def source(self, name: Literal["data", "validation"] = "data") -> SourceSpec:
        """What the training or the validation rows are read from, and how."""
        spec = SourceSpec.of(getattr(self, name))
        shared = {key: getattr(self, key) for key in ("columns", "convert", "task", "image_folder")}
        if spec.fields:
            del shared["columns"]
        missing = {key: value for key, value in shared.items() if value and not getattr(spec, key)}
        return spec.model_copy(update=missing)

    def encode_options(self) -> dict[str, Any]:
        """How rows become prompts: for ``ModelAdapter.encode``, in training and in evaluation."""
        return {"max_tokens": self.max_prompt_tokens, "clip_boxes": self.clip_boxes}


class SizeSettings(Config):
    """How long the run is, and how large a step."""

    steps: int = Field(100, ge=1)
    prompts_per_step: int = Field(16, ge=1)
    completions_per_prompt: int = Field(8, ge=1)
    updates_per_rollout: int = Field(1, ge=1)
    max_tokens_per_pack: int = Field(4096, ge=1)  # inputs of one forward pass, padding counted


class EngineSettings(Config):
    """Where the weights are held and updated."""

    engine: Literal["auto", "local", "deepspeed"] = "auto"  # auto: deepspeed where there are several ranks
    zero_stage: Literal[0, 1, 2, 3] = 2
    offload: Literal["none", "cpu"] = "none"  # cpu: optimizer state there (ZeRO-3: weights too)
    rank_timeout: float = Field(600.0, gt=0)  # seconds after which a silent rank ends the run


class RolloutSettings(Config):
    """Who draws completions: our own sampler, a server over HTTP, or vLLM in this process."""

    rollout: Literal["hf", "server", "vllm"] = "hf"
    server_urls: tuple[str, ...] = ()  # of one kind of server, e.g. http://127.0.0.1:8000
    server_kind: Literal["transformers", "transformers_lora", "vllm", "vllm_lora", "sglang"] = "vllm"
    server_model: str | None = None  # the name it serves the model under; default: ``model``
    server_concurrency: int = Field(64, ge=1)  # requests under way at a time
    server_timeout: float = Field(600.0, gt=0)  # seconds a request may take
    server_retries: int = Field(5, ge=0)  # of a request, on the next url, waiting 0.5, 1, 2 ... seconds
    vllm_memory: float = Field(0.4, gt=0, lt=1)  # share of the GPU's memory for vLLM in this process
    importance_cap: float = Field(2.0, ge=1)  # largest importance weight of a token another program drew

    @model_validator(mode="after")
    def _check_servers(self) -> RolloutSettings:
        if self.rollout == "server" and not self.server_urls:
            raise ValueError("server_urls must name at least one server where rollout is 'server', got none")
        return self


class SamplingSettings(Config):
    """How tokens are drawn."""

    max_new_tokens: int = Field(256, ge=1)
    temperature: float = Field(1.0, gt=0)
    top_k: int = Field(0, ge=0)  # 0: off
    top_p: float = Field(1.0, gt=0, le=1)  # 1: off
    min_p: float = Field(0.0, ge=0, lt=1)  # 0: off
    max_rollout_rows: int = Field(256, ge=1)  # rows decoded together


class ObjectiveSettings(Config):
    """What is maximised: rewards, advantages, loss."""

    advantage: Literal["group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema"] = "group"
    loss: LossName = "grpo"
    clip_low: float = Field(0.2, ge=0, lt=1)
    clip_high: float = Field(0.2, ge=0)
    beta: float = Field(0.0, ge=0)  # weight of the KL to the starting model
    # A completion cut at max_new_tokens: score it, leave it out, or punish those that come near the limit
    overlong: Literal["score", "mask", "penalty"] = "score"
    overlong_margin: int = Field(0, ge=0)  # tokens before the limit over which the penalty grows to 1
    redraw_rounds: int = Field(0, ge=0)  # replace groups of equal rewards by new rows, at most so often
    reward: RewardConfig = RewardConfig()
    reward_weights: dict[str, float] | None = None

    @model_validator(mode="after")
    def _check_rewards(self) -> ObjectiveSettings:
        if self.overlong == "penalty" and self.advantage == "maxrl":
            # MaxRL divides by the mean reward, which the penalty can bring to 0.
            raise ValueError("overlong must be 'score' or 'mask' where advantage is 'maxrl', got 'penalty'")
        columns = self.reward.columns()
        for task in (*TASKS, *self.reward.tasks):
            self.reward.for_task(task).column_weights(columns)
        if unknown := set(self.reward_weights or ()) - set(columns):
            raise ValueError(f"reward_weights must name columns of {columns}, got {sorted(unknown)[0]!r}")
        return self


class OptimizerSettings(Config):
    """AdamW and its learning rate."""

    lr: float = Field(1e-6, gt=0)
    vision_lr: float | None = Field(None, gt=0)  # of the tower, where it trains; None: lr
    projector_lr: float | None = Field(None, gt=0)
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"  # after warm-up, down to 0
    warmup_steps: int = Field(0, ge=0)
    weight_decay: float = Field(0.0, ge=0)  # of matrices; norms and biases have none
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    max_grad_norm: float = Field(1.0, gt=0)


class EvaluationSettings(Config):
    """How often the policy is evaluated, and on what."""

    eval_every: int = Field(0, ge=0)  # steps; 0: before and after only
    eval_samples: int = Field(256, ge=1)
    eval_completions: int = Field(4, ge=1)  # sampled per row, beside the greedy one
    eval_train_samples: int = Field(0, ge=0)  # training rows that are evaluated beside the held-out ones


class RecordSettings(Config):
    """What a run writes down, and how often."""

    # Every k-th step the update goes task by task, to record what the tasks' gradients have in common
    task_gradients_every: int = Field(0, ge=0)
    checkpoint_every: int = Field(0, ge=0)  # steps; 0: at the end only
    completions_every: int = Field(10, ge=1)  # write every k-th step's completions to Parquet
    track: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = ()  # beside metrics.jsonl
    track_project: str = "mixed-r1"  # of trackio and wandb


# pydantic takes the fields of the last base first: read upwards, this is the order of config.yaml.
class TrainConfig(
    RecordSettings,
    EvaluationSettings,
    OptimizerSettings,
    ObjectiveSettings,
    SamplingSettings,
    RolloutSettings,
    EngineSettings,
    SizeSettings,
    DataSettings,
    ModelSettings,
):
    """Settings of ``mixed_r1.train.train``. Paths are relative to the working directory."""

    out: Path  # the run directory
    seed: int = 0

    @classmethod
    def _unknown(cls, key: str, value: Any) -> str:
        """The name that another trainer has for a setting leads to ours."""
        found = list(dict.fromkeys(hints(str(key), value)))
        if not found:
            return super()._unknown(key, value)
        return f"key must be a known setting, got {str(key)!r}; {', '.join(found)}"

    @property
    def rollout_tokens(self) -> int:
        """Prompt tokens that one rollout of training may hold at once; evaluation keeps to it."""
        return max(1, self.max_rollout_rows // self.completions_per_prompt) * self.max_prompt_tokens

    @model_validator(mode="after")
    def _check(self) -> TrainConfig:
        for name in ("data", "validation"):
            if getattr(self, name) is not None and (task := self.source(name).task) is not None:
                try:
                    task_of(task)
                except ValueError as error:
                    raise ValueError(f"task {error}") from None
        if self.zero_stage == 0 and (self.dtype == "bfloat16" or self.offload == "cpu"):
            raise ValueError("zero_stage must be at least 1 where dtype is bfloat16 or offload is cpu, got 0")
        if self.completions_per_prompt < 2 and self.advantage != "batch":
            raise ValueError(
                "completions_per_prompt must be at least 2 (a group of one has no advantage), "
                f"got {self.completions_per_prompt}"
            )
        if self.overlong == "penalty" and not 1 <= self.overlong_margin <= self.max_new_tokens:
            rule = "overlong_margin must be in [1, max_new_tokens] where overlong is 'penalty'"
            raise ValueError(f"{rule}, got {self.overlong_margin}")
        if self.server_kind.endswith("_lora") and not self.lora_rank:
            raise ValueError(f"lora_rank must be at least 1 where server_kind is {self.server_kind!r}, got 0")
        if self.lora_vision_targets and self.server_kind in ("vllm_lora", "transformers_lora"):
            rule = "lora_vision_targets must be empty where a server takes adapters (server_kind"
            raise ValueError(f"{rule} {self.server_kind!r}), got {list(self.lora_vision_targets)}")
        return self


def settings_of_run(path: Path, overrides: Iterable[str] = ()) -> TrainConfig:
    """``TrainConfig.load``, and whether model and rows are there: told before anything heavy is imported.

    Raises:
        ConfigError: settings that cannot be used, or that name files which are not there.
    """
    config = TrainConfig.load(path, overrides)
    if not (config.model / "config.json").is_file():
        raise ConfigError(f"model must be a directory with config.json, got {config.model}")
    for name in ("data", "validation"):
        rows = getattr(config, name)
        try:
            if isinstance(rows, Path):
                data_files(rows)
        except ValueError as error:
            raise ConfigError(f"{name} {error}, got {rows}") from None
    return config
