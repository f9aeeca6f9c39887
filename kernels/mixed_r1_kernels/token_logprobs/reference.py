"""Token log-probabilities by full logits in float64: the definition."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def token_logprobs(
    hidden: Tensor, weight: Tensor, targets: Tensor, banned: Sequence[int], temperature: float
) -> tuple[Tensor, Tensor]:
    """(log-probs [T], entropies [T]) in float64, differentiable. Allocates the [T, V] logits."""
    logits_TV = hidden.double() @ weight.double().T / temperature
    logits_TV[:, list(banned)] = -torch.inf
    logprobs_TV = torch.log_softmax(logits_TV, dim=-1)
    entropies_T = torch.special.entr(logprobs_TV.detach().exp()).sum(dim=-1)
    return logprobs_TV.gather(1, targets[:, None])[:, 0], entropies_T
