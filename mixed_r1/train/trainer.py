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

from mixed_r1.config import ConfigError
from mixed_r1.engines import open_engine
from mixed_r1.models.template import check_template
from mixed_r1.ranks import Ranks
from mixed_r1.rewards import MixedReward, RewardFunction
from mixed_r1.rollout import Group, RolloutError, open_sampler
from mixed_r1.run_directory import Metric, RunDirectory, write_json
from mixed_r1.train.checkpoint import save_checkpoint
from mixed_r1.train.collect import Collector, open_mixture
from mixed_r1.train.completions import CompletionRows, write_completions
from mixed_r1.train.evaluation import Evaluation
from mixed_r1.train.evaluator import Evaluator
from mixed_r1.train.metrics import answer_metrics, reward_metrics, rollout_metrics
from mixed_r1.train.rows import RunRows, tell
from mixed_r1.train.run_log import RunLog
from mixed_r1.train.scoring import GlobalBatch, Scored, Scorer, effective_config, make_reward
from mixed_r1.train.session import (
    Clock,
    close_run,
    load_random_states,
    on_sigterm,
    open_run,
    progress_display,
    save_random_states,
)
from mixed_r1.train.trained_model import TrainedModel
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

    Writes the files of ``mixed_r1.run_directory`` under ``config.out``. With ``resume`` it goes on from the
    newest whole checkpoint there (or starts, where there is none). SIGTERM writes one checkpoint after the
    step under way and exits with code 143 (one that comes in the evaluation after the last step changes
    nothing: the run is about to end). Started by ``torchrun`` or ``deepspeed``, the processes share the rows
    of a step, and the first of them writes the files. A caller that has opened ``ranks`` already passes them.

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
    """State of one run. ``run`` is the loop; ``_step`` is one GRPO step.

    ``model`` is what is trained; ``engine`` owns its weights and their optimizer. ``collector`` draws rows
    and has ``sampler`` complete them, ``scorer`` turns completions into rewards and advantages, and
    ``update`` those into a gradient. ``evaluate`` and ``log`` write down what comes of it.
    """

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
        # What is written down is what the run does: settings that follow from others are filled in now.
        self.config = config = effective_config(config, reward)
        self.files = RunDirectory(config.out)

        # Rows first. A run that cannot work must not have made its directory: the next try needs the name.
        rows = RunRows(config)
        samples = rows.train
        mixture = open_mixture(config, samples)

        # The first rank opens the directory, and tells the others which checkpoint to go on from.
        opened = str(open_run(config, resume) or "") if ranks.first else None
        found = ranks.gather(opened)[0]
        checkpoint = Path(found) if found else None
        if ranks.first:
            tell(self.console, [*rows.messages, *filter(None, [rows.evaluation.line()])])

        # The model, and who works with it.
        torch.manual_seed(config.seed)
        self.model = TrainedModel(config, checkpoint, beta=config.beta)
        adapter = self.model.adapter
        shown = [*samples, *rows.evaluation.validation]
        check_template(adapter.tokenizer, shown, config.system_prompt)
        made = make_reward(config, adapter, samples, reward)
        self.sampler = open_sampler(config, adapter, ranks)
        self.collector = Collector(config, adapter, samples, mixture, self.sampler, self.console, ranks)
        self.scorer = Scorer(config, made, ranks)
        self.engine = open_engine(config, adapter, ranks)
        self.update = PolicyUpdate(config, adapter, self.engine, ranks, self.model.reference)
        self.evaluate = Evaluator(config, adapter, rows.evaluation, made, self.sampler, self.engine, ranks)

        # Go on where a stopped run was. Its logs are cut back to the step of its checkpoint; a run that was
        # killed before its first checkpoint starts again, with empty logs.
        self.step = 0
        offsets = {"metrics": 0, "evaluation": 0}
        if checkpoint is not None:
            offsets = self._load_state(checkpoint)
        metrics = self.files.metrics if ranks.first else None
        self.log = RunLog(config, self.console, metrics, step=self.step, offset=offsets["metrics"])
        self.evaluate.open(self.files, offset=offsets["evaluation"])
        self.rows_of = CompletionRows(adapter.tokenizer.decode, self.files.images)
        self.told_to_stop = False  # this rank, which must not act on it alone

    def run(self) -> dict[str, Any]:
        try:
            return self._run()
        finally:
            self.sampler.close()
            self.log.close()
            if self.ranks.first:
                close_run(self.config)

    def _run(self) -> dict[str, Any]:
        config = self.config
        quiet = not self.ranks.first
        with progress_display(self.console, disable=quiet) as progress, on_sigterm(self.stop):
            # Before the first step: what the model can do untrained. Everything later is read against it.
            if self.evaluate and self.evaluate.step < 0:
                before = self._evaluate(progress, "before")
                self._write_json(self.files.before, {mode: result.rows for mode, result in before.items()})
            bar = progress.add_task("train", total=config.steps, completed=self.step, note="")
            stopping = self._stopping()
            if stopping:
                self._save()
            while self.step < config.steps and not stopping:
                record = self._step_or_save(progress)
                self.log.write(record, self.evaluate.of("validation"), self.evaluate.of("train"))
                progress.update(bar, completed=self.step, note=_note(record))
                stopping = self._stopping()
                if stopping or self.step == config.steps or _due(self.step, config.checkpoint_every):
                    self._save()
            if stopping:
                raise SystemExit(143)
            after = self._evaluate(progress, "after") if self.evaluate else {}
        return self._summary(after)

    def stop(self) -> None:
        """Finish the step under way, write a checkpoint and leave."""
        self.told_to_stop = True

    def _stopping(self) -> bool:
        """Whether any rank was told to stop: they all leave after the same step."""
        return any(self.ranks.gather(self.told_to_stop))

    def _step_or_save(self, progress: Progress) -> dict[str, Any]:
        """One step, after the evaluation that is due before it.

        Where no completions can be had, a checkpoint of the state before the step is written, so nothing of
        the run is lost.
        """
        step = self.step
        cursor = self.collector.mixture.state_dict()
        try:
            # The checkpoint of this step is written by now: a run that is resumed from it evaluates here too.
            if self.evaluate and self.evaluate.step < step and _due(step, self.config.eval_every):
                self._evaluate(progress, f"step {step}")
            return self._step()
        except RolloutError:
            self.step = step
            self.collector.mixture.load_state_dict(cursor)
            self._save()
            raise

    def _step(self) -> dict[str, Any]:
        """One rollout of ``prompts_per_step`` groups and the updates on it."""
        config = self.config
        clock = Clock()
        processor = time.process_time()
        self.step += 1

        # Rollout: hand over the current weights, then draw this rank's share of the rows and complete each
        # of them several times.
        with clock.measure("rollout"):
            self._push(self.step - 1)
            share = self.ranks.share([1] * config.prompts_per_step)
            groups, skipped = self._collect(len(share))

        # Rewards: every completion is scored against its row's gold, by the rules of the row's task.
        with clock.measure("reward"):
            scored = self._score(groups)

        # A group whose rewards are all equal has no advantage and teaches nothing. Where the settings ask for
        # it, groups of other rows take the place of such groups.
        scored, redrawn, more = self._redraw_flat(scored, clock)
        skipped += more

        # Advantages: how much better a completion is than the others of its group. Some methods normalise
        # over the whole batch, so all ranks put their rewards together first.
        with clock.measure("reward"):
            everything = self.scorer.gathered(scored)
            advantages = self.scorer.advantages(everything)

        # Update: groups with an advantage are packed, and every pack adds its gradient to the optimizer step.
        with clock.measure("train"):
            by_task = _due(self.step, config.task_gradients_every)
            shared = self.update.gradients_by_task(scored, advantages) if by_task else {}
            update = self.update(self.step, scored, advantages)

        # Records: completions now and then, numbers always.
        if _due(self.step, config.completions_every) or self.step in (1, config.steps):
            self._write_completions(scored, advantages)
        skipped, redrawn = np.sum(self.ranks.gather([skipped, redrawn]), axis=0).tolist()
        return {
            Metric.STEP: self.step,
            Metric.WRITTEN_AT: time.time(),
            **self._batch_metrics(everything),
            **update,
            **shared,
            Metric.EPOCH: self.step * config.prompts_per_step / len(self.collector.samples),
            Metric.PROMPTS: config.prompts_per_step,
            Metric.SKIPPED: skipped,
            Metric.REDRAWN: redrawn,
            Metric.LR: self.engine.lr,
            Metric.TOKENS_PER_SECOND: int(everything.lengths.sum()) / clock.total,
            Metric.ROLLOUT_SECONDS: clock.rollout,
            Metric.REWARD_SECONDS: clock.reward,
            Metric.TRAIN_SECONDS: clock.train,
            Metric.CPU_SECONDS: time.process_time() - processor,
            Metric.MEMORY_MB: self._memory_mb(),
        }

    def _redraw_flat(self, scored: Scored, clock: Clock) -> tuple[Scored, int, int]:
        """Replace groups of equal rewards by groups of the next rows, in at most ``redraw_rounds`` rounds.

        Returns also how many groups were drawn anew, and how many rows could not be encoded.
        """
        redrawn = skipped = 0
        for _ in range(self.config.redraw_rounds):
            flat = self.scorer.flat(scored)
            if not any(self.ranks.gather(bool(flat.any()))):
                break
            with clock.measure("rollout"):
                fresh, more = self._collect(int(flat.sum()))
            with clock.measure("reward"):
                kept = [group for group, is_flat in zip(scored.groups, flat, strict=True) if not is_flat]
                scored = self._score([*kept, *fresh])
            redrawn += len(fresh)
            skipped += more
        return scored, redrawn, skipped

    def _push(self, version: int) -> None:
        """Hand the current weights to the sampler."""
        with self.engine.gathered():
            self.sampler.push(version, self.model.save)

    def _collect(self, count: int) -> tuple[list[Group], int]:
        with self.engine.gathered():
            return self.collector.next(self.step, count)

    def _score(self, groups: Sequence[Group]) -> Scored:
        self.ranks.at("reward", self.step, (group.sample.id for group in groups))
        return self.scorer.score(groups)

    def _batch_metrics(self, everything: GlobalBatch) -> dict[str, float]:
        return {
            **reward_metrics(everything.batch, everything.tasks, everything.sources),
            **rollout_metrics(everything.lengths, everything.stopped, everything.flat),
            **answer_metrics(everything.tasks, everything.answers, everything.golds, everything.flat),
            Metric.LENGTH_PENALTY: float(everything.penalty.mean()),
        }

    def _write_completions(self, scored: Scored, advantages: np.ndarray) -> None:
        """What all ranks sampled in this step, in one file; masked completions have no advantage."""
        shown = np.where(scored.mask, advantages, np.nan)
        rows = self.ranks.merge(self.rows_of(scored.groups, scored.batch, shown, step=self.step))
        if self.ranks.first:
            write_completions(self.files.completions(self.step), rows)

    def _evaluate(self, progress: Progress, label: str) -> dict[str, Evaluation]:
        """Greedy and sampled reward on the validation rows, written to evaluation.jsonl."""
        self.ranks.at("evaluation", self.step)
        self._push(self.step)
        return self.evaluate(self.step, label, progress)

    def _summary(self, after: dict[str, Evaluation]) -> dict[str, Any]:
        findings = self.log.findings(self.evaluate.of("validation"), self.evaluate.of("train"))
        summary = {
            "steps": self.step,
            "evaluation": self.evaluate.compared(after),
            "findings": [finding._asdict() for finding in findings],
        }
        self._write_json(self.files.summary, summary)
        return summary

    def _write_json(self, path: Path, content: dict[str, Any]) -> None:
        if self.ranks.first:
            write_json(path, content)

    def _save(self) -> None:
        """Write a checkpoint: the model, and all else that the next step depends on."""

        def write(directory: Path) -> None:
            self.ranks.at("checkpoint", self.step)
            with self.engine.gathered():
                if self.ranks.first:
                    self.model.save(directory)
            self.engine.save(directory)
            save_random_states(directory, self.ranks.rank)
            state = {
                "step": self.step,
                "evaluated": self.evaluate.step,
                "mixture": self.collector.mixture.state_dict(),
                "task_ema": self.scorer.task_ema.state_dict(),
                "offsets": {"metrics": self.log.sync(), "evaluation": self.evaluate.sync()},
            }
            if self.ranks.first:
                (directory / "trainer.json").write_text(json.dumps(state))

        save_checkpoint(self.files.checkpoints, self.step, write, ranks=self.ranks)

    def _load_state(self, checkpoint: Path) -> dict[str, int]:
        """Go on where ``checkpoint`` was written; returns how long the logs were then, in bytes."""
        state = json.loads((checkpoint / "trainer.json").read_text())
        self.step = state["step"]
        self.evaluate.restore(state["evaluated"], self.files.before)
        try:
            self.collector.mixture.load_state_dict(state["mixture"])
        except ValueError as error:
            raise ConfigError(
                f"data must be the rows of the run in {self.config.out}, or out a new directory: {error}"
            ) from None
        self.scorer.task_ema.load_state_dict(state["task_ema"])
        self.engine.load(checkpoint)
        load_random_states(checkpoint, self.ranks.rank)
        offsets: dict[str, int] = state["offsets"]
        return offsets

    def _memory_mb(self) -> float:
        device = self.model.adapter.device
        if device.type == "cuda":
            return torch.cuda.max_memory_allocated(device) / 2**20
        return psutil.Process().memory_info().rss / 2**20


def _note(record: dict[str, Any]) -> str:
    return (
        f"reward {record[Metric.REWARD_MEAN]:.3f}  length {record[Metric.LENGTH_MEAN]:.0f}  "
        f"{record[Metric.TOKENS_PER_SECOND]:.0f} tokens/s"
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
