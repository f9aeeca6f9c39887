"""One optimizer step from one rollout: packs, losses, gradients.

Ranks must go through the model equally often and by the same way, or their collectives do not meet. So every
rank runs as many packs as the one with the most, and where the vision tower trains and any pack of any rank
holds an image, every pack does. What fills up is a prompt of ours with one token whose loss is 0.
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
    weights: Tensor  # [K]
    old: Logprobs
    sampling: Logprobs


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
        self.config, self.adapter, self.engine, self.ranks = config, adapter, engine, ranks
        self.reference = reference
        self.device = adapter.output_weight.device
        self.tower_trains = not {"vision", "projector"} <= set(config.freeze)

    def __call__(self, step: int, scored: Scored, advantages: np.ndarray) -> dict[str, float]:
        """``updates_per_rollout`` passes over the rollout; ``advantages`` [K] of this rank's completions."""
        config, batch = self.config, self._batch(scored, advantages)
        packs, fillers = self._packs(scored.groups, batch.wanted)
        sums, norms = np.zeros(8), []
        for _ in range(config.updates_per_rollout):
            for pack in packs:
                indices = (i for item in pack.items for i in item.indices if i != FILLER)
                self.ranks.at("training", step, sorted({scored.samples[i].id for i in indices}))
                sums += self._backward(pack, batch)
            for pack in fillers:
                self._backward_filler(pack)
            norms.append(self.engine.step())
        loss, tokens, *sums = np.sum(self.ranks.gather(sums.tolist()), axis=0)
        names = ("clip_fraction", "kl", "old_kl", "importance", "sampling_kl", "entropy")
        # Where all groups are flat no token is trained on: nothing is clipped or moved, the rest is unknown.
        unknown = {} if tokens else dict.fromkeys(("importance", "sampling_kl", "entropy"), math.nan)
        return {
            "loss": loss / config.updates_per_rollout,
            "grad_norm": norms[-1],
            "skipped_updates": sum(not np.isfinite(norm) for norm in norms),
            **{name: total / max(1, tokens) for name, total in zip(names, sums, strict=True)},
            **unknown,
            "packs": len(packs) + len(fillers),
        }

    def gradients_by_task(self, scored: Scored, advantages: np.ndarray) -> dict[str, float]:
        """What the tasks' parts of the gradient have in common, before the update: the norm |g_a| of each,
        and g_a . g_b / (|g_a| |g_b|) of each two. Below 0, a step for one task is a step back for the other;
        a task whose groups are all flat has no gradient and no cosine. Costs one more pass."""
        assert isinstance(self.engine, LocalEngine)  # open_engine saw to it
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
        metrics = {f"gradient/norm/{task}": float(g.norm()) for task, g in gradients.items()}
        for a, b in itertools.combinations(gradients, 2):
            cosine = torch.nn.functional.cosine_similarity(gradients[a], gradients[b], dim=0)
            metrics[f"gradient/cosine/{a}/{b}"] = float(cosine)
        return metrics

    def _batch(self, scored: Scored, advantages: np.ndarray) -> _Batch:
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
        items, first = [], 0
        for group in groups:
            chosen = [i for i in range(len(group.completions)) if wanted[first + i]]
            if chosen:
                tokens = tuple(group.completions[i].tokens for i in chosen)
                indices = tuple(first + i for i in chosen)
                items.append(PackItem(group.prompt, tokens, indices, group.image_features))
            first += len(group.completions)
        packs = self._packed(items)
        tower_runs = self.tower_trains and any(item.prompt.num_image_tokens for item in items)
        counts = self.ranks.gather([len(packs), tower_runs])
        if len(counts) == 1:
            return packs, []
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

    def _backward(self, pack: Pack, batch: _Batch) -> np.ndarray:
        """Gradient of one pack; sums over its tokens: loss, tokens, clipped, kl, old_kl, importance,
        sampling_kl, entropy.

        Old log-probs that are missing (another program sampled) are filled in: before the first update, the
        policy is the old one.
        """
        config, old, sampling = self.config, batch.old, batch.sampling
        logprobs, entropies, reference = self._logprobs(pack)
        zero = 0.0 * logprobs.sum() if self.ranks.world_size > 1 else 0.0  # fillers take part, with no effect
        real = pack.rows != FILLER
        logprobs, rows = logprobs[real], pack.rows[real]
        kept = [
            (i, c.numel()) for item in pack.items for i, c in zip(item.indices, item.completions, strict=True)
        ]
        kept = [(i, length) for i, length in kept if i != FILLER]
        parts = torch.split(logprobs.detach(), [length for _, length in kept])
        for (i, _), part in zip(kept, parts, strict=True):
            old.setdefault(i, part)
            sampling.setdefault(i, old[i])
        old_N, sampling_N = (torch.cat([by[i] for i, _ in kept]).to(self.device) for by in (old, sampling))
        loss, stats = policy_loss(
            logprobs,
            old_N,
            batch.advantages,
            batch.weights,
            rows,
            kind=config.loss,
            clip_low=config.clip_low,
            clip_high=config.clip_high,
            beta=config.beta,
            reference_logprobs=None if reference is None else reference[real],
            importance=importance_weights(old_N, sampling_N, cap=config.importance_cap),
        )
        self.engine.backward(loss + zero)
        sums = [loss.detach(), stats.tokens, stats.clipped, stats.kl, stats.old_kl, stats.importance]
        drawn_elsewhere = k3(old_N - sampling_N).sum()  # from the distribution drawn from to the policy
        return np.array([float(value) for value in (*sums, drawn_elsewhere, entropies[real].sum())])
