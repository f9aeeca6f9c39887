"""What a run would do and need, before a weight is loaded: tokens, packs, what is trainable, memory.

Parameters are counted exactly, on a model without storage. Memory is an estimate for one rank, in bytes:

- weights of every parameter (ZeRO-3: 1 / ranks of them, all of them while sampling), and of the reference;
- gradients, optimizer state (two moments; float32 copies behind bfloat16 weights), cut by ZeRO and offload;
- activations of one pack of T tokens: per layer the tensors that backward keeps, about 10 d + 2 k + 4 m
  values a token (d hidden, k keys and values, m feed-forward), or d with gradient checkpointing plus one
  layer's whole;
- logits: at most three float32 blocks of 2^21 (the log-probs never hold T x V), hidden states of T tokens;
- cache of the sampler: rows x (prompt + completion) x layers x 2 x k values.

Training and sampling alternate, so the need is the larger of the two, plus what both hold. Allocator slack,
CUDA's context (about 0.5 GiB) and the dense masks of CPU runs come on top.

The plan is an upper bound. ``first_step`` encodes and packs the rows that the run would begin with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from mixed_r1.config import ConfigError
from mixed_r1.data.stats import commonest_golds
from mixed_r1.models import ModelAdapter, Prompt, load_adapter
from mixed_r1.models.load import FAMILIES
from mixed_r1.models.packing import PackItem, partition
from mixed_r1.models.template import check_template
from mixed_r1.schema import Sample
from mixed_r1.train.collect import open_mixture
from mixed_r1.train.rows import RunRows
from mixed_r1.train.scoring import effective_config
from mixed_r1.train_config import TrainConfig

__all__ = ["FirstStep", "Plan", "first_step", "plan"]

GIB = 2**30
SHOWN = 3  # rows that cannot be used of which a plan says why


@dataclass(frozen=True)
class Plan:
    """What one rank needs, where nothing else is said.

    Counts of tokens and packs are those of the largest possible step: prompts of ``max_prompt_tokens``,
    completions of ``max_new_tokens``, no group left out.
    """

    family: str
    ranks: int
    parameters: dict[str, int]  # vision, projector, language, adapters
    trainable: dict[str, int]
    completions_per_step: int  # of all ranks
    sampled_tokens_per_step: int  # of all ranks
    trained_tokens_per_step: int  # inputs of the training forward pass, of all ranks
    packs_per_step: int
    memory: dict[str, float]  # GiB by part
    training_gib: float
    sampling_gib: float
    cpu_gib: float  # offloaded to the host

    @property
    def peak_gib(self) -> float:
        return max(self.training_gib, self.sampling_gib)

    def lines(self) -> list[str]:
        """For a terminal."""
        parts = ", ".join(f"{name} {_millions(n)}" for name, n in self.parameters.items() if n)
        trained = ", ".join(f"{name} {_millions(n)}" for name, n in self.trainable.items() if n)
        memory = ", ".join(f"{name} {value:.1f}" for name, value in self.memory.items() if value >= 0.05)
        host = f"; {self.cpu_gib:.1f} GiB of host memory" if self.cpu_gib else ""
        return [
            f"model       {self.family}: {parts}",
            f"trainable   {trained}",
            f"a step      {self.completions_per_step} completions on {self.ranks} "
            f"rank{'s' * (self.ranks > 1)}, at most "
            f"{self.sampled_tokens_per_step:,} sampled and {self.trained_tokens_per_step:,} trained tokens",
            f"packs       at most {self.packs_per_step} a rank",
            f"memory      {self.peak_gib:.1f} GiB a rank (training {self.training_gib:.1f}, "
            f"sampling {self.sampling_gib:.1f}){host}",
            *([f"of which    {memory} GiB"] if memory else []),
        ]


def plan(config: TrainConfig, *, ranks: int = 1, model_config: Any = None) -> Plan:
    """The plan of ``config`` on ``ranks`` GPUs. ``model_config`` is the model's where it is not on disk.

    Raises:
        ConfigError: an unsupported family, or fewer prompts a step than ranks.
    """
    if not 1 <= ranks <= config.prompts_per_step:
        raise ConfigError(f"ranks must be in [1, prompts_per_step = {config.prompts_per_step}], got {ranks}")
    if model_config is None:
        config = effective_config(config)
    settings = model_config or AutoConfig.from_pretrained(str(config.model), trust_remote_code=False)
    if settings.model_type not in FAMILIES:
        raise ConfigError(f"model must be one of {sorted(FAMILIES)}, got {settings.model_type!r}")
    parameters, adapters = _count(settings, config)
    frozen = set(parameters) if config.lora_rank else set(config.freeze)
    trainable = {name: 0 if name in frozen else n for name, n in parameters.items()} | {"adapters": adapters}
    parameters |= {"adapters": adapters}
    prompts = -(-config.prompts_per_step // ranks)
    longest = config.max_prompt_tokens + config.max_new_tokens
    G = config.completions_per_prompt
    group = config.max_prompt_tokens + G * (config.max_new_tokens - 1)
    pack = min(prompts * group, max(config.max_tokens_per_pack, longest))
    ids = torch.zeros(config.max_prompt_tokens, dtype=torch.int64)
    longest_prompt = Prompt(ids, ids[None], next_position=len(ids), pixel_inputs={})
    packs, tokens = _packs(config, [longest_prompt] * config.prompts_per_step, ranks)
    memory, host = _state_memory(config, ranks, sum(parameters.values()), sum(trainable.values()))
    memory["activations"] = _activations(settings, config, pack)
    text = settings.get_text_config()
    memory["logits"] = (3 * 4 * 2**21 + 2 * pack * text.hidden_size * _width(config)) / GIB
    rows = min(prompts, max(1, config.max_rollout_rows // G)) * G
    cached = 2 * text.num_hidden_layers * _keys(text) * longest * rows * _width(config) / GIB
    memory["cache"] = cached if config.rollout == "hf" else 0.0
    kept = memory["weights"] + memory["reference"] + memory["optimizer"]
    gathered = sum(parameters.values()) * _width(config) / GIB - memory["weights"]
    return Plan(
        family=settings.model_type,
        ranks=ranks,
        parameters=parameters,
        trainable=trainable,
        completions_per_step=config.prompts_per_step * G,
        sampled_tokens_per_step=config.prompts_per_step * G * config.max_new_tokens,
        trained_tokens_per_step=tokens,
        packs_per_step=packs,
        memory=memory,
        training_gib=kept + memory["gradients"] + memory["activations"] + memory["logits"],
        sampling_gib=kept + (gathered if config.rollout != "server" else 0.0) + memory["cache"],
        cpu_gib=host,
    )


def _packs(config: TrainConfig, prompts: Sequence[Prompt], ranks: int) -> tuple[int, int]:
    """Packs of the rank that has most, and inputs of all: whole groups of the longest completions."""
    G = config.completions_per_prompt
    completion = torch.zeros(config.max_new_tokens, dtype=torch.int64)
    items = [PackItem(prompt, (completion,) * G, tuple(range(G))) for prompt in prompts]
    on_gpu = torch.cuda.is_available() if config.device == "auto" else config.device.startswith("cuda")
    layout = "flex" if on_gpu else "dense"
    parts = [
        partition(items[r::ranks], max_tokens=config.max_tokens_per_pack, layout=layout) for r in range(ranks)
    ]
    return max(len(part) for part in parts), sum(
        len(piece) for part in parts for pack in part for piece in pack
    )


@dataclass(frozen=True)
class FirstStep:
    """The rows a run begins with, each completion ``max_new_tokens`` long, no group left out."""

    tasks: dict[str, int]  # rows of each task
    skipped: int  # rows that cannot be encoded, or are too long; others come in their place
    prompt_tokens: tuple[int, ...]
    image_tokens: int  # of all prompts
    trained_tokens: int
    packs: int  # of the rank that has the most
    constants: dict[str, tuple[str, float]]  # by task, the commonest gold of all rows and its share
    notes: list[str]  # rows and columns that are left out, and what is evaluated

    def lines(self) -> list[str]:
        """For a terminal."""
        constants = ", ".join(
            f"{task} {gold!r} {share:.0%}" for task, (gold, share) in self.constants.items()
        )
        lengths = self.prompt_tokens
        tasks = ", ".join(f"{count} {task}" for task, count in sorted(self.tasks.items()))
        skipped = f"; {self.skipped} rows cannot be used" if self.skipped else ""
        return [
            f"first step  {len(lengths)} rows ({tasks}){skipped}",
            f"prompts     {min(lengths)} to {max(lengths)} tokens, {sum(lengths):,} in all, "
            f"{self.image_tokens:,} of images",
            f"packs       at most {self.packs} a rank, {self.trained_tokens:,} trained tokens",
            *([f"constants   the commonest gold earns {constants}"] if constants else []),
            *(f"note        {note}" for note in self.notes),
        ]


def first_step(config: TrainConfig, *, ranks: int = 1) -> FirstStep:
    """Read the data, draw the rows of the first step, encode and pack them. No weight is loaded.

    Raises:
        DataError, ConfigError: no row can be used, or the rows do not fit ``mixture`` and ``order``, or the
            model's chat template does not show what they say.
    """
    adapter = load_adapter(config.model, weights=False, **config.load_options())
    rows = RunRows(config)
    samples = rows.train
    check_template(adapter.tokenizer, [*samples, *rows.evaluation.validation], config.system_prompt)
    mixture = open_mixture(config, samples)
    prompts: list[Prompt] = []
    tasks: Counter[str] = Counter()
    skipped: dict[str, str] = {}
    drawn = bad = 0  # rows in all, and unusable rows since the last good one
    while len(prompts) < config.prompts_per_step and bad <= 2 * max(len(samples), config.prompts_per_step):
        sample = samples[mixture.next(1)[0]]
        drawn += 1
        bad += 1
        try:
            prompts.append(adapter.encode(sample, **config.encode_options()))
        except ValueError as error:
            skipped[sample.id] = str(error)
            continue
        bad = 0
        tasks[sample.task] += 1
    if len(prompts) < config.prompts_per_step:
        name, problem = next(iter(skipped.items()))
        bad_ones = f"got {drawn - len(prompts)} bad ones; {name}: {problem}"
        raise ConfigError(f"data must hold rows that can be encoded, {bad_ones}")
    packs, tokens = _packs(config, prompts, ranks)
    return FirstStep(
        tasks=dict(tasks),
        skipped=drawn - len(prompts),
        prompt_tokens=tuple(len(prompt) for prompt in prompts),
        image_tokens=sum(prompt.num_image_tokens for prompt in prompts),
        trained_tokens=tokens,
        packs=packs,
        constants=commonest_golds(samples),
        notes=[
            *rows.messages,
            *(f"row {name} cannot be used: {problem}" for name, problem in list(skipped.items())[:SHOWN]),
            *_validation_notes(config, adapter, rows.evaluation.validation),
            *filter(None, [rows.evaluation.line()]),
        ],
    )


def _validation_notes(config: TrainConfig, adapter: ModelAdapter, rows: Sequence[Sample]) -> list[str]:
    """The rows among those to evaluate that cannot be asked."""
    notes = []
    for sample in rows:
        try:
            adapter.encode(sample, **config.encode_options())
        except ValueError as error:
            notes.append(f"validation row {sample.id} cannot be used: {error}")
    more = len(notes) - SHOWN
    return notes[:SHOWN] + ([f"and {more:,} more validation rows"] if more > 0 else [])


def _count(settings: Any, config: TrainConfig) -> tuple[dict[str, int], int]:
    """Parameters by part, and those of the LoRA adapters."""
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(settings, dtype=torch.bfloat16)
    family = FAMILIES[settings.model_type]
    adapter = family.__new__(family)  # only what its parameter lists need
    adapter.core = model.model
    counts = {
        "vision": sum(p.numel() for p in adapter.vision_parameters()),
        "projector": sum(p.numel() for p in adapter.projector_parameters()),
    }
    model.tie_weights()
    counts["language"] = sum(p.numel() for p in model.parameters()) - sum(counts.values())
    linear = []
    for parts, names in (
        (("language_model",), config.lora_targets),
        (family.tower, config.lora_vision_targets),
    ):
        linear += [
            module
            for part in parts
            for path, module in model.model.get_submodule(part).named_modules()
            if isinstance(module, torch.nn.Linear) and (path.rpartition(".")[2] in names or "all" in names)
        ]
    return counts, config.lora_rank * sum(m.in_features + m.out_features for m in linear)


def _state_memory(
    config: TrainConfig, ranks: int, parameters: int, trained: int
) -> tuple[dict[str, float], float]:
    """GiB of weights, reference, gradients and optimizer state on a rank, and of what is on the host."""
    deepspeed = config.engine == "deepspeed" or (config.engine == "auto" and ranks > 1)
    stage = config.zero_stage if deepspeed else 0
    width = _width(config)
    masters = 4 if width == 2 else 0
    optimizer = (8 + masters) * trained / (ranks if stage >= 1 else 1)
    offloaded = deepspeed and config.offload == "cpu"
    # Packs add up in float32; LocalEngine holds a pack's bfloat16 gradients beside the sum.
    gradients = (4 if deepspeed or width == 4 else 6) * trained / (ranks if stage >= 2 else 1)
    weights = width * parameters / (ranks if stage == 3 else 1)
    reference = width * parameters if config.beta > 0 and not config.lora_rank else 0
    host = optimizer + (weights if stage == 3 else 0.0) if offloaded else 0.0
    sizes = {
        "weights": 0.0 if offloaded and stage == 3 else weights,
        "reference": reference,
        "gradients": gradients,
        "optimizer": 0.0 if offloaded else optimizer,
    }
    return {name: size / GIB for name, size in sizes.items()}, host / GIB


def _activations(settings: Any, config: TrainConfig, tokens: int) -> float:
    """GiB that the backward pass of ``tokens`` inputs keeps."""
    text = settings.get_text_config()
    layer = 10 * text.hidden_size + 2 * _keys(text) + 4 * text.intermediate_size
    layers = text.num_hidden_layers
    values = tokens * (layers * text.hidden_size + layer if config.gradient_checkpointing else layers * layer)
    if not config.frozen_tower:
        vision = settings.vision_config
        depth = getattr(vision, "depth", None) or vision.num_hidden_layers
        # Four patches to an image token; a pack may be all image.
        values += 4 * tokens * depth * (10 * vision.hidden_size + 4 * vision.intermediate_size)
    return values * _width(config) / GIB


def _keys(text: Any) -> int:
    """Width of the keys of a layer."""
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
    return text.num_key_value_heads * head


def _width(config: TrainConfig) -> int:
    return 2 if config.dtype == "bfloat16" else 4


def _millions(count: int) -> str:
    return f"{count / 1e6:,.1f} M"
