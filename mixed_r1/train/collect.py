"""Rows to groups: draw rows, encode them, sample completions of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Console
from torch import Tensor

from mixed_r1.data.mixture import MixtureSampler
from mixed_r1.images import ImageError
from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.prompt import Prompt
from mixed_r1.ranks import Ranks
from mixed_r1.rollout import Group, RolloutRequest, Sampler, SamplingParams
from mixed_r1.schema import Sample
from mixed_r1.train.evaluation import as_scored, on_every_rank
from mixed_r1.train_config import TrainConfig

__all__ = ["Collector", "open_mixture"]


def open_mixture(config: TrainConfig, samples: Sequence[Sample]) -> MixtureSampler:
    """The order in which ``config`` draws ``samples``."""
    return MixtureSampler(
        samples,
        weights=config.mixture,
        order=config.order,
        seed=config.seed,
        spread=config.curriculum_spread,
        draws=config.steps * config.prompts_per_step,
    )


class Collector:
    """Draws rows from ``mixture`` and has ``sampler`` complete them."""

    def __init__(
        self,
        config: TrainConfig,
        adapter: ModelAdapter,
        samples: Sequence[Sample],
        mixture: MixtureSampler,
        sampler: Sampler,
        console: Console,
        ranks: Ranks,
    ) -> None:
        self.config = config
        self.adapter = adapter
        self.samples = samples
        self.mixture = mixture
        self.sampler = sampler
        self.console = console
        self.ranks = ranks

    def next(self, step: int, count: int) -> tuple[list[Group], int]:
        """A group for each of the next ``count`` rows of this rank. Rows that cannot be encoded are logged
        and replaced; the second value says how many. Every rank must call it."""
        config = self.config

        # Rows: the next ones of the mixture, as the model will read them.
        self.ranks.at("encoding", step)
        samples, prompts, skipped = self._encoded(count)

        # Images: one pass of the vision tower for all of them. A frozen tower gives the update the same
        # features, so they are kept; a server that samples runs a tower of its own.
        self.ranks.at("rollout", step, (sample.id for sample in samples))
        needed = config.frozen_tower or config.rollout == "hf"
        features = self._image_features(prompts) if needed else [None] * len(prompts)

        # Completions: G for each prompt.
        request = RolloutRequest(
            samples=samples,
            prompts=prompts,
            num_completions=config.completions_per_prompt,
            params=SamplingParams.of(config),
            seed=config.seed,
            step=step,
            image_features=features,
        )
        drawn = on_every_rank(self.ranks, lambda: self.sampler.generate(request))
        groups = [
            Group(sample, prompt, tuple(completions), feature if config.frozen_tower else None)
            for sample, prompt, completions, feature in zip(samples, prompts, drawn, features, strict=True)
        ]
        return groups, skipped

    def _encoded(self, count: int) -> tuple[list[Sample], list[Prompt], int]:
        """All ranks draw the same rows and deal them out in turn: the draw depends on none of them."""
        samples: list[Sample] = []
        prompts: list[Prompt] = []
        skipped = 0
        bad = 0  # rows that could not be encoded since the last that could
        while any(missing := self.ranks.gather(count - len(samples))):
            # One row to each rank that still needs one, in turn, until all have what they need.
            owners = [r for turn in range(max(missing)) for r, m in enumerate(missing) if m > turn]
            for index, owner in zip(self.mixture.next(len(owners)), owners, strict=True):
                if owner != self.ranks.rank:
                    continue
                sample = self.samples[index]
                try:
                    prompt = self.adapter.encode(sample, max_tokens=self.config.max_prompt_tokens)
                except (ImageError, ValueError) as error:
                    skipped += 1
                    bad += 1
                    self.console.print(f"row {sample.id} skipped: {error}", style="yellow", markup=False)
                    if bad > 2 * max(len(self.samples), self.config.prompts_per_step):
                        problem = f"data must hold rows that can be encoded, got {bad} bad ones in a row"
                        raise ValueError(problem) from None
                    continue
                bad = 0
                samples.append(as_scored(sample, prompt))
                prompts.append(prompt)
        return samples, prompts, skipped

    @torch.no_grad()
    def _image_features(self, prompts: Sequence[Prompt]) -> list[Tensor | None]:
        """One pass of the vision tower for all prompts, cut into each prompt's share."""
        features = self.adapter.image_features(prompts)
        if features is None:
            return [None] * len(prompts)
        shares = iter(torch.split(features, [p.num_image_tokens for p in prompts if p.num_image_tokens]))
        return [next(shares) if p.num_image_tokens else None for p in prompts]
