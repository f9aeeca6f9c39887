"""``mixed-r1 demo --weights smollm2``: GRPO on pretrained weights, text and images, on a CPU.

SmolLM2-135M-Instruct gets a small vision tower. Supervision teaches the tower alone to give the language
model an image's color and shape as it would its words. The language model itself sees no right answer: what
it makes of images, and of numbers in a text, is left to GRPO and its rewards.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress, TaskID
from transformers import LlamaForCausalLM

from mixed_r1.config import ConfigError
from mixed_r1.data import load_samples, save_samples
from mixed_r1.data.easy_vqa import captioned_images, easy_vqa_rows
from mixed_r1.data.lookup import lookup_rows
from mixed_r1.demo.blank import BlankControl, blank_control
from mixed_r1.demo.captions import align_captions
from mixed_r1.models import ModelAdapter, load_adapter
from mixed_r1.models.smollm2 import assemble_smollm2, read_smollm2, weights_file
from mixed_r1.rollout import SamplingParams, sample_completions
from mixed_r1.run_directory import RunDirectory, write_json
from mixed_r1.schema import Sample
from mixed_r1.train.session import progress_display
from mixed_r1.train.trainer import train
from mixed_r1.train_config import TrainConfig

__all__ = [
    "COST",
    "RealWeightsSettings",
    "check_greedy",
    "prepare_real_weights",
    "real_weights_config",
    "run_real_weights",
    "train_and_test_rows",
]

COST = "15 to 20 minutes on one idle core, 5 GB of memory, 3 GB of disk"


@dataclass(frozen=True)
class RealWeightsSettings:
    """What a person may want to change. Rows are of three tasks, a third each."""

    seed: int = 0
    test_rows: int = 504
    warmup_steps: int = 450  # supervised, of the vision tower and projector alone, on captions
    steps: int = 40
    prompts_per_step: int = 16
    completions_per_prompt: int = 8
    lr: float = 2e-4
    control_rows: int = 120

    @property
    def train_rows(self) -> int:
        """As many as the run draws: no row comes twice."""
        return self.steps * self.prompts_per_step


def run_real_weights(
    out: Path, settings: RealWeightsSettings = RealWeightsSettings(), *, console: Console | None = None
) -> dict[str, Any]:
    """Assemble the model, warm its vision up, train it with GRPO; returns the summary of the run.

    Writes ``out/data``, ``out/model`` (the starting point) and ``out/run`` (see ``train``), with
    ``control.json`` there: the reward of image questions with the image, and with a blank one. The summary
    holds it as ``control``.

    Raises:
        ConfigError: a package of extra [weights] is missing, ``out`` holds a run, or the assembled model does
            not answer as its language model does.
    """
    console = console or Console(stderr=True)
    weights_file()  # a missing package is an error now
    console.print(f"SmolLM2-135M-Instruct, float32, LoRA: {COST}", markup=False)
    config = real_weights_config(out, settings)
    files = RunDirectory(config.out)
    if files.config.exists():
        raise ConfigError(f"out must be a new directory, got {out}, which holds a run")
    before = prepare_real_weights(out, settings, console=console)
    summary = train(config, console=console)
    adapter = load_adapter(files.latest_checkpoint, **config.load_options())
    after = blank_control(adapter, _control_rows(out, settings), config)
    control = {"before": before.record(), "after": after.record()}
    write_json(files.control, control)
    return {**summary, "control": control}


def prepare_real_weights(out: Path, settings: RealWeightsSettings, *, console: Console) -> BlankControl:
    """``out/data`` and ``out/model``, what GRPO starts from; returns the control of the images' use."""
    train_rows, test_rows = train_and_test_rows(settings)
    save_samples(train_rows, out / "data" / "train.jsonl")
    save_samples(test_rows, out / "data" / "test.jsonl")
    with progress_display(console) as progress:
        bar = progress.add_task("weights", total=2, note="reading SmolLM2-135M-Instruct (GGUF, Q4_1)")
        source = read_smollm2()
        progress.update(bar, completed=1, note="greedy answers against those of transformers")
        adapter = assemble_smollm2(source, seed=settings.seed)
        check_greedy(adapter, source.model, [row for row in test_rows if not row.images][:4])
        progress.update(bar, completed=2, note="greedy answers are those of transformers")
        del source
        captions = progress.add_task("vision: captions", total=settings.warmup_steps, note="")
        align_captions(
            adapter,
            captioned_images("train"),
            steps=settings.warmup_steps,
            seed=settings.seed,
            on_step=_shown(progress, captions),
        )
        adapter.save(str(out / "model"))
        bar = progress.add_task("images blanked", total=1, note="")
        control = blank_control(adapter, _control_rows(out, settings), real_weights_config(out, settings))
        progress.update(bar, completed=1, note=control.line())
    return control


