"""Groups as packed sequences: ``[prompt | c1 | c2 | ... | cG]`` with a tree mask, so a prompt is encoded
once.

A completion sees the prompt and itself; its positions restart at the prompt's end. The last token of a
completion is a target only, so it is not an input. Stock transformers models take the result unchanged.

Two layouts of the same units (a prompt with some of its completions):

- dense: one unit a row, rows of like length stacked and right-padded; a bool mask [B, 1, T, T] (CPU, SDPA);
- flex: all units of a pack in one row, no padding; a FlexAttention block mask (CUDA).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import create_block_mask

from mixed_r1.models.adapter import ModelAdapter
from mixed_r1.models.prompt import Prompt

__all__ = ["Pack", "PackItem", "pack_groups", "partition"]

PROMPT = -1  # completion_of a prompt token
PADDING = -1  # unit_of a padding token


@dataclass(frozen=True)
class PackItem:
    """A prompt and the completions to train on, with their indices in the batch."""

    prompt: Prompt
    completions: tuple[Tensor, ...]  # [C] int64 each, C >= 1
    indices: tuple[int, ...]  # which completion of the batch each one is
    image_features: Tensor | None = None

    def __len__(self) -> int:
        return len(self.prompt) + sum(tokens.numel() - 1 for tokens in self.completions)


@dataclass(frozen=True)
class Pack:
    """One forward pass. B rows of T inputs, N targets; all completion tokens of its items are targets."""

    input_ids: Tensor  # [B, T] int64
    position_ids: Tensor  # [A, B, T] int64
    unit_of: Tensor  # [B, T] int64, PADDING for padding
    completion_of: Tensor  # [B, T] int64, PROMPT for prompt tokens
    # [N] int64 into the flattened B * T inputs: the token whose hidden state predicts the target
    source: Tensor
    targets: Tensor  # [N] int64
    completion_of_target: Tensor  # [N] int64, the completion of the batch that a target belongs to
    items: tuple[PackItem, ...]  # in the order of their images
    layout: str

    def to(self, device: torch.device | str) -> Pack:
        moved: dict[str, Any] = {k: v.to(device) for k, v in vars(self).items() if isinstance(v, Tensor)}
        return replace(self, **moved)

    def mask(self) -> Any:
        """What the model's ``attention_mask`` takes."""
        return self.block_mask() if self.layout == "flex" else self.dense_mask()

    def dense_mask(self) -> Tensor:
        """[B, 1, T, T] bool, True = attend."""
        T = self.input_ids.shape[1]
        unit, completion = self.unit_of, self.completion_of
        same_unit_BTT = unit[:, :, None] == unit[:, None, :]
        visible_BTT = (completion[:, None, :] == PROMPT) | (completion[:, :, None] == completion[:, None, :])
        causal_TT = torch.ones(T, T, dtype=torch.bool, device=unit.device).tril()
        return (same_unit_BTT & visible_BTT & causal_TT)[:, None]

    def block_mask(self) -> Any:
        """The same as a FlexAttention block mask."""
        B, T = self.input_ids.shape
        unit, completion = self.unit_of, self.completion_of

        def attends(b: Tensor, h: Tensor, q: Tensor, k: Tensor) -> Tensor:
            visible = (completion[b, k] == PROMPT) | (completion[b, k] == completion[b, q])
            return (unit[b, q] == unit[b, k]) & visible & (k <= q)

        return create_block_mask(attends, B=B, H=None, Q_LEN=T, KV_LEN=T, device=unit.device)


def pack_groups(
    items: Sequence[PackItem],
    adapter: ModelAdapter,
    *,
    max_tokens: int,
    layout: str = "auto",
    company: PackItem | None = None,
) -> list[Pack]:
    """Cut ``items`` into packs of at most ``max_tokens`` inputs (padding counted), see ``partition``.

    ``layout``: "auto" is "flex" on a GPU, which FlexAttention needs to be fast, else "dense". ``company`` is
    added to every pack that holds no image, even beyond ``max_tokens``.
    """
    if layout == "auto":
        layout = "flex" if adapter.output_weight.device.type == "cuda" else "dense"
    packs = partition(items, max_tokens=max_tokens, layout=layout)
    if company is not None:
        packs = [p if any(i.prompt.num_image_tokens for i in p) else [*p, company] for p in packs]
    return [_lay_out([p] if layout == "flex" else [[item] for item in p], adapter, layout) for p in packs]


