"""Who answers and who scores in the difficulty stage of ``mixed-r1 data build``, as a recipe says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mixed_r1.data.engine.difficulty import Sampler, Scorer
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Difficulty, LocalModel, Recipe
from mixed_r1.data.servers import ServerSampler
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.load import load_reward
from mixed_r1.schema import Sample
from mixed_r1.tasks import task_of

__all__ = ["open_difficulty"]

_TASK_ALONE = {"task_weight": 1.0, "format_weight": 0.0}


def open_difficulty(recipe: Recipe, embeddings: Path | None = None) -> tuple[Sampler | None, Scorer | None]:
    """(sampler, scorer) for ``build``; both None for a recipe without a difficulty stage.

    Answers are scored by their task's reward alone, in [0, 1]: the format term would make every well-formed
    wrong answer a little right.

    Args:
        embeddings: model directory whose tokenizer and embeddings BMAS uses for open_ended rows, where
            servers answer. A local model brings its own.

    Raises:
        BuildError: nobody to answer, or open_ended rows without embeddings. ConfigError: reward settings.
    """
    spec = recipe.difficulty
    if spec is None:
        return None, None
    if spec.model is not None:
        local = _LocalModel(spec, spec.model, recipe.base)
        return local.sample, local.score
    if spec.servers is None:
        raise BuildError(
            "difficulty must name servers or a model to build from the command line, got neither"
        )
    if embeddings is None and any(task_of(task).scorer == "embedding" for task in spec.windows):
        raise BuildError("embeddings must be given to score open_ended rows, got none")
    settings = RewardConfig.from_mapping({**_TASK_ALONE, **spec.reward})
    resize = spec.servers.smart_resize
    if settings.box_frame == "resized" and resize is None:
        raise BuildError("difficulty.servers.smart_resize must be given for box_frame resized, got none")
    reward = load_reward(settings, embeddings=embeddings)

    def scorer(completions: list[str], samples: list[Sample]) -> list[float]:
        return _scores(reward, completions, [_seen_at(sample, resize) for sample in samples])

    return ServerSampler(spec.servers, seed=spec.seed), scorer


class _LocalModel:
    """The trainer's sampler on a model of this process; boxes are read in the model's own frame."""

    def __init__(self, spec: Difficulty, model: LocalModel, base: Path) -> None:
        import torch

        from mixed_r1.models import load_adapter
        from mixed_r1.rollout import SamplingParams

        auto = "cuda" if torch.cuda.is_available() else "cpu"
        path = base / model.path
        self._adapter = load_adapter(
            path,
            dtype=model.dtype,
            device=auto if model.device == "auto" else model.device,
            system_prompt=model.system_prompt,
            min_pixels=model.min_pixels,
            max_pixels=model.max_pixels,
        )
        settings = RewardConfig.from_mapping({**_TASK_ALONE, **spec.reward})
        spoken = settings.for_model(self._adapter.box_frame, self._adapter.thought(settings.think_tag))
        self._reward = load_reward(spoken, embeddings=path)
        self._params = SamplingParams(model.max_tokens, temperature=model.temperature, top_p=model.top_p)
        self._seed = spec.seed
        self._max_rows = model.max_rows
        self._encoded: dict[str, Sample] = {}

    def sample(self, samples: Sequence[Sample], k: int) -> list[list[str]]:
        """k answers per row; empty ones for a row that the model cannot be shown."""
        from mixed_r1.rollout import sample_completions
        from mixed_r1.train.evaluation import as_scored

        prompts = {}
        for sample in samples:
            try:
                prompts[sample.id] = self._adapter.encode(sample)
            except ValueError:
                continue
        self._encoded = {s.id: as_scored(s, prompts[s.id]) for s in samples if s.id in prompts}
        groups = sample_completions(
            self._adapter,
            list(prompts.values()),
            list(prompts),
            num_completions=k,
            params=self._params,
            seed=self._seed,
            max_rows=self._max_rows,
        )
        answers = {name: [one.text for one in group] for name, group in zip(prompts, groups, strict=True)}
        return [answers.get(sample.id, [""] * k) for sample in samples]

    def score(self, completions: list[str], samples: list[Sample]) -> list[float]:
        """Rewards of the answers to the rows ``sample`` was given last; NaN where it could not answer."""
        shown = [self._encoded.get(sample.id, sample) for sample in samples]
        return [
            value if sample.id in self._encoded else float("nan")
            for value, sample in zip(_scores(self._reward, completions, shown), samples, strict=True)
        ]


def _scores(reward: MixedReward, completions: list[str], samples: list[Sample]) -> list[float]:
    batch = reward(completions, samples)
    totals: list[float] = batch.total.tolist()
    return [
        min(1.0, max(0.0, total)) if known else float("nan")
        for total, known in zip(totals, batch.mask.tolist(), strict=True)
    ]


def _seen_at(sample: Sample, resize: tuple[int, int, int] | None) -> Sample:
    """The row with the size at which the model saw its image, for boxes in that frame."""
    if resize is None or not sample.boxes or sample.image_size is None:
        return sample
    from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

    width, height = sample.image_size
    multiple, least, most = resize
    rows, columns = smart_resize(height, width, factor=multiple, min_pixels=least, max_pixels=most)
    update: dict[str, Any] = {"resized_size": (columns, rows)}
    return sample.model_copy(update=update)
