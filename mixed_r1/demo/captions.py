"""Teach a vision tower to say what it sees in the words of a frozen language model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from mixed_r1.data.easy_vqa import COLORS, SHAPES, CaptionedImage
from mixed_r1.models import ModelAdapter

__all__ = ["align_captions", "caption_tokens", "read_captions"]

NAMES = [(color, shape) for color in COLORS for shape in SHAPES]


def caption_tokens(adapter: ModelAdapter, color: str, shape: str, length: int) -> list[int]:
    """The last ``length`` tokens of " a red circle.": color and shape are among them."""
    return adapter.tokenizer(f" a {color} {shape}.", add_special_tokens=False)["input_ids"][-length:]


def align_captions(
    adapter: ModelAdapter,
    images: Sequence[CaptionedImage],
    *,
    steps: int,
    batch_size: int = 48,
    lr: float = 2e-3,
    seed: int = 0,
    on_step: Callable[[int, float], None] | None = None,
) -> float:
    """Bring what the language model gets for an image near its own embeddings of the image's caption.

    f [L d] is the image's tokens, e_c [L d] the embeddings of caption c, of all colors and shapes. Minimises
    the cross-entropy of the image's caption under softmax_c(-|f - e_c|^2 / 2 s^2), s^2 a 16th of the mean
    squared distance between captions, plus |f - e|^2 / mean_c |e_c|^2 of its own caption (the second alone is
    mostly about what captions share: after 300 steps 0.59 of colors and 0.30 of shapes were read rightly).
    AdamW, one-cycle schedule, vision tower and projector alone: the language model does not run, so a step
    costs what the small tower costs. Returns the mean loss of the last tenth of the steps (0 without any).
    """
    if not steps:
        return 0.0
    parameters = [*adapter.vision_parameters(), *adapter.projector_parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    rng, losses, seen = np.random.default_rng(seed), [], _Pixels(adapter)
    captions = _captions(adapter)
    distances = torch.cdist(captions, captions).square()
    spread, size = distances[distances > 0].mean() / 16, captions.square().sum(dim=1).mean()
    adapter.model.train()
    for step in range(steps):
        drawn = rng.choice(len(images), size=min(batch_size, len(images)), replace=False)
        chosen = [images[i] for i in drawn.tolist()]
        wanted = torch.tensor([NAMES.index((image.color, image.shape)) for image in chosen])
        apart = torch.cdist(seen.features(chosen), captions).square()
        own = apart.gather(1, wanted[:, None]).mean() / size
        loss = functional.cross_entropy(-apart / (2 * spread), wanted) + own
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(float(loss.detach()))
        if on_step is not None:
            on_step(step + 1, losses[-1])
    adapter.model.eval()
    return float(np.mean(losses[-max(1, steps // 10) :]))


@torch.no_grad()
def read_captions(adapter: ModelAdapter, images: Sequence[CaptionedImage]) -> tuple[list[str], list[str]]:
    """The color and the shape that each image's tokens are nearest to, of all captions."""
    features = _Pixels(adapter).features(images)
    nearest = torch.cdist(features, _captions(adapter)).argmin(dim=1).tolist()
    return [NAMES[i][0] for i in nearest], [NAMES[i][1] for i in nearest]


def _captions(adapter: ModelAdapter) -> Tensor:
    """[colors * shapes, L d]"""
    embeddings = adapter.core.get_input_embeddings().weight.detach()
    length = adapter.model.config.image_seq_length
    return torch.stack([embeddings[caption_tokens(adapter, *name, length)].flatten() for name in NAMES])


class _Pixels:
    """Images through the processor once, and through the tower as often as asked."""

    def __init__(self, adapter: ModelAdapter) -> None:
        self.adapter = adapter
        self.pixels: dict[str, Tensor] = {}

    def features(self, images: Sequence[CaptionedImage]) -> Tensor:
        """[images, L d], with gradient."""
        inputs = {"pixel_values": torch.cat([self._of(image) for image in images])}
        return self.adapter._vision_features(inputs).reshape(len(images), -1)

    def _of(self, image: CaptionedImage) -> Tensor:
        key = str(image.path)
        if key not in self.pixels:
            with Image.open(image.path) as file:
                inputs, _, _ = self.adapter._process_images([file.convert("RGB")])
            self.pixels[key] = inputs["pixel_values"]
        return self.pixels[key]
