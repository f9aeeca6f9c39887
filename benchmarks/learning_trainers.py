"""Our trainer and TRL's on one start: do they learn, and what does it cost?

    python -m benchmarks.learning_trainers --seeds 0 1 2 --trainers mixed_r1 trl --steps 100
    python -m benchmarks.learning_trainers --start smollm2 --seeds 0 1 2        # ours, as the demo trains

``--start`` is the embedded model of a family as ``mixed-r1 demo`` warms it up, or ``smollm2``, what
``mixed-r1 demo --weights smollm2`` assembles. Both trainers get its weights (and the same LoRA adapters),
rows, rewards, learning rate, steps and group sizes. Each run is a process of its own: its peak of resident
memory is the trainer's. Processor seconds count training steps alone, without evaluation, set-up and
warm-up. TRL 1.16 fails on rows with and without images in one batch: of the embedded data only rows with an
image are used, by both trainers; of ``smollm2`` its rows are sorted into steps of one kind, ours come as
they are drawn.

A run is one JSON line: by task the greedy reward on held-out rows before and after, their paired difference
with its standard error, and the share of the commonest answer among the completions of the last steps.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np

TRAINERS = ("mixed_r1", "trl")
RESULTS = Path(__file__).parent / "results"
MICRO_BATCH = 32  # completions that TRL has in a forward pass: its memory grows with it


@dataclass
class Learning:
    """What a run leaves behind. ``curve``: (step, processor seconds of training, greedy reward)."""

    before: dict[str, tuple[str, float]] = field(default_factory=dict)  # row -> task, greedy reward
    after: dict[str, tuple[str, float]] = field(default_factory=dict)
    curve: list[tuple[int, float, float]] = field(default_factory=list)
    answers: list[tuple[str, str]] = field(default_factory=list)  # task, completion: of the last steps
    seconds: float = 0.0
    steps: int = 0

    def record(self) -> dict[str, Any]:
        tasks = sorted({task for task, _ in self.before.values()})
        return {
            "tasks": {task: self._of(task) for task in [*tasks, "all"]},
            "curve": [list(point) for point in self.curve],
            "processor_seconds": round(self.seconds, 1),
            "processor_seconds_per_step": round(self.seconds / max(1, self.steps), 2),
        }

    def _of(self, task: str) -> dict[str, Any]:
        rows = [row for row, (name, _) in self.before.items() if task in ("all", name)]
        before, after = (np.array([side[row][1] for row in rows]) for side in (self.before, self.after))
        counts = Counter(text for name, text in self.answers if name == task)
        common = counts.most_common(1)
        return {
            "rows": len(rows),
            "before": round(float(before.mean()), 4),
            "after": round(float(after.mean()), 4),
            "change": round(float((after - before).mean()), 4),
            "stderr": round(float((after - before).std(ddof=1) / np.sqrt(len(rows))), 4),
            "commonest_answer": common[0][0] if common else None,
            "commonest_answer_share": round(common[0][1] / counts.total(), 3) if common else None,
        }


def train_ours(config: Any) -> Learning:
    """``mixed_r1.train`` as it is, with a clock on its steps."""
    import pyarrow.parquet as pq

    from mixed_r1.train.trainer import Trainer

    learning = Learning()

    class Timed(Trainer):
        def _step(self) -> dict[str, Any]:
            started = time.process_time()
            record = super()._step()
            learning.seconds += time.process_time() - started
            learning.steps = self.step
            return record

        def _evaluate(self, *arguments: Any, **options: Any) -> Any:
            results = super()._evaluate(*arguments, **options)
            rows = _rewards(results["greedy"].rows)
            learning.before = learning.before or rows
            learning.after = rows
            learning.curve.append((self.step, learning.seconds, _mean(rows)))
            return results

    Timed(config).run()
    for path in sorted((config.out / "completions").glob("*.parquet"))[-3:]:
        rows = pq.read_table(path, columns=["task", "completion"]).to_pylist()
        learning.answers += [(row["task"], row["completion"].strip()) for row in rows]
    return learning


def train_trl(config: Any) -> Learning:
    """``trl.GRPOTrainer`` on what ``config`` names: model, LoRA, rows, reward, rate, steps, groups."""
    from transformers import PrinterCallback, TrainerCallback

    from benchmarks.trl_peer import grpo_trainer, quiet
    from mixed_r1.data import load_samples
    from mixed_r1.data.mixture import held_out as held_out_rows
    from mixed_r1.engines.lora import add_lora
    from mixed_r1.models import load_adapter
    from mixed_r1.models.attention import ATTENTION
    from mixed_r1.rollout import SamplingParams
    from mixed_r1.train import make_reward
    from mixed_r1.train.evaluation import as_scored, evaluate

    adapter = load_adapter(config.model, **config.load_options())
    if config.lora_rank:
        add_lora(adapter, config)
    samples = load_samples(config.data)
    reward = make_reward(config, adapter, samples)
    rows = _steps_of_one_kind(samples, config.prompts_per_step)
    rows = rows[: config.steps * config.prompts_per_step]
    sizes: dict[int, Any] = {}
    held_out = held_out_rows(load_samples(config.validation), config.eval_samples)
    learning, spent = Learning(), [0.0]
    late: list[tuple[str, str]] = []

    def score(completions: list[Any], index: list[int], **_: Any) -> list[float]:
        texts = [completion[0]["content"] for completion in completions]
        late.extend((rows[i].task, text.strip()) for text, i in zip(texts, index, strict=True))
        return reward(texts, [scored(i) for i in index]).total.tolist()

    def scored(i: int) -> Any:
        """The row with the image sizes that its boxes need, found once."""
        if i not in sizes:
            boxed = rows[i].task == "grounding"
            sizes[i] = as_scored(rows[i], adapter.encode(rows[i])) if boxed else rows[i]
        return sizes[i]

    def look(step: int) -> None:
        started = time.process_time()
        language_model, training = adapter.core.language_model, adapter.model.training
        language_model.set_attn_implementation(ATTENTION)
        greedy = SamplingParams.of(config, greedy=True)
        seen = _rewards(evaluate(adapter, held_out, reward, params=greedy, seed=config.seed).rows)
        language_model.set_attn_implementation("sdpa")
        adapter.model.train(training)
        learning.before = learning.before or seen
        learning.after = seen
        spent[0] += time.process_time() - started
        learning.curve.append((step, learning.seconds, _mean(seen)))

    class Clock(TrainerCallback):
        def on_step_end(self, arguments: Any, state: Any, control: Any, **_: Any) -> None:
            learning.steps = state.global_step
            learning.seconds = time.process_time() - started - spent[0]
            if state.global_step == config.steps or _due(state.global_step, config.eval_every):
                look(state.global_step)

    batch = config.prompts_per_step * config.completions_per_prompt
    micro = min(MICRO_BATCH, batch)
    peer = grpo_trainer(
        adapter,
        rows,
        score,
        output_dir=str(config.out),
        num_completions=config.completions_per_prompt,
        max_new_tokens=config.max_new_tokens,
        per_device_train_batch_size=micro,
        gradient_accumulation_steps=batch // micro,
        shuffle_dataset=False,
        loss_type="grpo",
        scale_rewards="group",
        learning_rate=config.lr,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=config.warmup_steps,
        adam_beta1=config.betas[0],
        adam_beta2=config.betas[1],
        weight_decay=config.weight_decay,
        max_grad_norm=config.max_grad_norm,
        generation_kwargs={"suppress_tokens": list(adapter.banned_tokens)},
        max_steps=config.steps,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        seed=config.seed,
    )
    peer.remove_callback(PrinterCallback)
    peer.add_callback(Clock())
    look(0)
    spent[0] = 0.0
    started = time.process_time()
    with quiet():
        peer.train()
    learning.answers = late[-3 * batch :]
    return learning


def _steps_of_one_kind(samples: Sequence[Any], per_step: int) -> list[Any]:
    """The rows in steps with images and steps without; what fills no step is left out."""
    kinds = [[s for s in samples if bool(s.images) == shown] for shown in (True, False)]
    steps = [rows[i : i + per_step] for rows in kinds for i in range(0, len(rows) - per_step + 1, per_step)]
    order = np.random.default_rng(0).permutation(len(steps))
    return [sample for i in order for sample in steps[i]]


def _rewards(rows: Sequence[dict[str, Any]]) -> dict[str, tuple[str, float]]:
    return {row["id"]: (row["task"], float(row["reward"] or 0.0)) for row in rows}


def _mean(rows: dict[str, tuple[str, float]]) -> float:
    return round(float(np.mean([reward for _, reward in rows.values()])), 4)


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0


class Start(NamedTuple):
    """Where both trainers begin: ``prepare(folder)`` makes it, ``config(folder)`` trains from it."""

    name: str
    settings: Any
    prepare: Callable[[Path], None]
    config: Callable[[Path], Any]


def open_start(name: str, *, seed: int, steps: int | None, test_rows: int | None) -> Start:
    """The start that ``--start`` names, with its own settings where none are given."""
    if name == "smollm2":
        from mixed_r1.demo.real_weights import RealWeightsSettings

        return pretrained(_with(RealWeightsSettings(seed=seed), steps=steps, test_rows=test_rows))
    from mixed_r1.demo import DemoSettings

    return embedded(_with(DemoSettings(family=name, seed=seed), steps=steps, held_out=test_rows))


def pretrained(settings: Any) -> Start:
    """SmolLM2 with a vision tower: ``settings`` are RealWeightsSettings."""
    from mixed_r1.demo.real_weights import prepare_real_weights, real_weights_config

    def prepare(folder: Path) -> None:
        from rich.console import Console

        control = prepare_real_weights(folder, settings, console=Console(stderr=True))
        (folder / "control.json").write_text(json.dumps(control.record()))

    return Start("smollm2", settings, prepare, lambda folder: real_weights_config(folder, settings))


def embedded(settings: Any) -> Start:
    """The embedded model and those of its rows that have an image: ``settings`` are DemoSettings."""
    from mixed_r1.demo import demo_config, prepare_demo

    splits = ("train", "test")

    def prepare(folder: Path) -> None:
        from rich.console import Console

        from mixed_r1.data import load_samples, save_samples
        from mixed_r1.ranks import Ranks

        with Ranks() as ranks:
            prepare_demo(folder, settings, console=Console(stderr=True), ranks=ranks)
        for split in splits:
            rows = [sample for sample in load_samples(folder / "data" / split) if sample.images]
            save_samples(rows, folder / "with-image" / f"{split}.parquet")

    def config(folder: Path) -> Any:
        train, test = (folder / "with-image" / f"{split}.parquet" for split in splits)
        return demo_config(folder, settings).model_copy(update={"data": train, "validation": test})

    return Start(settings.family, settings, prepare, config)


def _with(settings: Any, **given: Any) -> Any:
    return replace(settings, **{name: value for name, value in given.items() if value is not None})


def run_one(trainer: str, start: Start, folder: Path, *, eval_every: int) -> dict[str, Any]:
    """Train once in this process, from what ``start.prepare`` left in ``folder``. The record, with memory."""
    from benchmarks.harness import hardware, versions

    train: Callable[[Any], Learning] = {"mixed_r1": train_ours, "trl": train_trl}[trainer]
    with TemporaryDirectory() as scratch:
        config = start.config(folder)
        config = config.model_copy(update={"out": Path(scratch) / "run", "eval_every": eval_every})
        _reset_peak()
        learning = train(config)
        peak = _status_mb("VmHWM")
    control = folder / "control.json"
    return {
        "op": "learning_trainers",
        "start": start.name,
        "trainer": trainer,
        "date": datetime.date.today().isoformat(),
        **learning.record(),
        "peak_memory_mb": peak,
        "blank_control_of_the_start": json.loads(control.read_text()) if control.exists() else None,
        "settings": asdict(start.settings),
        "threads": int(os.environ.get("OMP_NUM_THREADS", "0")) or None,
        "hardware": hardware(),
        "versions": versions(),
    }


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:  # not Linux, or not allowed: the peak is then that of the whole process
        pass


def _status_mb(key: str) -> int | None:
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) // 1024 for line in lines if line.startswith(f"{key}:")), None)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.learning_trainers",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--start", choices=("qwen2_5_vl", "internvl", "smollm2"), default="qwen2_5_vl")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--trainers", nargs="+", choices=TRAINERS, default=["mixed_r1"])
    parser.add_argument("--steps", type=int)
    parser.add_argument("--eval-every", type=int, default=0, help="steps between greedy evaluations")
    parser.add_argument("--test-rows", type=int)
    parser.add_argument("--starts", type=Path, default=Path("runs/learning-trainers"), help="kept for reuse")
    parser.add_argument("--out", type=Path, help="JSON lines (default: benchmarks/results/<date>-...)")
    parser.add_argument("--here", choices=("prepare", "train"), help=argparse.SUPPRESS)  # in this process
    options = parser.parse_args()
    out = options.out or RESULTS / f"{datetime.date.today().isoformat()}-learning_trainers.jsonl"
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if options.here is None:
        for seed in options.seeds:
            for trainer in options.trainers:
                _in_processes(seed, trainer, options, out)
        return
    import torch

    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    (seed,) = options.seeds
    start = open_start(options.start, seed=seed, steps=options.steps, test_rows=options.test_rows)
    folder = options.starts / f"{options.start}-{seed}"
    if options.here == "prepare":
        if not (folder / "model").exists():
            start.prepare(folder)
        return
    record = run_one(options.trainers[0], start, folder, eval_every=options.eval_every)
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        file.write(json.dumps(record) + "\n")
    for task, row in record["tasks"].items():
        print(f"{record['trainer']:9} seed {seed} {task:16}", json.dumps(row))
    print(f"{record['processor_seconds']} processor seconds, {record['peak_memory_mb']} MB at most")


def _in_processes(seed: int, trainer: str, options: argparse.Namespace, out: Path) -> None:
    """The start (where it is not there yet) and the run, each in a process of its own."""
    shared = ["--start", options.start, "--seeds", str(seed), "--trainers", trainer, "--out", str(out)]
    shared += ["--starts", str(options.starts), "--eval-every", str(options.eval_every)]
    for name in ("steps", "test_rows"):
        value = getattr(options, name)
        shared += [] if value is None else [f"--{name.replace('_', '-')}", str(value)]
    for what in ("prepare", "train"):
        command = [sys.executable, "-m", "benchmarks.learning_trainers", *shared, "--here", what]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
