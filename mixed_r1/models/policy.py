"""One forward pass of the policy over a pack: the log-prob of every completion token."""

from __future__ import annotations

import torch
from torch import Tensor

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.packing import Pack
from mixed_r1_kernels import token_logprobs_and_entropy

__all__ = ["completion_logprobs"]


def completion_logprobs(
    adapter: ModelAdapter, pack: Pack, *, temperature: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Log-probs [N] float32 of ``pack.targets`` (with gradient) and the entropies [N] of their distributions
    (without).

    Logits exist only at completion positions and only a chunk at a time. The distribution is the one the
    sampler draws from: banned tokens out, ``temperature`` applied.
    """
    hidden_BTd = adapter.hidden_states(
        pack.input_ids,
        position_ids=pack.position_ids,
        attention_mask=pack.mask(),
        image_features=_image_features(adapter, pack),
    )
    hidden_Nd = hidden_BTd.flatten(0, 1)[pack.source]
    return token_logprobs_and_entropy(
        hidden_Nd, adapter.output_weight, pack.targets, banned=adapter.banned_tokens, temperature=temperature
    )


def _image_features(adapter: ModelAdapter, pack: Pack) -> Tensor | None:
    """The rollout's features where every item with images brought them; else the vision tower runs, with
    gradient."""
    with_images = [item for item in pack.items if item.prompt.num_image_tokens]
    if not with_images:
        return None
    features = [item.image_features for item in with_images]
    if any(feature is None for feature in features):
        return adapter.image_features([item.prompt for item in with_images])
    return torch.cat([feature for feature in features if feature is not None])
