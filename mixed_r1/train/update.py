"""One optimizer step from one rollout: packs, losses, gradients.

Ranks must go through the model equally often and by the same way: their collectives wait for one another. So
every rank runs as many packs as the one with the most. And where the vision tower trains, and any pack of any
rank holds an image, every pack holds one. What is added for this is called a *filler*: a short prompt with a
completion of one token whose loss is 0.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mixed_r1.engines import Engine, LocalEngine
from mixed_r1.models import ModelAdapter
from mixed_r1.models.packing import Pack, PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.ranks import Ranks
from mixed_r1.rollout import Group
from mixed_r1.run_directory import Metric
from mixed_r1.schema import Sample
from mixed_r1.train.loss import importance_weights, k3, policy_loss, token_weights
from mixed_r1.train.scoring import Scored
from mixed_r1.train_config import TrainConfig

__all__ = ["PolicyUpdate"]

FILLER = -1  # the "completion of the batch" that a filler's token belongs to
Logprobs = dict[int, Tensor]  # completion of the batch -> [C]


class _Batch(NamedTuple):
    """What an update needs to know of the K completions of this rank."""

    wanted: np.ndarray  # [K] bool, those with a gradient
    advantages: Tensor  # [K]
    weights: Tensor  # [K] of each completion's tokens in the loss
    old: Logprobs  # under the policy before the first update
    sampling: Logprobs  # under the distribution they were drawn from


class _Sums(NamedTuple):
    """Sums over the trained tokens of one or more packs. ``loss`` is their part of the whole batch's."""

    loss: float = 0.0
    tokens: float = 0.0
    clipped: float = 0.0
    kl: float = 0.0
    old_kl: float = 0.0
    importance: float = 0.0
    sampling_kl: float = 0.0
    entropy: float = 0.0

    def plus(self, other: _Sums) -> _Sums:
        return _Sums(*(mine + others for mine, others in zip(self, other, strict=True)))

    def means(self) -> dict[str, float]:
        """Means over the tokens. Without any (all groups are flat) nothing was clipped or moved, and what a
        mean over tokens would tell is unknown."""
        if self.tokens == 0:
            unknown = (Metric.IMPORTANCE, Metric.SAMPLING_KL, Metric.ENTROPY)
            still = (Metric.CLIP_FRACTION, Metric.KL, Metric.OLD_KL)
            return {**dict.fromkeys(still, 0.0), **dict.fromkeys(unknown, math.nan)}
        return {
            Metric.CLIP_FRACTION: self.clipped / self.tokens,
            Metric.KL: self.kl / self.tokens,
            Metric.OLD_KL: self.old_kl / self.tokens,
            Metric.IMPORTANCE: self.importance / self.tokens,
            Metric.SAMPLING_KL: self.sampling_kl / self.tokens,
            Metric.ENTROPY: self.entropy / self.tokens,
        }


