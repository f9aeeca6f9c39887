"""Rows to groups: draw rows, encode them, sample completions of each."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from rich.console import Console
from torch import Tensor

from mixed_r1.data.mixture import MixtureSampler
from mixed_r1.images import ImageError
from mixed_r1.models.base import ModelAdapter, Prompt
from mixed_r1.ranks import Ranks
from mixed_r1.rollout import Group, RolloutEngine, SamplingParams
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
    """Draws rows from ``mixture`` and has ``engine`` complete them."""

    def __init__(
        self,
        config: TrainConfig,
        adapter: ModelAdapter,
        samples: Sequence[Sample],
        mixture: MixtureSampler,
        engine: RolloutEngine,
        console: Console,
        ranks: Ranks,
    ) -> None:
        self.config, self.adapter, self.samples = config, adapter, samples
        self.mixture, self.engine, self.console, self.ranks = mixture, engine, console, ranks

    def next(self, step: int, count: int) -> tuple[list[Group], int]:
        """A group for each of the next ``count`` rows of this rank. Rows that cannot be encoded are logged
        and replaced; the second value says how many. Every rank must call it."""
        config = self.config
        self.ranks.at("encoding", step)
        samples, prompts, skipped = self._encoded(count)
        self.ranks.at("rollout", step, (sample.id for sample in samples))
        reusable = {"vision", "projector"} <= set(config.freeze)
        wanted = reusable or config.rollout == "hf"
        features = self._image_features(prompts) if wanted else [None] * len(prompts)
        drawn = on_every_rank(
            self.ranks,
            self.engine.generate,
            samples,
            prompts,
            num_completions=config.completions_per_prompt,
            params=SamplingParams.of(config),
            seed=config.seed,
            step=step,
            image_features=features,
        )
        groups = [
            Group(sample, prompt, tuple(completions), feature if reusable else None)
            for sample, prompt, completions, feature in zip(samples, prompts, drawn, features, strict=True)
        ]
        return groups, skipped

    def _encoded(self, count: int) -> tuple[list[Sample], list[Prompt], int]:
        """Ranks draw the same rows and deal them out in turn, so what is drawn depends on no one rank."""
        samples: list[Sample] = []
        prompts: list[Prompt] = []
        skipped = bad = 0  # all, and those since the last good one
        while any(missing := self.ranks.gather(count - len(samples))):
            owners = [r for turn in range(max(missing)) for r, m in enumerate(missing) if m > turn]
            for index, owner in zip(self.mixture.next(len(owners)), owners, strict=True):
                if owner != self.ranks.rank:
                    continue
                sample = self.samples[index]
                try:
                    prompt = self.adapter.encode(sample, max_tokens=self.config.max_prompt_tokens)
                except (ImageError, ValueError) as error:
                    skipped, bad = skipped + 1, bad + 1
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
