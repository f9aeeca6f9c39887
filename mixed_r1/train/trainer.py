"""The GRPO loop, top to bottom: rows -> prompts -> rollouts -> rewards -> advantages -> packed groups -> one
update.

Deviations from the textbook: a group is one packed sequence; groups without a difference in reward are left
out of the forward pass (their gradient is zero) but counted in the normaliser; the ratio is taken against the
sampler's own log-probs, or those of the first update's forward pass where another program sampled: there is no
separate old-policy pass; banned tokens are out of the softmax when sampling and training.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import load_file, save_file

from mixed_r1.data import load_samples
from mixed_r1.data.mixture import MixtureSampler
from mixed_r1.models import ModelAdapter, load_adapter
from mixed_r1.rewards import MixedReward
from mixed_r1.train.checkpoint import save_checkpoint
from mixed_r1.train.collect import Collector, open_rollouts
from mixed_r1.train.config import TrainConfig
from mixed_r1.train.engine import LocalEngine
from mixed_r1.train.evaluation import Evaluation, evaluate
from mixed_r1.train.loss import TokenStats, importance_weights, policy_loss, token_weights
from mixed_r1.train.metrics import JsonLines, reward_metrics, rollout_metrics, write_completions
from mixed_r1.train.packing import Pack, PackItem, pack_groups
from mixed_r1.train.policy import completion_logprobs, packing_layout
from mixed_r1.train.rollout import Group, RolloutError
from mixed_r1.train.scoring import Scored, Scorer
from mixed_r1.train.session import Clock, on_sigterm, open_run, progress_display
from mixed_r1_kernels import EmbeddingTable

__all__ = ["Trainer", "make_reward", "train"]


def train(config: TrainConfig, *, resume: bool = False, console: Console | None = None) -> dict[str, Any]:
    """Run GRPO as ``config`` says and return the summary that is also written to ``out/summary.json``.

    Writes config.yaml, metrics.jsonl, evaluation.jsonl, completions/ and checkpoints/ under ``config.out``.
    With ``resume`` it goes on from the newest whole checkpoint there (or starts, where there is none).
    SIGTERM writes one checkpoint after the step under way and exits with code 143.

    Raises:
        ConfigError: ``out`` holds a run already and ``resume`` is off, or the run there had other settings.
        DataError, CheckpointError: unusable rows or checkpoints.
    """
    return Trainer(config, resume=resume, console=console).run()


def make_reward(config: TrainConfig, adapter: ModelAdapter) -> MixedReward:
    """Mixed-Reward for this model: its box frame, and BMAS on the embedding table the run started from.

    The table stays the starting model's, so the policy cannot raise its reward by moving embeddings.
    """
    reward_config = config.reward.model_copy(update={"box_frame": adapter.box_frame})
    table = EmbeddingTable.from_pretrained(config.model)
    return MixedReward(
        table=table, tokenizer=adapter.tokenizer, weights=config.reward_weights, config=reward_config
    )


class Trainer:
    """State of one run. ``run`` is the loop; ``_step`` is one GRPO step."""

    def __init__(self, config: TrainConfig, *, resume: bool = False, console: Console | None = None) -> None:
        self.config, self.console = config, console or Console(stderr=True)
        checkpoint = open_run(config, resume)
        torch.manual_seed(config.seed)
        device = (
            ("cuda" if torch.cuda.is_available() else "cpu") if config.device == "auto" else config.device
        )
        dtype = getattr(torch, config.dtype)
        source = checkpoint or config.model
        self.adapter = load_adapter(source, dtype=dtype, device=device, system_prompt=config.system_prompt)
        self.device = torch.device(device)
        self._set_trainable()
        self.reference: ModelAdapter | None = None
        if config.beta > 0:
            self.reference = load_adapter(
                config.model, dtype=dtype, device=device, system_prompt=config.system_prompt
            )
        self.samples = load_samples(config.data)
        self.validation = load_samples(config.validation)[: config.eval_samples] if config.validation else []
        self.reward = make_reward(config, self.adapter)
        self.mixture = MixtureSampler(
            self.samples,
            weights=config.mixture,
            order=config.order,
            seed=config.seed,
            spread=config.curriculum_spread,
            draws=config.steps * config.prompts_per_step,
        )
        self.rollouts = open_rollouts(config, self.adapter)
        self.collector = Collector(
            config, self.adapter, self.samples, self.mixture, self.rollouts, self.console
        )
        self.scorer = Scorer(config, self.reward)
        self.engine = LocalEngine(self.adapter, config)
        self.step = 0
        self.before: dict[str, Evaluation] = {}
        offsets: dict[str, int] = {}
        if checkpoint is not None:
            offsets = self._load_state(checkpoint)
        self.metrics = JsonLines(config.out / "metrics.jsonl", offset=offsets.get("metrics"))
        self.evaluations = JsonLines(config.out / "evaluation.jsonl", offset=offsets.get("evaluation"))
        self.stopping = False

    def run(self) -> dict[str, Any]:
        config = self.config
        with progress_display(self.console) as progress, on_sigterm(self.stop):
            if self.step == 0 and self.validation:
                self.before = self._evaluate(progress, "before")
            bar = progress.add_task("train", total=config.steps, completed=self.step, note="")
            while self.step < config.steps and not self.stopping:
                record = self._step_or_save()
                self.metrics.write(record)
                progress.update(bar, completed=self.step, note=_note(record))
                last = self.step == config.steps
                if last or self.stopping or _due(self.step, config.checkpoint_every):
                    self._save()
                if self.validation and not last and _due(self.step, config.eval_every):
                    self._evaluate(progress, f"step {self.step}")
            if self.stopping:
                raise SystemExit(143)
            after = self._evaluate(progress, "after") if self.validation else {}
        return self._summary(after)

    def stop(self) -> None:
        """Finish the step under way, write a checkpoint and leave."""
        self.stopping = True

    def _step_or_save(self) -> dict[str, Any]:
        """A step. Where no rollout can be had, a checkpoint of what was before it: nothing is lost."""
        cursor = self.mixture.state_dict()
        try:
            return self._step()
        except RolloutError:
            self.step -= 1
            self.mixture.load_state_dict(cursor)
            self._save()
            raise

    def _step(self) -> dict[str, Any]:
        """One rollout of ``prompts_per_step`` groups and the updates on it."""
        clock, config = Clock(), self.config
        self.step += 1
        with clock.measure("rollout"):
            self.rollouts.push(self.step - 1, self._save_model)
            groups, skipped = self.collector.next(self.step, config.prompts_per_step)
        with clock.measure("reward"):
            scored = self.scorer.score(groups)
        redrawn = 0
        for _ in range(config.redraw_rounds):
            flat = self.scorer.flat(scored)
            if not flat.any():
                break
            with clock.measure("rollout"):
                fresh, more = self.collector.next(self.step, int(flat.sum()))
            with clock.measure("reward"):
                kept = [group for group, is_flat in zip(scored.groups, flat, strict=True) if not is_flat]
                scored = self.scorer.score([*kept, *fresh])
            redrawn, skipped = redrawn + len(fresh), skipped + more
        batch, mask = scored.batch, scored.mask
        advantages = self.scorer.advantages(scored)
        with clock.measure("train"):
            update = self._update(scored, advantages)
        if _due(self.step, config.completions_every) or self.step in (1, config.steps):
            path = config.out / "completions" / f"step-{self.step:06d}.parquet"
            shown = np.where(mask, advantages, np.nan)
            write_completions(path, self.step, scored.groups, batch, shown, self.adapter.tokenizer.decode)
        tokens = sum(len(c) for c in scored.completions)
        seconds = clock.rollout + clock.reward + clock.train
        return {
            "step": self.step,
            "time": time.time(),
            **reward_metrics(batch, scored.samples),
            **rollout_metrics(scored.groups, self.scorer.flat(scored)),
            "length/penalty": float(scored.penalty.mean()),
            **update,
            "skipped": skipped,
            "redrawn": redrawn,
            "lr": self.engine.lr,
            "tokens_per_second": tokens / seconds,
            "time/rollout": clock.rollout,
            "time/reward": clock.reward,
            "time/train": clock.train,
            "memory_mb": self._memory_mb(),
        }

    def _update(self, scored: Scored, advantages: np.ndarray) -> dict[str, float]:
        """Forward, backward and optimizer step over the packs of this rollout, ``updates_per_rollout``
        times."""
        config, completions, mask = self.config, scored.completions, scored.mask
        lengths = torch.tensor([len(c) for c in completions])
        counted = torch.from_numpy(mask)
        totals = torch.stack([counted.sum(), lengths[counted].sum()])
        weights = token_weights(
            config.loss,
            lengths,
            num_completions=int(totals[0]),
            num_tokens=int(totals[1]),
            max_new_tokens=config.max_new_tokens,
        ).to(self.device)
        wanted = mask & ((advantages != 0) | (config.beta > 0))
        packs = self._packs(scored.groups, wanted)
        old = {i: c.logprobs for i, c in enumerate(completions) if c.logprobs is not None}
        sampling = {
            i: c.sampling_logprobs
            for i, c in enumerate(completions)
            if i not in old and c.sampling_logprobs is not None
        }
        advantages_K = torch.from_numpy(advantages).float().to(self.device)
        losses, stats, entropy, norms = 0.0, [], 0.0, []
        for _ in range(config.updates_per_rollout):
            for pack in packs:
                loss, pack_stats, pack_entropy = self._pack_loss(pack, old, sampling, advantages_K, weights)
                self.engine.backward(loss)
                losses += float(loss.detach())
                stats.append(pack_stats)
                entropy += float(pack_entropy)
            norms.append(self.engine.step())
        tokens = max(1.0, sum(float(s.tokens) for s in stats))
        return {
            "loss": losses / config.updates_per_rollout,
            "grad_norm": norms[-1],
            "skipped_updates": sum(not np.isfinite(norm) for norm in norms),
            "clip_fraction": sum(float(s.clipped) for s in stats) / tokens,
            "kl": sum(float(s.kl) for s in stats) / tokens,
            "old_kl": sum(float(s.old_kl) for s in stats) / tokens,
            "importance": sum(float(s.importance) for s in stats) / tokens,
            "entropy": entropy / tokens,
            "packs": len(packs),
        }

    def _packs(self, groups: Sequence[Group], wanted: np.ndarray) -> list[Pack]:
        items, first = [], 0
        for group in groups:
            chosen = [i for i in range(len(group.completions)) if wanted[first + i]]
            if chosen:
                tokens = tuple(group.completions[i].tokens for i in chosen)
                items.append(
                    PackItem(group.prompt, tokens, tuple(first + i for i in chosen), group.image_features)
                )
            first += len(group.completions)
        layout = packing_layout(self.adapter)
        packs = pack_groups(items, self.adapter, max_tokens=self.config.max_tokens_per_pack, layout=layout)
        return [pack.to(self.device) for pack in packs]

    def _pack_loss(
        self,
        pack: Pack,
        old_logprobs: dict[int, torch.Tensor],
        sampling_logprobs: dict[int, torch.Tensor],
        advantages: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, TokenStats, torch.Tensor]:
        """``old_logprobs`` that are missing (another program sampled) are filled in: before the first update,
        the policy is the old one."""
        config = self.config
        logprobs, entropies = self.engine.logprobs(pack)
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference, _ = completion_logprobs(self.reference, pack, temperature=config.temperature)
        indices = [index for item in pack.items for index in item.indices]
        lengths = [tokens.numel() for item in pack.items for tokens in item.completions]
        for index, part in zip(indices, logprobs.detach().split(lengths), strict=True):
            old_logprobs.setdefault(index, part)
            sampling_logprobs.setdefault(index, old_logprobs[index])
        old = torch.cat([old_logprobs[index] for index in indices]).to(self.device)
        sampling = torch.cat([sampling_logprobs[index] for index in indices]).to(self.device)
        loss, stats = policy_loss(
            logprobs,
            old,
            advantages,
            weights,
            pack.rows,
            kind=config.loss,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            beta=config.beta,
            reference_logprobs=reference,
            importance=importance_weights(old, sampling, cap=config.importance_cap),
        )
        return loss, stats, entropies.sum()

    def _evaluate(self, progress: Progress, label: str) -> dict[str, Evaluation]:
        """Greedy and sampled reward on the validation rows, written to evaluation.jsonl."""
        self.rollouts.push(self.step, self._save_model)
        results: dict[str, Evaluation] = {}
        bar = progress.add_task(f"evaluate {label}", total=2 * len(self.validation), note="")
        for params in (self.config.greedy(), self.config.sampling()):
            result = evaluate(
                self.adapter,
                self.validation,
                self.reward,
                params=params,
                completions_per_sample=self.config.eval_completions,
                seed=self.config.seed,
                engine=self.rollouts,
                on_progress=lambda n: progress.advance(bar, n),
            )
            for record in result.records():
                self.evaluations.write({"step": self.step, "split": "validation", **record})
            results[result.mode] = result
        return results

    def _summary(self, after: dict[str, Evaluation]) -> dict[str, Any]:
        summary: dict[str, Any] = {"steps": self.step, "evaluation": {}}
        for mode, result in after.items():
            entry: dict[str, Any] = {"after": result.records()}
            if mode in self.before:
                entry["before"] = self.before[mode].records()
                entry["difference"] = asdict(result.minus(self.before[mode]))
            summary["evaluation"][mode] = entry
        (self.config.out / "summary.json").write_text(json.dumps(summary, indent=1))
        return summary

    def _set_trainable(self) -> None:
        model = self.adapter.model
        model.train()
        for part in self.config.freeze:
            for parameter in getattr(self.adapter, f"{part}_parameters")():
                parameter.requires_grad_(False)
        if self.config.gradient_checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})

    def _save_model(self, directory: Path) -> None:
        self.adapter.save(str(directory))

    def _save(self) -> None:
        def write(directory: Path) -> None:
            self._save_model(directory)
            self.engine.save(directory)
            save_file({"cpu": torch.get_rng_state()}, directory / "rng.safetensors")
            state = {
                "step": self.step,
                "mixture": self.mixture.state_dict(),
                "task_ema": self.scorer.task_ema.state_dict(),
                "offsets": {"metrics": self.metrics.offset, "evaluation": self.evaluations.offset},
            }
            (directory / "trainer.json").write_text(json.dumps(state))

        save_checkpoint(self.config.out / "checkpoints", self.step, write)

    def _load_state(self, checkpoint: Path) -> dict[str, int]:
        state = json.loads((checkpoint / "trainer.json").read_text())
        self.step = state["step"]
        self.mixture.load_state_dict(state["mixture"])
        self.scorer.task_ema.load_state_dict(state["task_ema"])
        self.engine.load(checkpoint)
        torch.set_rng_state(load_file(checkpoint / "rng.safetensors")["cpu"])
        return state["offsets"]

    def _memory_mb(self) -> float:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device) / 2**20
        return psutil.Process().memory_info().rss / 2**20


def _note(record: dict[str, Any]) -> str:
    return (
        f"reward {record['reward/mean']:.3f}  length {record['length/mean']:.0f}  "
        f"{record['tokens_per_second']:.0f} tokens/s"
    )


def _due(step: int, every: int) -> bool:
    return every > 0 and step % every == 0
