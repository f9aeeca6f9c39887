"""Rows to groups: draw rows, encode them, sample completions of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.console import Console
from torch import Tensor

from mixed_r1.config import ConfigError
from mixed_r1.data.mixture import MixtureSampler
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
        # How often each row was drawn in the step that is under way, by its place among ``samples``.
        self.step = -1
        self.drawn: Counter[int] = Counter()

    def next(self, step: int, count: int) -> tuple[list[Group], int]:
        """A group for each of the next ``count`` rows of this rank. Rows that cannot be encoded are logged
        and replaced; the second value says how many. Every rank must call it."""
        config = self.config

        # Rows: the next ones of the mixture, as the model will read them.
        self.ranks.at("encoding", step)
        if step != self.step:
            self.step, self.drawn = step, Counter()
        samples, prompts, repeats, skipped = self._encoded(count)

        # Images: passes of the vision tower as large as the packs of the update. A frozen tower gives the
        # update the same features, so they are kept; a server that samples runs a tower of its own.
        self.ranks.at("rollout", step, (sample.id for sample in samples))
        needed = config.frozen_tower or config.rollout == "hf"
        features: list[Tensor | None] = [None] * len(prompts)
        if needed:
            features = self.adapter.feature_list(prompts, max_tokens=config.max_tokens_per_pack)

        # Completions: G for each prompt.
        request = RolloutRequest(
            samples=samples,
            prompts=prompts,
            num_completions=config.completions_per_prompt,
            params=SamplingParams.of(config),
            seed=config.seed,
            step=step,
            image_features=features,
            repeats=repeats,
        )
        drawn = on_every_rank(self.ranks, lambda: self.sampler.generate(request))
        groups = [
            Group(sample, prompt, tuple(completions), feature if config.frozen_tower else None)
            for sample, prompt, completions, feature in zip(samples, prompts, drawn, features, strict=True)
        ]
        return groups, skipped

    def _encoded(self, count: int) -> tuple[list[Sample], list[Prompt], list[int], int]:
        """All ranks draw the same rows and deal them out in turn: the draw depends on none of them."""
        samples: list[Sample] = []
        prompts: list[Prompt] = []
        repeats: list[int] = []
        skipped = 0
        bad = 0  # rows that could not be encoded since the last that could
        while any(missing := self.ranks.gather(count - len(samples))):
            # One row to each rank that still needs one, in turn, until all have what they need.
            owners = [r for turn in range(max(missing)) for r, m in enumerate(missing) if m > turn]
            for index, owner in zip(self.mixture.next(len(owners)), owners, strict=True):
                again = self.drawn[index]
                self.drawn[index] += 1
                if owner != self.ranks.rank:
                    continue
                sample = self.samples[index]
                try:
                    prompt = self.adapter.encode(sample, **self.config.encode_options())
                except ValueError as error:
                    skipped += 1
                    bad += 1
                    self.console.print(f"row {sample.id} skipped: {error}", style="yellow", markup=False)
                    if bad > 2 * max(len(self.samples), self.config.prompts_per_step):
                        problem = f"data must hold rows that can be encoded, got {bad} bad ones in a row"
                        raise ConfigError(f"{problem}; the last, {sample.id}: {error}") from None
                    continue
                bad = 0
                samples.append(as_scored(sample, prompt))
                prompts.append(prompt)
                repeats.append(again)
        return samples, prompts, repeats, skipped