class PolicyUpdate:
    """Forward, backward and optimizer steps; ``reference`` is the model that the KL term pulls to."""

    def __init__(
        self,
        config: TrainConfig,
        adapter: ModelAdapter,
        engine: Engine,
        ranks: Ranks,
        reference: ModelAdapter | None,
    ) -> None:
        self.config = config
        self.adapter = adapter
        self.engine = engine
        self.ranks = ranks
        self.reference = reference
        self.device = adapter.output_weight.device

    def __call__(self, step: int, scored: Scored, advantages: np.ndarray) -> dict[str, float]:
        """``updates_per_rollout`` passes over the rollout; ``advantages`` [K] of this rank's completions."""
        updates = self.config.updates_per_rollout

        # Completions with an advantage, several groups to a sequence; the packs serve every pass.
        batch = self._batch(scored, advantages)
        packs, fillers = self._packs(scored.groups, batch.wanted)
        sums = _Sums()
        norms = []
        for _ in range(updates):
            # The gradients of the packs add up to that of the whole batch; then one optimizer step.
            for pack in packs:
                indices = (i for item in pack.items for i in item.indices if i != FILLER)
                self.ranks.at("training", step, sorted({scored.samples[i].id for i in indices}))
                sums = sums.plus(self._backward(pack, batch))
            for pack in fillers:
                self._backward_filler(pack)
            norms.append(self.engine.step())

        # What the ranks saw together. The norm is that of the last update.
        everywhere = _Sums(*np.sum(self.ranks.gather(list(sums)), axis=0).tolist())
        return {
            Metric.LOSS: everywhere.loss / updates,
            Metric.GRAD_NORM: norms[-1],
            Metric.SKIPPED_UPDATES: sum(not math.isfinite(norm) for norm in norms),
            **everywhere.means(),
            Metric.PACKS: len(packs) + len(fillers),
        }

    def gradients_by_task(self, scored: Scored, advantages: np.ndarray) -> dict[str, float]:
        """What the tasks' parts of the gradient have in common, before the update.

        That is the norm |g_a| of each, and the cosine g_a . g_b / (|g_a| |g_b|) of each two. Where a cosine
        is below 0, a step for one task is a step back for the other. A task whose groups are all flat has
        neither. Costs one more forward and backward pass.
        """
        assert isinstance(self.engine, LocalEngine)  # open_engine allows no other here
        batch = self._batch(scored, advantages)
        tasks = np.array(scored.tasks)
        gradients: dict[str, Tensor] = {}
        for task in sorted({task for found in self.ranks.gather(scored.tasks) for task in found}):
            packs, fillers = self._packs(scored.groups, batch.wanted & (tasks == task))
            for pack in packs:
                self._backward(pack, batch)
            for pack in fillers:
                self._backward_filler(pack)
            gradient = self.engine.take_gradient()
            if gradient is not None and bool(gradient.any()):
                gradients[task] = gradient
        metrics = {Metric.GRADIENT_NORM + task: float(g.norm()) for task, g in gradients.items()}
        for a, b in itertools.combinations(gradients, 2):
            cosine = torch.nn.functional.cosine_similarity(gradients[a], gradients[b], dim=0)
            metrics[f"{Metric.GRADIENT_COSINE}{a}/{b}"] = float(cosine)
        return metrics

    def _batch(self, scored: Scored, advantages: np.ndarray) -> _Batch:
        # The loss is one mean over the whole batch, whatever rank or pack a completion is in: its tokens get
        # their weight from the totals of all ranks, and packs then simply add up.
        completions = scored.completions
        lengths = torch.tensor([len(c) for c in completions])
        counted = torch.from_numpy(scored.mask)
        totals = np.sum(self.ranks.gather([int(counted.sum()), int(lengths[counted].sum())]), axis=0)
        weights = token_weights(
            self.config.loss,
            lengths,
            num_completions=int(totals[0]),
            num_tokens=int(totals[1]),
            max_new_tokens=self.config.max_new_tokens,
        )
        old = {i: c.logprobs for i, c in enumerate(completions) if c.logprobs is not None}
        sampling = {
            i: c.sampling_logprobs
            for i, c in enumerate(completions)
            if i not in old and c.sampling_logprobs is not None
        }
        return _Batch(
            wanted=scored.mask & ((advantages != 0) | (self.config.beta > 0)),
            advantages=torch.from_numpy(advantages).float().to(self.device),
            weights=weights.to(self.device),
            old=old,
            sampling=sampling,
        )

    def _backward_filler(self, pack: Pack) -> None:
        self.engine.backward(0.0 * self._logprobs(pack)[0].sum())

    def _packs(self, groups: Sequence[Group], wanted: np.ndarray) -> tuple[list[Pack], list[Pack]]:
        """This rank's packs, and those that make their number that of the other ranks."""
        items = []
        first = 0
        for group in groups:
            chosen = [i for i in range(len(group.completions)) if wanted[first + i]]
            if chosen:
                tokens = tuple(group.completions[i].tokens for i in chosen)
                indices = tuple(first + i for i in chosen)
                items.append(PackItem(group.prompt, tokens, indices, group.image_features))
            first += len(group.completions)
        packs = self._packed(items)
        tower_runs = not self.config.frozen_tower and any(item.prompt.num_image_tokens for item in items)
        counts = self.ranks.gather([len(packs), tower_runs])
        if len(counts) == 1:
            return packs, []

        # Several ranks: see the head of this file.
        with_image = any(runs for _, runs in counts)
        filler = self._filler(with_image)
        fillers = self._packed([filler]) * (max(count for count, _ in counts) - len(packs))
        return self._packed(items, company=filler) if with_image else packs, fillers

    def _packed(self, items: Sequence[PackItem], company: PackItem | None = None) -> list[Pack]:
        limit = self.config.max_tokens_per_pack
        packs = pack_groups(items, self.adapter, max_tokens=limit, company=company)
        return [pack.to(self.device) for pack in packs]

    def _filler(self, with_image: bool) -> PackItem:
        images = (Image.new("RGB", (32, 32)),) if with_image else ()
        prompt = self.adapter.encode(
            Sample(id="filler", task="open_ended", question="-", answer="-", images=images)
        )
        return PackItem(prompt, (torch.tensor([self.adapter.stop_tokens[0]]),), (FILLER,))

    def _logprobs(self, pack: Pack) -> tuple[Tensor, Tensor, Tensor | None]:
        """Log-probs and entropies under the policy, log-probs under the reference: [N] each."""
        reference = None
        if self.config.beta > 0:
            with torch.no_grad():
                if self.reference is not None:
                    temperature = self.config.temperature
                    reference, _ = completion_logprobs(self.reference, pack, temperature=temperature)
                else:
                    with self.adapter.model.disable_adapter():
                        reference, _ = self.engine.logprobs(pack)
        return *self.engine.logprobs(pack), reference

    def _backward(self, pack: Pack, batch: _Batch) -> _Sums:
        """Add the gradient of one pack, N tokens of completions, and return what it sums up to."""
        config = self.config
        logprobs, entropies, reference = self._logprobs(pack)
        # A filler in the pack gets a gradient of 0, so that all ranks go through the same parameters.
        zero = 0.0 * logprobs.sum() if self.ranks.world_size > 1 else 0.0
        real = pack.completion_of_target != FILLER
        logprobs = logprobs[real]

        # Old log-probs are the sampler's. Where another program sampled there are none: then the policy of
        # this first pass is the old one, and its log-probs are kept for the passes to come.
        lengths = {
            i: completion.numel()
            for item in pack.items
            for i, completion in zip(item.indices, item.completions, strict=True)
            if i != FILLER
        }
        parts = torch.split(logprobs.detach(), list(lengths.values()))
        for i, part in zip(lengths, parts, strict=True):
            batch.old.setdefault(i, part)
            batch.sampling.setdefault(i, batch.old[i])
        old_N = torch.cat([batch.old[i] for i in lengths]).to(self.device)
        sampling_N = torch.cat([batch.sampling[i] for i in lengths]).to(self.device)

        # Loss and gradient.
        loss, stats = policy_loss(
            logprobs,
            old_N,
            batch.advantages,
            batch.weights,
            pack.completion_of_target[real],
            kind=config.loss,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            beta=config.beta,
            reference_logprobs=None if reference is None else reference[real],
            importance=importance_weights(old_N, sampling_N, cap=config.importance_cap),
        )
        self.engine.backward(loss + zero)
        return _Sums(
            loss=float(loss.detach()),
            tokens=float(stats.tokens),
            clipped=float(stats.clipped),
            kl=float(stats.kl),
            old_kl=float(stats.old_kl),
            importance=float(stats.importance),
            sampling_kl=float(k3(old_N - sampling_N).sum()),
            entropy=float(entropies[real].sum()),
        )
