"""The language models' attention: the kind of mask chooses between SDPA and FlexAttention, call by call.

In transformers a name in the model's config chooses the attention, for every call. That is not enough here,
for two reasons. The sampler (dense masks) and the training step (block masks) share one model, which must not
be switched under a gradient checkpoint. And Qwen2.5-VL takes block masks, although its class does not say so:
its layers go through the same interface.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.flex_attention import flex_attention_forward
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

__all__ = ["ATTENTION"]

ATTENTION = "mixed_r1"


def _attention(
    module: torch.nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Any, **options: Any
) -> tuple[Tensor, Tensor | None]:
    forward = flex_attention_forward if isinstance(attention_mask, BlockMask) else sdpa_attention_forward
    return forward(module, query, key, value, attention_mask, **options)


AttentionInterface.register(ATTENTION, _attention)
AttentionMaskInterface.register(ATTENTION, sdpa_mask)
