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

    model: Path = Field(examples=["models/Qwen2.5-VL-3B-Instruct"])
    """A Hugging Face directory of a supported family."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Of the weights. bfloat16 needs ``zero_stage`` 1 or more where the optimizer is to keep float32."""
    device: str = Field("auto", examples=["cuda:1"])
    """Where the model runs; auto: cuda where there is one."""
    system_prompt: str | None = Field(None, examples=["Think first, then answer."])
    """Text before every prompt; none: what the rows and the chat template say."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model? Then ``revision`` names the commit that was read."""
    revision: str | None = Field(None, examples=["0123456789abcdef0123456789abcdef01234567"])
    """Commit of the model's code, 40 hexadecimal digits."""
    min_pixels: int | None = Field(None, ge=1, examples=[3136])
    """Least pixels of an image as the model sees it; none: as the checkpoint says."""
    max_pixels: int | None = Field(None, ge=1, examples=[401408])
    """Most pixels of an image as the model sees it; larger ones are scaled down."""
    freeze: tuple[Literal["vision", "projector"], ...] = Field(("vision", "projector"), examples=["[vision]"])
    """Parts that do not train: the vision tower, the projector."""
    gradient_checkpointing: bool = False
    """Compute activations anew in the backward pass: less memory, about a third more time."""
    lora_rank: int = Field(0, ge=0, examples=[64])
    """Rank of adapters that train in place of the weights; 0: the weights themselves train."""
    lora_alpha: float = Field(32.0, gt=0)
    """Adapters are scaled by lora_alpha / lora_rank."""
    lora_targets: tuple[str, ...] = Field(LINEAR_LAYERS, examples=["[q_proj, v_proj]"])
    """Linear layers of the language model that get adapters."""
    lora_vision_targets: tuple[str, ...] = Field((), examples=["[all]"])
    """Linear layers of the vision tower and the projector that get adapters; [all]: every one."""

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

    data: Path | SourceSpec = Field(examples=["rows/train.jsonl"])
    """Training rows: a file, a folder or a glob, or a source such as {kind: coco, annotations: x.json}."""
    validation: Path | SourceSpec | None = Field(None, examples=["rows/test.jsonl"])
    """Held-out rows, given as ``data`` is; none: nothing is evaluated."""
    columns: dict[str, str | tuple[str, ...]] = Field({}, examples=["{answer: label, images: picture}"])
    """Which column of the files each field of a row is, ours: theirs. This and the next three are for
    data and validation both, where they do not say it themselves.
    """
    convert: dict[str, str | tuple[str, ...]] = Field({}, examples=["{answer: index_to_letter}"])
    """What is done to a field after it is read: names of conversions."""
    task: str | None = Field(None, examples=["short_answer"])
    """The task of every row."""
    image_folder: Path | None = Field(None, examples=["rows/images"])
    """Where relative image paths start; none: beside the file that names them."""
    clip_boxes: float = Field(CLIP_BOXES, ge=0)
    """Pixels by which gold boxes may leave their image; they are cut at its edges."""
    mixture: Literal["equal", "proportional"] | dict[str, float] = "proportional"
    """Shares of the sources in a step: equal, as their rows are many, or a weight per source."""
    order: Literal["random", "difficulty", "curriculum"] = "random"
    """Order of the rows of a source: random, easy to hard, or easy to hard with ``curriculum_spread``."""
    curriculum_spread: float = Field(0.2, ge=0)
    """How far rows may stray from easy to hard: 0 is strict; at 1, up to half the run."""
    max_prompt_tokens: int = Field(8192, ge=1)
    """Longer prompts, image tokens included, are left out and counted."""

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
    """Steps of the run; each draws completions, scores them and updates the weights."""
    prompts_per_step: int = Field(16, ge=1)
    """Prompts of a step, of all ranks together."""
    completions_per_prompt: int = Field(8, ge=1)
    """Completions of a prompt: the group whose rewards are compared. At least 2, but for advantage=batch."""
    updates_per_rollout: int = Field(1, ge=1)
    """Optimizer steps on the completions of one step, which are split into so many parts."""
    max_tokens_per_pack: int = Field(4096, ge=1)
    """Tokens of one forward pass, padding counted: what memory allows."""


class EngineSettings(Config):
    """Where the weights are held and updated."""

    engine: Literal["auto", "local", "deepspeed"] = "auto"
    """auto: deepspeed where there are several ranks."""
    zero_stage: Literal[0, 1, 2, 3] = 2
    """What DeepSpeed spreads over the ranks: 1 optimizer state, 2 gradients too, 3 weights too."""
    offload: Literal["none", "cpu"] = "none"
    """cpu: the optimizer's state is kept in the machine's memory (with ZeRO-3 the weights too)."""
    rank_timeout: float = Field(600.0, gt=0)
    """Seconds after which a silent rank ends the run."""


