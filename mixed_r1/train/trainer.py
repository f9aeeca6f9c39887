"""The GRPO loop, top to bottom: rows -> prompts -> rollouts -> rewards -> advantages -> packed groups -> one
update.

Deviations from the textbook: a group is one packed sequence; groups without a difference in reward are left
out of the forward pass (their gradient is zero) but counted in the normaliser; the ratio is taken against the
sampler's own log-probs, or those of the first update's forward pass where another program sampled, without an
old-policy pass of its own; banned tokens are out of the softmax when sampling and training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file, save_file

from mixed_r1.config import ConfigError
from mixed_r1.data import load_samples
from mixed_r1.diagnosis import WINDOW, Finding, diagnose
from mixed_r1.engines import open_engine
from mixed_r1.files import put_in_place
from mixed_r1.models import load_adapter
from mixed_r1.ranks import Ranks
from mixed_r1.rewards import MixedReward, RewardFunction
from mixed_r1.rollout import Group, RolloutError, open_rollouts
from mixed_r1.train.checkpoint import save_checkpoint
from mixed_r1.train.collect import Collector, open_mixture
from mixed_r1.train.evaluation import Evaluation
from mixed_r1.train.evaluator import EvaluationRows, Evaluator
from mixed_r1.train.metrics import (
    JsonLines,
    answer_metrics,
    completion_rows,
    reward_metrics,
    rollout_metrics,
    write_completions,
)
from mixed_r1.train.scoring import Scored, Scorer, effective_config, make_reward
from mixed_r1.train.session import Clock, on_sigterm, open_run, progress_display
from mixed_r1.train.tracking import open_trackers
from mixed_r1.train.update import PolicyUpdate
from mixed_r1.train_config import TrainConfig

__all__ = ["Trainer", "train"]


def train(
    config: TrainConfig,
    *,
    resume: bool = False,
    console: Console | None = None,
    ranks: Ranks | None = None,
    reward: MixedReward | RewardFunction | None = None,
) -> dict[str, Any]:
    """Run GRPO as ``config`` says and return the summary that is also written to ``out/summary.json``.

    ``reward`` is a function ``f(completions, answers, samples) -> scores`` that adds a column of its name to
    the rewards of ``config``, or a MixedReward that takes their place (``config.reward_weights`` are left out
    then).

    Writes config.yaml, metrics.jsonl, evaluation.jsonl, completions/ and checkpoints/ under ``config.out``.
    With ``resume`` it goes on from the newest whole checkpoint there (or starts, where there is none).
    SIGTERM writes one checkpoint after the step under way and exits with code 143 (one that comes in the
    evaluation after the last step changes nothing: the run is about to end). Started by ``torchrun`` or
    ``deepspeed``, the processes share the rows of a step, and the first of them writes the files. A caller
    that has opened ``ranks`` already passes them.

    Raises:
        ConfigError: ``out`` holds a run already and ``resume`` is off, or the run there had other settings.
        DataError, CheckpointError: unusable rows or checkpoints.
    """
    if ranks is not None:
        return Trainer(config, resume=resume, console=console, ranks=ranks, reward=reward).run()
    several = config.engine == "deepspeed"
    with Ranks(timeout=config.rank_timeout, group=several) as ranks:
        return Trainer(config, resume=resume, console=console, ranks=ranks, reward=reward).run()


class Trainer:
    """State of one run. ``run`` is the loop; ``_step`` is one GRPO step."""

    def __init__(
        self,
        config: TrainConfig,
        *,
        resume: bool = False,
        console: Console | None = None,
        ranks: Ranks | None = None,
        reward: MixedReward | RewardFunction | None = None,
    ) -> None:
        self.console = console or Console(stderr=True)
        self.ranks = ranks = ranks or Ranks()
        if config.prompts_per_step < ranks.world_size:
            raise ConfigError(
                f"prompts_per_step must be at least the number of ranks, {ranks.world_size}, "
                f"got {config.prompts_per_step}"
            )
        self.config = config = effective_config(config, reward)  # what is written down is what the run does
        self.samples = load_samples(config.data)
        rows = EvaluationRows(config, self.samples)
        self.mixture = open_mixture(config, self.samples)  # what cannot work has not made a directory yet
        opened = str(open_run(config, resume) or "") if ranks.first else None
        checkpoint = Path(found) if (found := ranks.gather(opened)[0]) else None
        torch.manual_seed(config.seed)
        automatic = "cuda" if torch.cuda.is_available() else "cpu"
        device = automatic if config.device == "auto" else config.device
        source = config.model if config.lora_rank else checkpoint or config.model
        self.adapter = load_adapter(source, device=device, **config.load_options())
        self.device = torch.device(device)
        self._set_trainable(checkpoint)
        reference = None
        if config.beta > 0 and not config.lora_rank:  # LoRA's reference is the model without its adapters
            reference = load_adapter(config.model, device=device, **config.load_options())
        self.reward = make_reward(config, self.adapter, self.samples, reward)
        self.rollouts = open_rollouts(config, self.adapter, ranks)
        self.collector = Collector(
            config, self.adapter, self.samples, self.mixture, self.rollouts, self.console, ranks
        )
        self.scorer = Scorer(config, self.reward, ranks)
        self.engine = open_engine(config, self.adapter, ranks)
        self.update = PolicyUpdate(config, self.adapter, self.engine, ranks, reference)
        self.evaluate = Evaluator(config, self.adapter, rows, self.reward, self.rollouts, self.engine, ranks)
        self.step = 0
        offsets: dict[str, int] = {}
        if checkpoint is not None:
            offsets = self._load_state(checkpoint)
        # Without a checkpoint what a killed run wrote is from steps that never were.
        files = {
            name: config.out / f"{name}.jsonl" if ranks.first else None for name in ("metrics", "evaluation")
        }
        self.metrics = JsonLines(files["metrics"], offset=offsets.get("metrics", 0))
        self.evaluate.open(files["evaluation"], offset=offsets.get("evaluation", 0))
        self.history = self.metrics.records()
        self.told: set[str] = set()
        self.trackers = open_trackers(config, step=self.step) if ranks.first else []
        self.told_to_stop = False  # this rank, which must not act on it alone

    def run(self) -> dict[str, Any]:
        try:
            return self._run()
        finally:
            self.rollouts.close()
            for tracker in self.trackers:
                tracker.close()

    def _run(self) -> dict[str, Any]:
        config = self.config
        quiet = not self.ranks.first
        with progress_display(self.console, disable=quiet) as progress, on_sigterm(self.stop):
            if self.evaluate and self.evaluate.step < 0:
                before = self._evaluate(progress, "before")
                self._write_json("before.json", {mode: result.rows for mode, result in before.items()})
            bar = progress.add_task("train", total=config.steps, completed=self.step, note="")
            stopping = self._stopping()
            if stopping:
                self._save()
            while self.step < config.steps and not stopping:
                record = self._step_or_save(progress)
                self.metrics.write(record)
                self._remark(record)
                for tracker in self.trackers:
                    tracker.log(record)
                progress.update(bar, completed=self.step, note=_note(record))
                stopping = self._stopping()
                if stopping or self.step == config.steps or _due(self.step, config.checkpoint_every):
                    self._save()
            if stopping:
                raise SystemExit(143)
            after = self._evaluate(progress, "after") if self.evaluate else {}
        return self._summary(after)

    def _remark(self, record: dict[str, Any]) -> None:
        """Say what is going wrong, once, when it is first seen."""
        self.history.append(record)
        if not self.ranks.first or self.step % WINDOW:
            return
        for finding in self._findings():
            if finding.kind not in self.told:
                self.told.add(finding.kind)
                text = f"step {self.step}: {finding.text} {finding.remedy}"
                self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def _findings(self) -> list[Finding]:
        return diagnose(self.history, self.evaluate.of("validation"), self.evaluate.of("train"))

    def stop(self) -> None:
        """Finish the step under way, write a checkpoint and leave."""
        self.told_to_stop = True

    def _stopping(self) -> bool:
        """Whether any rank was told to stop: they all leave after the same step."""
        return any(self.ranks.gather(self.told_to_stop))

    def _step_or_save(self, progress: Progress) -> dict[str, Any]:
        """A step, and the evaluation due before it. Where no rollout can be had, a checkpoint of what was
        before it: nothing is lost."""
        step, cursor = self.step, self.mixture.state_dict()
        try:
            # After the checkpoint of that step, so a run resumed from there does it too.
            if self.evaluate and self.evaluate.step < step and _due(step, self.config.eval_every):
                self._evaluate(progress, f"step {step}")
            return self._step()
        except RolloutError:
            self.step = step
            self.mixture.load_state_dict(cursor)
            self._save()
            raise

    def _step(self) -> dict[str, Any]:
        """One rollout of ``prompts_per_step`` groups and the updates on it."""
        clock, config = Clock(), self.config
        processor = time.process_time()
        self.step += 1
        with clock.measure("rollout"):
            self._push(self.step - 1)
            share = self.ranks.share([1] * config.prompts_per_step)
            groups, skipped = self._collect(len(share))
        with clock.measure("reward"):
            scored = self._score(groups)
        redrawn = 0
        for _ in range(config.redraw_rounds):
            flat = self.scorer.flat(scored)
            if not any(self.ranks.gather(bool(flat.any()))):
                break
            with clock.measure("rollout"):
                fresh, more = self._collect(int(flat.sum()))
            with clock.measure("reward"):
                kept = [group for group, is_flat in zip(scored.groups, flat, strict=True) if not is_flat]
                scored = self._score([*kept, *fresh])
            redrawn, skipped = redrawn + len(fresh), skipped + more
        with clock.measure("reward"):
            everything = self.scorer.gathered(scored)
            advantages = self.scorer.advantages(everything)
        with clock.measure("train"):
            by_task = _due(self.step, config.task_gradients_every)
            shared = self.update.gradients_by_task(scored, advantages) if by_task else {}
            update = self.update(self.step, scored, advantages)
        if _due(self.step, config.completions_every) or self.step in (1, config.steps):
            shown = np.where(scored.mask, advantages, np.nan)
            decode = self.adapter.tokenizer.decode
            rows = self.ranks.merge(completion_rows(self.step, scored.groups, scored.batch, shown, decode))
            if self.ranks.first:
                write_completions(config.out / "completions" / f"step-{self.step:06d}.parquet", rows)
        skipped, redrawn = np.sum(self.ranks.gather([skipped, redrawn]), axis=0).tolist()
        seconds = clock.rollout + clock.reward + clock.train
        return {
            "step": self.step,
            "time": time.time(),
            **reward_metrics(everything.batch, {"task": everything.tasks, "source": everything.sources}),
            **rollout_metrics(everything.lengths, everything.stopped, everything.flat),
            **answer_metrics(everything.tasks, everything.answers, everything.golds, everything.flat),
            "length/penalty": float(everything.penalty.mean()),
            **update,
            **shared,
            "epoch": self.step * config.prompts_per_step / len(self.samples),
            "skipped": skipped,
            "redrawn": redrawn,
            "lr": self.engine.lr,
            "tokens_per_second": int(everything.lengths.sum()) / seconds,
            "time/rollout": clock.rollout,
            "time/reward": clock.reward,
            "time/train": clock.train,
            "time/cpu": time.process_time() - processor,
            "memory_mb": self._memory_mb(),
        }

    def _collect(self, count: int) -> tuple[list[Group], int]:
        with self.engine.gathered():
            return self.collector.next(self.step, count)

    def _score(self, groups: Sequence[Group]) -> Scored:
        self.ranks.at("reward", self.step, (group.sample.id for group in groups))
        return self.scorer.score(groups)

    def _push(self, version: int) -> None:
        """Sample from the weights of now on."""
        with self.engine.gathered():
            self.rollouts.push(version, self._save_model)

    def _evaluate(self, progress: Progress, label: str) -> dict[str, Evaluation]:
        """Greedy and sampled reward on the validation rows, written to evaluation.jsonl."""
        self.ranks.at("evaluation", self.step)
        self._push(self.step)
        return self.evaluate(self.step, label, progress)

    def _summary(self, after: dict[str, Evaluation]) -> dict[str, Any]:
        findings = [finding._asdict() for finding in self._findings()]
        summary = {"steps": self.step, "evaluation": self.evaluate.compared(after), "findings": findings}
        self._write_json("summary.json", summary)
        return summary

    def _write_json(self, name: str, content: dict[str, Any]) -> None:
        if self.ranks.first:
            temporary = self.config.out / f".{name}"
            temporary.write_text(json.dumps(content, indent=1))
            put_in_place(temporary, self.config.out / name)

    def _set_trainable(self, checkpoint: Path | None) -> None:
        model = self.adapter.model
        model.train()
        if self.config.lora_rank:
            from mixed_r1.engines.lora import add_lora

            add_lora(self.adapter, self.config, checkpoint)
        for part in self.config.freeze:
            for parameter in getattr(self.adapter, f"{part}_parameters")():
                parameter.requires_grad_(False)
        if self.config.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    def _save_model(self, directory: Path, *, adapter_only: bool = False) -> None:
        """A Hugging Face directory; with LoRA the merged model, and the adapter in a folder of its own."""
        if adapter_only:
            self.adapter.model.save_pretrained(directory)
        elif self.config.lora_rank:
            from mixed_r1.engines.lora import save_merged

            save_merged(self.adapter, directory)
        else:
            self.adapter.save(str(directory))

    def _save(self) -> None:
        rank = self.ranks.rank

        def write(directory: Path) -> None:
            self.ranks.at("checkpoint", self.step)
            with self.engine.gathered():
                if self.ranks.first:
                    self._save_model(directory)
            self.engine.save(directory)
            save_file(_random_states(), directory / f"rng-{rank:05d}.safetensors")
            state = {
                "step": self.step,
                "evaluated": self.evaluate.step,
                "mixture": self.mixture.state_dict(),
                "task_ema": self.scorer.task_ema.state_dict(),
                "offsets": {"metrics": self.metrics.sync(), "evaluation": self.evaluate.sync()},
            }
            if self.ranks.first:
                (directory / "trainer.json").write_text(json.dumps(state))

        save_checkpoint(self.config.out / "checkpoints", self.step, write, ranks=self.ranks)

    def _load_state(self, checkpoint: Path) -> dict[str, int]:
        state = json.loads((checkpoint / "trainer.json").read_text())
        self.step = state["step"]
        self.evaluate.restore(state["evaluated"], self.config.out / "before.json")
        self.mixture.load_state_dict(state["mixture"])
        self.scorer.task_ema.load_state_dict(state["task_ema"])
        self.engine.load(checkpoint)
        random_states = checkpoint / f"rng-{self.ranks.rank:05d}.safetensors"
        if random_states.exists():  # a rank the stopped run did not have starts with the seed's
            _set_random_states(load_file(random_states))
        return state["offsets"]

    def _memory_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return psutil.Process().memory_info().rss / 2**20


def _random_states() -> dict[str, torch.Tensor]:
    cuda = {"cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else {}
    return {"cpu": torch.get_rng_state(), **cuda}


def _set_random_states(states: dict[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])


def _note(record: dict[str, Any]) -> str:
    return (
        f"reward {record['reward/mean']:.3f}  length {record['length/mean']:.0f}  "
        f"{record['tokens_per_second']:.0f} tokens/s"
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
