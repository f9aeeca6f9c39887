"""Supervised warm-up: a model that has never seen the answer format has no reward to learn from."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.ranks import Ranks
from mixed_r1.schema import Sample

__all__ = ["Example", "in_model_frame", "warm_up"]


@dataclass(frozen=True)
class Example:
    """A row and the completion the model should give."""

    sample: Sample
    target: str


def warm_up(
    adapter: ModelAdapter,
    examples: Sequence[Example],
    *,
    steps: int,
    batch_size: int = 32,
    lr: float = 4e-3,
    max_tokens_per_pack: int = 4096,
    seed: int = 0,
    ranks: Ranks | None = None,
    on_step: Callable[[int, float], None] | None = None,
) -> float:
    """Minimise the mean negative log-likelihood of the target's tokens (stop token included), all parameters.

    AdamW, one-cycle cosine schedule, epochs in an order that ``seed`` decides. ``ranks`` share each batch and
    add up their gradients. Returns the mean loss of the last tenth of the steps.
    """
    ranks = ranks or Ranks()
    if not examples:
        raise ValueError("examples must hold at least one row, got none")
    optimizer = torch.optim.AdamW(adapter.model.parameters(), lr=lr, betas=(0.9, 0.99), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    rng = np.random.default_rng(seed)
    order: list[int] = []
    losses = []
    adapter.model.train()
    for step in range(steps):
        while len(order) < batch_size:
            order.extend(rng.permutation(len(examples)).tolist())
        chosen, order = order[:batch_size], order[batch_size:]
        items = [_item(adapter, examples[i], index) for index, i in enumerate(ranks.share(chosen))]
        num_tokens = sum(ranks.gather(sum(int(item.completions[0].numel()) for item in items)))
        loss = 0.0
        for pack in pack_groups(items, adapter, max_tokens=max_tokens_per_pack):
            logprobs, _ = completion_logprobs(adapter, pack.to(adapter.output_weight.device))
            share = -logprobs.sum() / num_tokens
            share.backward()
            loss += float(share.detach())
        ranks.add_up(_gradients(adapter.model))
        torch.nn.utils.clip_grad_norm_(adapter.model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(sum(ranks.gather(loss)))
        if on_step is not None:
            on_step(step + 1, losses[-1])
    adapter.model.eval()
    return float(np.mean(losses[-max(1, steps // 10) :]))


def _gradients(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    """The gradient of every parameter; zeros where this rank's rows did not use it."""
    for parameter in model.parameters():
        if not parameter.requires_grad:  # frozen: a gradient of zeros would let weight decay move it
            continue
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        yield parameter.grad


def _item(adapter: ModelAdapter, example: Example, index: int) -> PackItem:
    prompt = adapter.encode(example.sample)
    tokens = adapter.tokenizer(example.target, add_special_tokens=False)["input_ids"]
    return PackItem(prompt, (torch.tensor([*tokens, adapter.stop_tokens[0]]),), (index,))


def in_model_frame(adapter: ModelAdapter, sample: Sample) -> Sample:
    """The row with its gold boxes, if any, in the coordinates the model is to write (whole numbers)."""
    if not sample.boxes or not sample.images:
        return sample
    prompt = adapter.encode(sample)
    size, seen = prompt.image_sizes[0], prompt.model_image_sizes[0]
    boxes = tuple(tuple(float(round(v)) for v in adapter.to_model_box(b, size, seen)) for b in sample.boxes)
    return sample.model_copy(update={"answer": boxes})