class RolloutSettings(Config):
    """Who draws completions: our own sampler, a server over HTTP, or vLLM in this process."""

    rollout: Literal["hf", "server", "vllm"] = "hf"
    """Who draws completions: hf, the sampler of this package; servers over HTTP; vLLM in this process."""
    server_urls: tuple[str, ...] = Field((), examples=["[http://127.0.0.1:8000]"])
    """Servers of one kind, which share the requests."""
    server_kind: Literal["transformers", "transformers_lora", "vllm", "vllm_lora", "sglang"] = "vllm"
    """What the servers are; _lora: they take the adapters instead of whole weights."""
    server_model: str | None = Field(None, examples=["policy"])
    """The name under which they serve the model; none: ``model``."""
    server_concurrency: int = Field(64, ge=1)
    """Requests that are under way at a time."""
    server_timeout: float = Field(600.0, gt=0)
    """Seconds that a request may take."""
    server_retries: int = Field(5, ge=0)
    """How often a request is tried again, on the next server, after 0.5, 1, 2 ... seconds."""
    vllm_memory: float = Field(0.4, gt=0, lt=1)
    """Share of the GPU's memory for vLLM in this process."""
    importance_cap: float = Field(2.0, ge=1)
    """Largest importance weight of a token that another program drew."""

    @model_validator(mode="after")
    def _check_servers(self) -> RolloutSettings:
        if self.rollout == "server" and not self.server_urls:
            raise ValueError("server_urls must name at least one server where rollout is 'server', got none")
        return self


class SamplingSettings(Config):
    """How tokens are drawn."""

    max_new_tokens: int = Field(256, ge=1)
    """Tokens of a completion at most."""
    temperature: float = Field(1.0, gt=0)
    """Logits are divided by it before a token is drawn: above 1 for more variety."""
    top_k: int = Field(0, ge=0, examples=[50])
    """Draw from the k likeliest tokens; 0: from all."""
    top_p: float = Field(1.0, gt=0, le=1, examples=[0.95])
    """Draw from the likeliest tokens that together have this probability; 1: from all."""
    min_p: float = Field(0.0, ge=0, lt=1, examples=[0.05])
    """Draw from tokens at least this probable, relative to the likeliest; 0: from all."""
    max_rollout_rows: int = Field(256, ge=1)
    """Completions that are decoded together: what memory allows."""


class ObjectiveSettings(Config):
    """What is maximised: rewards, advantages, loss."""

    advantage: Literal["group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema"] = "group"
    """How rewards of a group become advantages; group: (reward - mean) / standard deviation."""
    loss: LossName = "grpo"
    """How token losses are weighted and clipped."""
    clip_low: float = Field(0.2, ge=0, lt=1)
    """Probability ratios below 1 - clip_low are clipped."""
    clip_high: float = Field(0.2, ge=0)
    """Probability ratios above 1 + clip_high are clipped."""
    beta: float = Field(0.0, ge=0, examples=[0.01])
    """Weight of the KL divergence to the starting model; 0: no second model is held."""
    overlong: Literal["score", "mask", "penalty"] = "score"
    """A completion cut at max_new_tokens: score it, leave it out, or punish those near the limit."""
    overlong_margin: int = Field(0, ge=0, examples=[64])
    """Tokens before the limit over which the penalty grows to 1."""
    redraw_rounds: int = Field(0, ge=0, examples=[2])
    """How often groups of equal rewards are replaced by those of new rows."""
    reward: RewardConfig = Field(RewardConfig(), examples=["{format: answer}"])
    """Settings of the reward, one below the other: ``reward.format``, ``reward.box_score`` ..."""
    reward_weights: dict[str, float] | None = Field(None, examples=["{matching: 1, format: 0.2}"])
    """Weights of reward columns in the total, over those of ``reward``."""

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
    """Learning rate of AdamW; with adapters some 10 times that of full weights."""
    vision_lr: float | None = Field(None, gt=0, examples=[2e-7])
    """Learning rate of the vision tower, where it trains; none: lr."""
    projector_lr: float | None = Field(None, gt=0, examples=[1e-6])
    """Learning rate of the projector, where it trains; none: lr."""
    lr_schedule: Literal["constant", "linear", "cosine"] = "constant"
    """The learning rate after warm-up: constant, or down to 0 at the last step."""
    warmup_steps: int = Field(0, ge=0, examples=[10])
    """Steps over which the learning rate rises from 0."""
    weight_decay: float = Field(0.0, ge=0, examples=[0.01])
    """Of matrices; norms and biases have none."""
    betas: tuple[Beta, Beta] = (0.9, 0.95)
    """Decay of AdamW's running means of the gradient and of its square."""
    max_grad_norm: float = Field(1.0, gt=0)
    """Longer gradients are scaled down to this norm."""


class EvaluationSettings(Config):
    """How often the policy is evaluated, and on what."""

    eval_every: int = Field(0, ge=0, examples=[50])
    """Steps between evaluations; 0: before and after the run only."""
    eval_samples: int = Field(256, ge=1)
    """Held-out rows that an evaluation answers, at most."""
    eval_completions: int = Field(4, ge=1)
    """Completions sampled per row, beside the greedy one."""
    eval_train_samples: int = Field(0, ge=0, examples=[256])
    """Training rows that are evaluated beside the held-out ones; 0: none."""


class RecordSettings(Config):
    """What a run writes down, and how often."""

    task_gradients_every: int = Field(0, ge=0, examples=[10])
    """Every k-th step goes task by task, to record what the tasks' gradients have in common; 0: never."""
    checkpoint_every: int = Field(0, ge=0, examples=[50])
    """Steps between checkpoints; 0: one at the end."""
    completions_every: int = Field(10, ge=1)
    """Every k-th step's completions are written to Parquet."""
    track: tuple[Literal["tensorboard", "trackio", "wandb"], ...] = Field((), examples=["[tensorboard]"])
    """Where metrics go beside metrics.jsonl."""
    track_project: str = "mixed-r1"
    """The project's name in trackio and wandb."""


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

    out: Path = Field(examples=["runs/a"])
    """The run directory; it must be new, or hold the run that ``--resume`` goes on with."""
    seed: int = 0
    """Of sampling, of the order of rows and of new weights."""

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
