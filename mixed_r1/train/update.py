"""One optimizer step from one rollout: packs, losses, gradients.

Ranks must go through the model equally often and by the same way, or their collectives do not meet. So every
rank runs as many packs as the one with the most, and where the vision tower trains and any pack of any rank
holds an image, every pack does. What fills up is a prompt of ours with one token whose loss is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mixed_r1.engines import Engine
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
        config, completions = self.config, scored.completions
        lengths = torch.tensor([len(c) for c in completions])
        counted = torch.from_numpy(scored.mask)
        totals = np.sum(self.ranks.gather([int(counted.sum()), int(lengths[counted].sum())]), axis=0)
        weights = token_weights(
            config.loss,
            lengths,
            num_completions=int(totals[0]),
            num_tokens=int(totals[1]),
            max_new_tokens=config.max_new_tokens,
        ).to(self.device)
        wanted = scored.mask & ((advantages != 0) | (config.beta > 0))
        packs, fillers = self._packs(scored.groups, wanted)
        old = {i: c.logprobs for i, c in enumerate(completions) if c.logprobs is not None}
        sampling = {
            i: c.sampling_logprobs
            for i, c in enumerate(completions)
            if i not in old and c.sampling_logprobs is not None
        }
        advantages_K = torch.from_numpy(advantages).float().to(self.device)
        sums, norms = np.zeros(8), []
        for _ in range(config.updates_per_rollout):
            for pack in packs:
                indices = (i for item in pack.items for i in item.indices if i != FILLER)
                self.ranks.at("training", step, sorted({scored.samples[i].id for i in indices}))
                sums += self._backward(pack, old, sampling, advantages_K, weights)
            for pack in fillers:
                self.engine.backward(0.0 * self._logprobs(pack)[0].sum())
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

    def _backward(
        self, pack: Pack, old: Logprobs, sampling: Logprobs, advantages_K: Tensor, weights_K: Tensor
    ) -> np.ndarray:
        """Gradient of one pack; sums over its tokens: loss, tokens, clipped, kl, old_kl, importance,
        sampling_kl, entropy.

        ``old`` log-probs that are missing (another program sampled) are filled in: before the first update,
        the policy is the old one.
        """
        config = self.config
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
            advantages_K,
            weights_K,
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
