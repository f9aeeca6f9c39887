"""The GRPO loop, top to bottom: rows -> prompts -> rollouts -> rewards -> advantages -> packed groups -> one
update.

Deviations from the textbook: a group is one packed sequence; groups without a difference in reward are left
out of the forward pass (their gradient is zero) but counted in the normaliser; the ratio is taken against the
sampler's own log-probs, so there is no separate old-policy pass; banned tokens are out of the softmax when
sampling and training.
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
from mixed_r1.images import ImageError
from mixed_r1.models import ModelAdapter, Prompt, load_adapter
from mixed_r1.rewards import MixedReward, RewardBatch
from mixed_r1.schema import TASKS, Sample
from mixed_r1.train.checkpoint import save_checkpoint
from mixed_r1.train.config import TrainConfig
from mixed_r1.train.engine import LocalEngine
from mixed_r1.train.evaluation import Evaluation, as_scored, evaluate
from mixed_r1.train.loss import TokenStats, policy_loss, token_weights
from mixed_r1.train.metrics import JsonLines, reward_metrics, rollout_metrics, write_completions
from mixed_r1.train.packing import Pack, PackItem, pack_groups
from mixed_r1.train.policy import completion_logprobs, packing_layout
from mixed_r1.train.rollout import Group
from mixed_r1.train.sampler import sample_completions
from mixed_r1.train.session import Clock, on_sigterm, open_run, progress_display
from mixed_r1_kernels import EmbeddingTable, TaskEma, group_advantages

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
        self.mixture = MixtureSampler(self.samples, weights=config.mixture, seed=config.seed)
        self.task_ema = TaskEma()
        self.engine = LocalEngine(self.adapter.model, config)
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
                record = self._step()
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

    def _step(self) -> dict[str, Any]:
        """One rollout of ``prompts_per_step`` groups and the updates on it."""
        clock, config = Clock(), self.config
        self.step += 1
        with clock.measure("rollout"):
            groups, skipped = self._rollout()
        G = config.completions_per_prompt
        samples = [group.sample for group in groups for _ in range(G)]
        with clock.measure("reward"):
            batch = self.reward([c.text for group in groups for c in group.completions], samples)
            mask = np.asarray(batch.mask) & self._not_overlong(groups)
            advantages = self._advantages(batch, mask, samples)
        with clock.measure("train"):
            update = self._update(groups, advantages, mask)
        if _due(self.step, config.completions_every) or self.step in (1, config.steps):
            path = config.out / "completions" / f"step-{self.step:06d}.parquet"
            shown = np.where(mask, advantages, np.nan)
            write_completions(path, self.step, groups, batch, shown, self.adapter.tokenizer.decode)
        tokens = sum(len(c) for group in groups for c in group.completions)
        seconds = clock.rollout + clock.reward + clock.train
        return {
            "step": self.step,
            "time": time.time(),
            **reward_metrics(batch, samples),
            **rollout_metrics(groups, np.where(mask, batch.total, np.nan).reshape(-1, G)),
            **update,
            "skipped": skipped,
            "lr": self.engine.lr,
            "tokens_per_second": tokens / seconds,
            "time/rollout": clock.rollout,
            "time/reward": clock.reward,
            "time/train": clock.train,
            "memory_mb": self._memory_mb(),
        }

    def _rollout(self) -> tuple[list[Group], int]:
        """Encode the next rows and sample a group for each; rows that cannot be encoded are logged and
        replaced."""
        config, adapter = self.config, self.adapter
        samples: list[Sample] = []
        prompts: list[Prompt] = []
        skipped = 0
        while len(samples) < config.prompts_per_step:
            for index in self.mixture.next(config.prompts_per_step - len(samples)):
                sample = self.samples[index]
                try:
                    prompt = adapter.encode(sample)
                    if len(prompt) > config.max_prompt_tokens:
                        raise ValueError(
                            f"prompt must have at most {config.max_prompt_tokens} tokens, got {len(prompt)}"
                        )
                except (ImageError, ValueError) as error:
                    skipped += 1
                    self.console.print(f"row {sample.id} skipped: {error}", style="yellow", markup=False)
                    if skipped > max(len(self.samples), config.prompts_per_step):
                        raise ValueError(
                            f"data must hold rows that can be encoded, got {skipped} bad ones in a row"
                        ) from None
                    continue
                samples.append(as_scored(sample, prompt))
                prompts.append(prompt)
        features = self._image_features(prompts)
        drawn = sample_completions(
            adapter,
            prompts,
            [sample.id for sample in samples],
            num_completions=config.completions_per_prompt,
            params=config.sampling(),
            seed=config.seed,
            step=self.step,
            image_features=features,
            max_rows=config.max_rollout_rows,
        )
        reusable = {"vision", "projector"} <= set(config.freeze)
        groups = [
            Group(sample, prompt, tuple(completions), feature if reusable else None)
            for sample, prompt, completions, feature in zip(samples, prompts, drawn, features, strict=True)
        ]
        return groups, skipped

    @torch.no_grad()
    def _image_features(self, prompts: Sequence[Prompt]) -> list[torch.Tensor | None]:
        """One pass of the vision tower for all prompts, cut into each prompt's share."""
        features = self.adapter.image_features(prompts)
        if features is None:
            return [None] * len(prompts)
        shares = iter(torch.split(features, [p.num_image_tokens for p in prompts if p.num_image_tokens]))
        return [next(shares) if p.num_image_tokens else None for p in prompts]

    def _advantages(self, batch: RewardBatch, mask: np.ndarray, samples: Sequence[Sample]) -> np.ndarray:
        method = self.config.advantage
        return group_advantages(
            batch.values if method == "gdpo" else batch.total,
            self.config.completions_per_prompt,
            weights=self.reward.column_weights() if method == "gdpo" else None,
            method=method,
            mask=mask,
            task_ids=np.array([TASKS.index(sample.task) for sample in samples])
            if method == "task_ema"
            else None,
            state=self.task_ema if method == "task_ema" else None,
        )

    def _update(self, groups: Sequence[Group], advantages: np.ndarray, mask: np.ndarray) -> dict[str, float]:
        """Forward, backward and optimizer step over the packs of this rollout, ``updates_per_rollout``
        times."""
        config = self.config
        completions = [c for group in groups for c in group.completions]
        lengths = torch.tensor([len(c) for c in completions])
        counted = torch.from_numpy(mask)
        totals = self.engine.sum(torch.stack([counted.sum(), lengths[counted].sum()]))
        weights = token_weights(
            config.loss,
            lengths,
            num_completions=int(totals[0]),
            num_tokens=int(totals[1]),
            max_new_tokens=config.max_new_tokens,
        ).to(self.device)
        wanted = mask & ((advantages != 0) | (config.beta > 0))
        packs = self._packs(groups, wanted)
        old_logprobs = [c.logprobs for c in completions]
        advantages_K = torch.from_numpy(advantages).float().to(self.device)
        losses, stats, entropy, norms = 0.0, [], 0.0, []
        for _ in range(config.updates_per_rollout):
            for pack in packs:
                loss, pack_stats, pack_entropy = self._pack_loss(pack, old_logprobs, advantages_K, weights)
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
        old_logprobs: Sequence[torch.Tensor],
        advantages: torch.Tensor,
        weights: torch.Tensor,
    ) -> tuple[torch.Tensor, TokenStats, torch.Tensor]:
        config = self.config
        logprobs, entropies = completion_logprobs(self.adapter, pack, temperature=config.temperature)
        reference = None
        if self.reference is not None:
            with torch.no_grad():
                reference, _ = completion_logprobs(self.reference, pack, temperature=config.temperature)
        indices = [index for item in pack.items for index in item.indices]
        old = torch.cat([old_logprobs[index] for index in indices]).to(self.device)
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
        )
        return loss, stats, entropies.sum()

    def _not_overlong(self, groups: Sequence[Group]) -> np.ndarray:
        if self.config.overlong == "score":
            return np.ones(sum(len(group.completions) for group in groups), dtype=bool)
        return np.array([c.stopped for group in groups for c in group.completions])

    def _evaluate(self, progress: Progress, label: str) -> dict[str, Evaluation]:
        """Greedy and sampled reward on the validation rows, written to evaluation.jsonl."""
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
                max_rows=self.config.max_rollout_rows,
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

    def _save(self) -> None:
        def write(directory: Path) -> None:
            self.adapter.save(str(directory))
            self.engine.save(directory)
            save_file({"cpu": torch.get_rng_state()}, directory / "rng.safetensors")
            state = {
                "step": self.step,
                "mixture": self.mixture.state_dict(),
                "task_ema": self.task_ema.state_dict(),
                "offsets": {"metrics": self.metrics.offset, "evaluation": self.evaluations.offset},
            }
            (directory / "trainer.json").write_text(json.dumps(state))

        save_checkpoint(self.config.out / "checkpoints", self.step, write)

    def _load_state(self, checkpoint: Path) -> dict[str, int]:
        state = json.loads((checkpoint / "trainer.json").read_text())
        self.step = state["step"]
        self.mixture.load_state_dict(state["mixture"])
        self.task_ema.load_state_dict(state["task_ema"])
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
