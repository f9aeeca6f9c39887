"""Our trainer beside TRL's GRPOTrainer on the CPU: forward and backward, rollout, whole step.

Both sides get the same Qwen2.5-VL (0.5 M parameters, equal weights), prompts, completions and advantages,
in float32. In the peer's favour: prompts and completions of equal length (it pads nothing, its attention
needs no mask), no gradient checkpointing (on by default there), all rows in one micro-batch, images
handed over decoded, and its logits buffer, which has room for 32,768 entries of the vocabulary, cut to
the model's 448. Made equal: no completion stops early (stop and vision tokens are suppressed on both
sides), and in the forward pass our softmax keeps the banned tokens, as the peer's does.

The vision tower and projector are frozen by default in our trainer. The features of the rollout then
serve the training step; the peer runs the tower once per completion all the same. "features recomputed"
is our step without that. With a trained tower both run it forward and backward, ours once per prompt. The
peer's loss is the oracle, so TRL must be installed even without ``--peers``.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # read when torch is imported: the profiler is silent

import numpy as np
import torch
from PIL import Image
from transformers.utils.logging import disable_progress_bar

from benchmarks.harness import Case, Contender
from benchmarks.trl_peer import conversations, quiet, started_trainer
from mixed_r1.data import save_samples
from mixed_r1.models import ModelAdapter, Prompt, tiny_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.rollout import SamplingParams, sample_completions
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig, Trainer
from mixed_r1.train.loss import policy_loss, token_weights

TOLERANCE = 1e-4
NUM_PROMPTS = 2
NUM_TOKENS = 32
PATCH = 14
SIDES = {26: 84, 280: 448, 1000: 868}  # prompt tokens: side of its image, of (side / 28)^2 tokens
STANDARD = [(26, 8), (280, 8), (1000, 8)]
SCALING = [(prompt, group) for prompt in SIDES for group in (4, 8, 16)]


class Pass(NamedTuple):
    """What a forward and backward pass leaves behind."""

    loss: float
    logprobs: list[tuple[int, torch.Tensor]]  # (completion, its [C]); empty for the peer, which keeps them
    gradients: list[torch.Tensor]


@dataclass
class Sides:
    """One size, both trainers. ``folder`` holds their files."""

    prompt: int
    group: int
    frozen: bool
    folder: Path

    def __post_init__(self) -> None:
        self.samples = _samples(self.prompt)
        self.ours, theirs = _adapter(self.prompt), _adapter(self.prompt)
        parts: Sequence[str] = ("vision", "projector") if self.frozen else ()
        for adapter in (self.ours, theirs):
            adapter.model.train()
            for part in parts:
                for parameter in getattr(adapter, f"{part}_parameters")():
                    parameter.requires_grad_(False)
        self.never = sorted({*self.ours.banned_tokens, *self.ours.stop_tokens})
        self.prompts = [self.ours.encode(sample) for sample in self.samples]
        assert {len(prompt) for prompt in self.prompts} == {self.prompt}
        self.ours.banned_tokens = tuple(self.never)
        config = TrainConfig(
            model=self.folder / "model",
            data=self.folder / "rows.jsonl",
            out=self.folder / "run",
            freeze=parts,
            prompts_per_step=NUM_PROMPTS,
            completions_per_prompt=self.group,
            max_new_tokens=NUM_TOKENS,
            completions_every=1 << 30,
            steps=1 << 30,
            lr=1e-12,
            reward={"format": "none"},
        )
        self.ours.save(config.model)
        save_samples(self.samples, config.data)
        self.trainer = Trainer(config)
        self.trainer.model.adapter.banned_tokens = tuple(self.never)
        self.trainer.collector.samples[:] = self.samples  # images decoded
        self.peer = self._peer(theirs)
        rows = conversations(self.samples)
        self.rows = [row for row in rows for _ in range(self.group)]

    def _peer(self, adapter: ModelAdapter) -> Any:
        import trl.trainer.utils

        def reward(completions: list[Any], index: list[int], **_: Any) -> list[float]:
            texts = [completion[0]["content"] for completion in completions]
            return self.trainer.scorer.reward(texts, [self.samples[i] for i in index]).total.tolist()

        trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = len(adapter.output_weight)
        return started_trainer(
            adapter,
            self.samples,
            reward,
            never=self.never,
            output_dir=str(self.folder / "trl"),
            num_completions=self.group,
            max_new_tokens=NUM_TOKENS,
        )


def cases(options: argparse.Namespace) -> Iterator[Case]:
    torch.set_num_threads(options.threads)
    disable_progress_bar()
    for prompt, group in SCALING if options.scaling else STANDARD:
        for frozen in (True, False) if group == 8 else (True,):
            with TemporaryDirectory() as folder:
                sides = Sides(prompt, group, frozen, Path(folder))
                kinds = [_forward_backward, _rollout, _step] if frozen else [_forward_backward, _step]
                for kind in kinds:
                    case = kind(sides, options)
                    yield case
                    peaks = case.parameters["peak_tensor_bytes"].items()
                    print(
                        "  tensors at most:", ", ".join(f"{name} {size / 1e6:.1f} MB" for name, size in peaks)
                    )


def _case(sides: Sides, what: str, contenders: list[Contender], error: Callable[[Any], float]) -> Case:
    count = NUM_PROMPTS * sides.group
    vision = "frozen" if sides.frozen else "trained"
    parameters = {
        "what": what,
        "prompts": NUM_PROMPTS,
        "prompt_tokens": sides.prompt,
        "image_tokens": sides.prompts[0].num_image_tokens,
        "completions_per_prompt": sides.group,
        "completion_tokens": NUM_TOKENS,
        "vision": vision,
        "model_parameters": sum(p.numel() for p in sides.ours.model.parameters()),
        "peak_tensor_bytes": {one.name: peak_tensor_bytes(one.run) for one in contenders},
    }
    sizes = f"prompt {sides.prompt}, {NUM_PROMPTS} x {sides.group} x {NUM_TOKENS} tokens"
    work = float(count * NUM_TOKENS) * 1e9
    name = f"{what}, vision {vision}: {sizes}"
    return Case(name, contenders, error, work, "token/s", "completion tokens", parameters)


def _forward_backward(sides: Sides, options: argparse.Namespace) -> Case:
    """Loss of one batch and its gradient.

    The old log-probs are the present ones plus noise, so that ratios differ from 1 and some are clipped.
    Error: the largest difference in the loss, a log-prob, or a gradient's entry over the gradient's norm.
    """
    peer, adapter = sides.peer, sides.ours
    with quiet():
        batch = peer._generate_and_score_completions(sides.rows)
    count = NUM_PROMPTS * sides.group
    assert batch["completion_ids"].shape == (count, NUM_TOKENS)
    generator = torch.Generator().manual_seed(0)
    expected = _peer_logprobs(peer, batch)
    batch["advantages"] = torch.randn(count, generator=generator)
    batch["old_per_token_logps"] = expected + 0.3 * torch.randn(expected.shape, generator=generator)

    def theirs() -> Pass:
        peer.model.zero_grad(set_to_none=True)
        loss = peer.compute_loss(peer.model_wrapped, batch)
        peer.accelerator.backward(loss)
        return Pass(float(loss.detach()), [], _gradients(peer.model))

    adapter.banned_tokens = ()
    items = _items(sides, batch["completion_ids"])
    oracle = theirs()
    oracle = oracle._replace(gradients=[gradient.clone() for gradient in oracle.gradients])
    norm = float(torch.stack([gradient.norm() for gradient in oracle.gradients]).norm())

    def error(result: Pass) -> float:
        differences = [abs(result.loss - oracle.loss)]
        differences += [float((row - expected[index]).abs().max()) for index, row in result.logprobs]
        pairs = zip(result.gradients, oracle.gradients, strict=True)
        differences += [float((mine - other).abs().max()) / norm for mine, other in pairs]
        return max(differences)

    def ours(items: Sequence[PackItem]) -> Pass:
        return _our_pass(adapter, items, batch["old_per_token_logps"], batch["advantages"])

    contenders = []
    if sides.frozen:
        cached = [replace(item, image_features=_features(adapter, item.prompt)) for item in items]
        contenders.append(Contender("mixed_r1", lambda: ours(cached), tolerance=TOLERANCE))
    name = "mixed_r1, features recomputed" if sides.frozen else "mixed_r1"
    contenders.append(Contender(name, lambda: ours(items), tolerance=TOLERANCE))
    if options.peers:
        contenders.append(Contender("TRL GRPOTrainer", theirs, is_peer=True))
    return _case(sides, "forward+backward", contenders, error)


def _our_pass(
    adapter: ModelAdapter, items: Sequence[PackItem], old: torch.Tensor, advantages: torch.Tensor
) -> Pass:
    """As ``Trainer`` does it."""
    adapter.model.zero_grad(set_to_none=True)
    count = len(old)
    lengths = torch.full((count,), NUM_TOKENS)
    weights = token_weights(
        "grpo", lengths, num_completions=count, num_tokens=count * NUM_TOKENS, max_new_tokens=NUM_TOKENS
    )
    total = 0.0
    rows: list[tuple[int, torch.Tensor]] = []
    for pack in pack_groups(items, adapter, max_tokens=4096):
        indices = [index for item in pack.items for index in item.indices]
        logprobs, _ = completion_logprobs(adapter, pack)
        loss, _ = policy_loss(
            logprobs, old[indices].flatten(), advantages, weights, pack.completion_of_target
        )
        torch.autograd.backward(loss)
        total += float(loss.detach())
        rows += zip(indices, torch.split(logprobs.detach(), NUM_TOKENS), strict=True)
    return Pass(total, rows, _gradients(adapter.model))


def _items(sides: Sides, completion_ids: torch.Tensor) -> list[PackItem]:
    G = sides.group
    return [
        PackItem(prompt, tuple(completion_ids[g * G : (g + 1) * G]), tuple(range(g * G, (g + 1) * G)))
        for g, prompt in enumerate(sides.prompts)
    ]


@torch.no_grad()
def _features(adapter: ModelAdapter, prompt: Prompt) -> torch.Tensor | None:
    return adapter.image_features([prompt])


@torch.no_grad()
def _peer_logprobs(peer: Any, batch: dict[str, Any]) -> torch.Tensor:
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    names = ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    inputs = {name: batch[name] for name in names}
    return peer._get_per_token_logps_and_entropies(peer.model, ids, mask, NUM_TOKENS, **inputs)[0]


def _gradients(model: torch.nn.Module) -> list[torch.Tensor]:
    return [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]


def _rollout(sides: Sides, options: argparse.Namespace) -> Case:
    """Token ids and pixels in, completions out.

    Error: the share of tokens that differ where both decode greedily, plus the tokens that a draw lacks.
    """
    peer, adapter = sides.peer, sides.ours
    adapter.banned_tokens = tuple(sides.never)
    keys = [sample.id for sample in sides.samples]

    def ours(temperature: float = 1.0) -> list[list[int]]:
        params = SamplingParams(max_new_tokens=NUM_TOKENS, temperature=temperature)
        drawn = sample_completions(adapter, sides.prompts, keys, num_completions=sides.group, params=params)
        return [completion.tokens.tolist() for completions in drawn for completion in completions]

    with quiet():
        ids, images, fields = peer._tokenize_prompts([row["prompt"] for row in _with_images(sides.rows)])

    def theirs() -> list[list[int]]:
        with quiet():
            return peer._generate_single_turn(ids, images, fields, sides.group)[0]

    peer.generation_kwargs["do_sample"] = peer.generation_config.do_sample = False
    greedy = np.array(theirs())
    peer.generation_kwargs["do_sample"] = peer.generation_config.do_sample = True
    differ = float((np.array(ours(temperature=0.0)) != greedy).mean())

    def error(result: list[list[int]]) -> float:
        return differ + abs(greedy.size - sum(map(len, result)))

    contenders = [Contender("mixed_r1", ours, tolerance=0.0)]
    if options.peers:
        contenders.append(Contender("TRL GRPOTrainer", theirs, is_peer=True))
    return _case(sides, "rollout", contenders, error)


def _with_images(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    from trl.data_utils import prepare_multimodal_messages

    return [{"prompt": prepare_multimodal_messages(row["prompt"], images=row["images"])} for row in rows]


def _step(sides: Sides, options: argparse.Namespace) -> Case:
    """Rows in, updated weights out: rollout, reward, advantages, loss, gradient, clipping, AdamW.

    Error: the tokens that a completion lacks, plus the share of groups without a gradient.
    """
    trainer, peer = sides.trainer, sides.peer

    def ours() -> tuple[float, float]:
        record = trainer._step()
        return record["length/mean"], record["zero_variance"]

    def theirs() -> tuple[float, float]:
        with quiet():
            peer.training_step(peer.model_wrapped, sides.rows, None)
        peer.accelerator.clip_grad_norm_(peer.model.parameters(), peer.args.max_grad_norm)
        peer.optimizer.step()
        peer.lr_scheduler.step()
        peer.model.zero_grad()
        metrics = peer._metrics["train"]
        return metrics["completions/mean_length"][-1], metrics["frac_reward_zero_std"][-1]

    contenders = [Contender("mixed_r1", ours, tolerance=0.0)]
    if options.peers:
        contenders.append(Contender("TRL GRPOTrainer", theirs, is_peer=True))
    return _case(sides, "whole step", contenders, lambda result: NUM_TOKENS - result[0] + result[1])


def peak_tensor_bytes(run: Callable[[], Any]) -> int:
    """The most bytes alive at once among the tensors allocated during ``run``, from torch's own record.

    Resident memory does not show it: the process keeps what earlier runs have freed.
    """
    activities = [torch.profiler.ProfilerActivity.CPU]
    with torch.profiler.profile(activities=activities, profile_memory=True) as profile:
        run()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(0, *np.cumsum([event.nbytes() for event in events], dtype=np.int64).tolist())


def _adapter(prompt: int) -> ModelAdapter:
    return tiny_adapter("qwen2_5_vl", corpus=["0123456789"], patch_size=PATCH, image_size=SIDES[prompt])


def _samples(prompt: int) -> list[Sample]:
    """A noise image and a text of digits, a token each: ``prompt`` tokens with four of the chat template."""
    rng = np.random.default_rng(prompt)
    side = SIDES[prompt]
    num_digits = prompt - (side // (2 * PATCH)) ** 2 - 4
    return [
        Sample(
            id=f"row {index}",
            task="open_ended",
            question="".join(map(str, rng.integers(0, 10, num_digits))),
            images=(Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)),),
            answer="".join(map(str, rng.integers(0, 10, NUM_TOKENS))),
        )
        for index in range(NUM_PROMPTS)
    ]