def partition(items: Sequence[PackItem], *, max_tokens: int, layout: str) -> list[list[PackItem]]:
    """Decide which units share a pack.

    A group too large for one pack is split into several that repeat the prompt; a single completion longer
    than ``max_tokens`` with its prompt makes a pack of its own. The result depends on the order of items only
    through ties.
    """
    if layout not in ("dense", "flex"):
        raise ValueError(f"layout must be 'auto', 'dense' or 'flex', got {layout!r}")
    if max_tokens < 1:
        raise ValueError(f"max_tokens must be at least 1, got {max_tokens}")
    pieces = [piece for item in items for piece in _split(item, max_tokens)]
    pieces.sort(key=len, reverse=True)
    return _first_fit(pieces, max_tokens) if layout == "flex" else _stacks(pieces, max_tokens)


def _split(item: PackItem, max_tokens: int) -> list[PackItem]:
    parts: list[tuple[list[Tensor], list[int]]] = []
    used = max_tokens + 1
    for tokens, index in zip(item.completions, item.indices, strict=True):
        if tokens.numel() < 1:
            raise ValueError(f"completions must have at least one token, got none for completion {index}")
        inputs = tokens.numel() - 1
        if used + inputs > max_tokens:
            parts.append(([], []))
            used = len(item.prompt)
        parts[-1][0].append(tokens)
        parts[-1][1].append(index)
        used += inputs
    return [PackItem(item.prompt, tuple(t), tuple(i), item.image_features) for t, i in parts]


def _stacks(pieces: Sequence[PackItem], max_tokens: int) -> list[list[PackItem]]:
    """Stack rows, longest first, as long as they fit when all are padded to the first one's length."""
    stacks = []
    start = 0
    while start < len(pieces):
        rows = max(1, max_tokens // len(pieces[start]))
        stacks.append(list(pieces[start : start + rows]))
        start += rows
    return stacks


def _first_fit(pieces: Sequence[PackItem], max_tokens: int) -> list[list[PackItem]]:
    """First fit decreasing: within 11/9 of the fewest packs."""
    bins: list[list[PackItem]] = []
    free: list[int] = []
    for piece in pieces:
        place = next((i for i, space in enumerate(free) if space >= len(piece)), None)
        if place is None:
            bins.append([piece])
            free.append(max_tokens - len(piece))
        else:
            bins[place].append(piece)
            free[place] -= len(piece)
    return bins


def _lay_out(rows: Sequence[Sequence[PackItem]], adapter: ModelAdapter, layout: str) -> Pack:
    B = len(rows)
    T = max(sum(len(item) for item in row) for row in rows)
    axes = rows[0][0].prompt.position_ids.shape[0]
    input_ids = torch.full((B, T), adapter.stop_tokens[0], dtype=torch.int64)
    position_ids = torch.zeros((axes, B, T), dtype=torch.int64)
    unit_of = torch.full((B, T), PADDING, dtype=torch.int64)
    completion_of = torch.full((B, T), PROMPT, dtype=torch.int64)
    source, targets, owners = [], [], []
    unit = 0
    for b, row in enumerate(rows):
        start = 0
        for item in row:
            stop = start + len(item)
            lengths = [tokens.numel() - 1 for tokens in item.completions]
            input_ids[b, start:stop] = torch.cat([item.prompt.input_ids, *(t[:-1] for t in item.completions)])
            position_ids[:, b, start:stop] = adapter.positions(item.prompt, lengths)
            unit_of[b, start:stop] = unit
            prompt_end = b * T + start + len(item.prompt) - 1
            first = start + len(item.prompt)
            for c, (tokens, index, length) in enumerate(
                zip(item.completions, item.indices, lengths, strict=True)
            ):
                completion_of[b, first : first + length] = c
                source.append(torch.cat([torch.tensor([prompt_end]), torch.arange(length) + b * T + first]))
                targets.append(tokens)
                owners.append(torch.full((length + 1,), index, dtype=torch.int64))
                first += length
            start = stop
            unit += 1
    return Pack(
        input_ids=input_ids,
        position_ids=position_ids,
        unit_of=unit_of,
        completion_of=completion_of,
        source=torch.cat(source),
        targets=torch.cat(targets),
        completion_of_target=torch.cat(owners),
        items=tuple(item for row in rows for item in row),
        layout=layout,
    )