def train_and_test_rows(settings: RealWeightsSettings) -> tuple[list[Sample], list[Sample]]:
    """Rows to train on, as many as are drawn, and held-out rows: no image and no numbers are in both."""
    return _rows("train", settings.train_rows, settings.seed), _rows("test", settings.test_rows, 0)


def real_weights_config(out: Path, settings: RealWeightsSettings) -> TrainConfig:
    """The GRPO settings, for what ``prepare_real_weights`` wrote to ``out``."""
    return TrainConfig(
        model=out / "model",
        data=out / "data" / "train.jsonl",
        validation=out / "data" / "test.jsonl",
        out=out / "run",
        seed=settings.seed,
        steps=settings.steps,
        prompts_per_step=settings.prompts_per_step,
        completions_per_prompt=settings.completions_per_prompt,
        max_new_tokens=6,
        temperature=0.7,  # at 1, half of the completions wander off before they answer
        max_tokens_per_pack=1024,  # the activations of a pack are most of the memory
        lora_rank=8,
        lora_alpha=32.0,
        lr=settings.lr,
        warmup_steps=2,
        eval_samples=settings.test_rows,
        eval_completions=1,
        completions_every=5,
        reward={"format": "none"},
    )


def check_greedy(
    adapter: ModelAdapter,
    llama: LlamaForCausalLM,
    samples: list[Sample],
    *,
    max_new_tokens: int = 8,
) -> None:
    """Text prompts must get the tokens that ``llama.generate`` of transformers gives, one by one.

    Raises:
        ConfigError: they differ; the message names the sample and both answers.
    """
    prompts = [adapter.encode(sample) for sample in samples]
    params = SamplingParams(max_new_tokens=max_new_tokens, temperature=0.0)
    keys = [sample.id for sample in samples]
    drawn = sample_completions(adapter, prompts, keys, num_completions=1, params=params)
    for sample, prompt, (ours,) in zip(samples, prompts, drawn, strict=True):
        ids = prompt.input_ids[None]
        theirs = llama.generate(
            ids,
            attention_mask=ids.new_ones(ids.shape),
            max_new_tokens=max_new_tokens,
            do_sample=False,
            eos_token_id=list(adapter.stop_tokens),
            pad_token_id=adapter.stop_tokens[0],
        )[0, ids.shape[1] :]
        if ours.tokens.tolist() != theirs.tolist():
            text = adapter.tokenizer.decode(theirs)
            raise ConfigError(f"{sample.id} must be answered as by transformers, {text!r}, got {ours.text!r}")


def _shown(progress: Progress, bar: TaskID) -> Callable[[int, float], None]:
    """For ``on_step``: the bar moves on and shows the loss."""
    return lambda step, loss: progress.update(bar, completed=step, note=f"loss {loss:.3f}")


def _rows(split: Any, count: int, seed: int) -> list[Sample]:
    third = count // 3
    images = easy_vqa_rows(split, yes_no=third, words=third, seed=seed)
    texts = lookup_rows(split, count=count - 2 * third, seed=seed)
    return [*images, *texts]


def _control_rows(out: Path, settings: RealWeightsSettings) -> list[Sample]:
    rows = load_samples(out / "data" / "test.jsonl")
    return [row for row in rows if row.images][: settings.control_rows]
