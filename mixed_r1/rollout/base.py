"""What a rollout is: G completions of a prompt with the log-probs they were drawn with, and who draws it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from torch import Tensor

from mixed_r1.models.prompt import Prompt
from mixed_r1.schema import Sample
from mixed_r1.train_config import SamplingSettings

__all__ = [
    "Completion",
    "Group",
    "RolloutError",
    "RolloutRequest",
    "Sampler",
    "SamplingParams",
    "SaveWeights",
]


class RolloutError(RuntimeError):
    """No completions could be drawn; the message says where, for which row, and why."""


@dataclass(frozen=True)
class SamplingParams:
    """How tokens are drawn. ``temperature=0`` is greedy decoding."""

    max_new_tokens: int = 64
    temperature: float = 1.0
    top_k: int = 0  # 0: off
    top_p: float = 1.0  # 1: off
    min_p: float = 0.0  # 0: off

    def __post_init__(self) -> None:
        if self.max_new_tokens < 1:
            raise ValueError(f"max_new_tokens must be at least 1, got {self.max_new_tokens}")
        if self.temperature < 0:
            raise ValueError(f"temperature must be at least 0, got {self.temperature}")
        if self.top_k < 0 or not 0 < self.top_p <= 1 or not 0 <= self.min_p < 1:
            raise ValueError(
                "top_k must be at least 0, top_p in (0, 1] and min_p in [0, 1), "
                f"got {self.top_k}, {self.top_p}, {self.min_p}"
            )

    @classmethod
    def of(cls, config: SamplingSettings, *, greedy: bool = False) -> SamplingParams:
        """How a run samples; ``greedy``: how its evaluation decodes beside that."""
        if greedy:
            return cls(config.max_new_tokens, temperature=0.0)
        return cls(config.max_new_tokens, config.temperature, config.top_k, config.top_p, config.min_p)

    @property
    def truncates(self) -> bool:
        return self.top_k > 0 or self.top_p < 1 or self.min_p > 0


@dataclass(frozen=True)
class Completion:
    """One sampled answer. C tokens, the stop token included where there is one."""

    tokens: Tensor  # [C] int64
    # [C] float32, of the policy: temperature and banned tokens applied, no truncation. None where another
    # program drew the tokens: the training step's first forward pass gives them.
    logprobs: Tensor | None
    # [C] float32, of the distribution drawn from: top-k, top-p and min-p applied as well. None: unknown.
    sampling_logprobs: Tensor | None
    stopped: bool  # ended with a stop token; False: cut at max_new_tokens
    text: str  # decoded, without the stop token

    def __len__(self) -> int:
        return int(self.tokens.numel())


@dataclass(frozen=True)
class Group:
    """All completions of one prompt."""

    sample: Sample
    prompt: Prompt
    completions: tuple[Completion, ...]
    image_features: Tensor | None = None  # [image tokens, d] where the rollout's can serve the training step


@dataclass(frozen=True)
class RolloutRequest:
    """What a sampler is asked for: ``num_completions`` completions of each of B prompts.

    The random numbers of a completion depend on ``seed``, ``step``, the row's key and the completion's index
    in its group, and on nothing else.
    """

    samples: Sequence[Sample]  # [B]
    prompts: Sequence[Prompt]  # [B], the same rows as the model reads them
    num_completions: int
    params: SamplingParams
    seed: int
    step: int
    # [B] what ``adapter.image_features([prompt])`` gave, where it is known: it spares our own sampler the
    # vision tower
    image_features: Sequence[Tensor | None] | None = None
    # [B] how often the row was drawn in this step before; None: no row twice. A set smaller than a step comes
    # round again, and the same random numbers would give the same completions.
    repeats: Sequence[int] | None = None

    @property
    def keys(self) -> list[str]:
        """[B] what stands for a row in its random numbers: its id, and how often it came before."""
        if self.repeats is None:
            return [sample.id for sample in self.samples]
        rows = zip(self.samples, self.repeats, strict=True)
        return [f"{sample.id}\0{again}" if again else sample.id for sample, again in rows]


class SaveWeights(Protocol):
    """Writes the model into ``directory``, or its LoRA adapter alone."""

    def __call__(self, directory: Path, *, adapter_only: bool = False) -> None: ...


class Sampler(Protocol):
    """Draws completions: from the model in this process, from a server, or by vLLM."""

    def push(self, version: int, save: SaveWeights) -> None:
        """Hand over the current weights. Every completion drawn after this comes from them.

        ``version`` counts the steps that the weights have seen; a version that was pushed before is not sent
        again. Every rank must call it.
        """
        ...

    def generate(self, request: RolloutRequest) -> list[list[Completion]]:
        """The completions of each prompt, in the order of ``request.prompts``.

        Raises:
            RolloutError: a completion could not be had; none is returned then.
        """
        ...

    def close(self) -> None: ...
