"""One GRPO step of a random Qwen2.5-VL-3B, and TRL's beside it, each in a process of its own.

``python -m benchmarks.gpu_train_step --folder FOLDER --out FILE`` writes a checkpoint of the published sizes
with random bfloat16 weights, and times our step from it: 2 prompts of 280 tokens (256 of an image) x 8
completions of 32. A step is rows in, updated weights out: rollout, reward, advantages, loss, gradient,
clipping, AdamW. The vision tower is frozen. It needs no TRL; what it checks is that the sampler's log-probs
are those of the policy (``old_kl``).

``--peer`` then, in the same folder, times TRL's step, compares the log-probs of the completions that TRL drew
first, and records both. Ours trains bfloat16 weights with float32 copies, TRL float32 weights under bfloat16
autocast.

``--size tiny`` is a float32 model of half a million parameters, for a machine without a GPU.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks.harness import Case, Measurement, print_table, write_records
from benchmarks.trl_peer import conversations, quiet, started_trainer
from mixed_r1.data import save_samples
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig, Trainer

NUM_PROMPTS, GROUP, NUM_TOKENS = 2, 8, 32
PATCH, IMAGE_SIDE, NUM_DIGITS = 14, 448, 20  # 256 image tokens, the digits, and 4 of the chat template
PEER = "TRL GRPOTrainer"


class Size(NamedTuple):
    """What the configuration of a small model is given; ``dtype`` of the weights."""

    text: Mapping[str, Any]
    vision: Mapping[str, Any]
    dtype: torch.dtype
    tolerance: float  # of the mean difference in a log-prob
    most_kl: float  # of the sampler and the policy, per token


SIZES = {
    "3b": Size(
        text={
            "vocab_size": 151936,
            "hidden_size": 2048,
            "intermediate_size": 11008,
            "num_hidden_layers": 36,
            "layer_types": ["full_attention"] * 36,
            "num_attention_heads": 16,
            "num_key_value_heads": 2,
            "head_dim": 128,
            "max_position_embeddings": 128000,
            "rope_parameters": {
                "rope_type": "default",
                "rope_theta": 1e6,
                "mrope_section": [16, 24, 24],
            },
        },
        vision={
            "depth": 32,
            "hidden_size": 1280,
            "intermediate_size": 3420,
            "num_heads": 16,
            "out_hidden_size": 2048,
            "window_size": 112,
            "fullatt_block_indexes": [7, 15, 23, 31],
        },
        dtype=torch.bfloat16,
        tolerance=0.05,
        most_kl=5e-3,
    ),
    "tiny": Size(text={"vocab_size": 700}, vision={}, dtype=torch.float32, tolerance=1e-4, most_kl=1e-8),
}


class Side(NamedTuple):
    """What one side reports. ``old_kl``, of sampler and policy: the worst of our steps, None for TRL's."""

    seconds: list[float]
    peak_bytes: int | None
    missing_tokens: float
    groups_without_gradient: float
    old_kl: float | None = None


def write_checkpoint(folder: Path, size: Size, device: str) -> int:
    """A random model with a tokenizer whose every id is a text of its own. Returns its parameters' number."""
    small = tiny_adapter("qwen2_5_vl", corpus=["0123456789"], patch_size=PATCH, image_size=IMAGE_SIDE)
    config = small.model.config.to_dict()
    config["text_config"] |= size.text
    config["vision_config"] |= size.vision
    torch.manual_seed(0)
    with torch.device(device):
        whole = AutoConfig.for_model(**config)
        model = AutoModelForImageTextToText.from_config(whole, dtype=size.dtype)
    model.generation_config = small.model.generation_config
    model.save_pretrained(folder)
    small.tokenizer.save_pretrained(folder)
    small.image_processor.save_pretrained(folder)
    path = folder / "tokenizer.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    vocabulary = content["model"]["vocab"]
    # Added tokens too, or loading would number them after the words.
    vocabulary |= {token["content"]: token["id"] for token in content["added_tokens"]}
    vocabulary |= {f"word{i}": i for i in range(len(small.tokenizer), size.text["vocab_size"])}
    path.write_text(json.dumps(content), encoding="utf-8")
    return sum(parameter.numel() for parameter in model.parameters())


def rows() -> list[Sample]:
    """A noise image and a text of digits each."""
    rng = np.random.default_rng(0)
    shape = (IMAGE_SIDE, IMAGE_SIDE, 3)
    return [
        Sample(
            id=f"row {index}",
            task="open_ended",
            question="".join(map(str, rng.integers(0, 10, NUM_DIGITS))),
            images=(Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)),),
            answer="".join(map(str, rng.integers(0, 10, NUM_TOKENS))),
        )
        for index in range(NUM_PROMPTS)
    ]


def timed(step: Callable[[], tuple[float, ...]], device: str, seconds: float) -> Side:
    """One step to compile and allocate, then steps for about ``seconds``, three at least."""
    worst = step()
    print(f"first step done: {worst}", flush=True)
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        worst = tuple(map(max, worst, step()))
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
        print(f"step: {times[-1]:.3f} s", flush=True)
    peak = torch.cuda.max_memory_allocated() if device == "cuda" else None
    return Side(times, peak, *worst)


def trl_side(folder: Path, device: str, seconds: float) -> Side:
    import trl.trainer.utils

    samples = rows()
    adapter = load_adapter(folder / "model", dtype=torch.float32, device=device)
    for parameter in [*adapter.vision_parameters(), *adapter.projector_parameters()]:
        parameter.requires_grad_(False)
    never = sorted({*adapter.banned_tokens, *adapter.stop_tokens})
    rng = np.random.default_rng(1)
    on_gpu = device == "cuda"
    chunk = trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
    trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = min(chunk, len(adapter.output_weight))
    peer = started_trainer(
        adapter,
        samples,
        lambda completions, **_: rng.random(len(completions)).tolist(),
        never=never,
        output_dir=str(folder / "trl"),
        num_completions=GROUP,
        max_new_tokens=NUM_TOKENS,
        use_cpu=not on_gpu,
        bf16=on_gpu,
    )
    inputs = [row for row in conversations(samples) for _ in range(GROUP)]
    with quiet():
        batch = peer._generate_and_score_completions(inputs)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    fields = {
        name: batch[name] for name in ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    }
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=on_gpu):
        found = peer._get_per_token_logps_and_entropies(peer.model, ids, mask, NUM_TOKENS, **fields)[0]
    torch.save((batch["completion_ids"].cpu(), found.float().cpu()), folder / "logprobs.pt")

    def step() -> tuple[float, ...]:
        with quiet():
            peer.training_step(peer.model_wrapped, inputs, None)
        peer.accelerator.clip_grad_norm_(peer.model.parameters(), peer.args.max_grad_norm)
        peer.optimizer.step()
        peer.lr_scheduler.step()
        peer.model.zero_grad()
        metrics = peer._metrics["train"]
        return NUM_TOKENS - metrics["completions/mean_length"][-1], metrics["frac_reward_zero_std"][-1]

    return timed(step, device, seconds)


def our_side(folder: Path, device: str, seconds: float) -> Side:
    samples = rows()
    save_samples(samples, folder / "rows.jsonl")
    config = TrainConfig(
        model=folder / "model",
        data=folder / "rows.jsonl",
        out=folder / "run",
        dtype="bfloat16" if device == "cuda" else "float32",
        device=device,
        prompts_per_step=NUM_PROMPTS,
        completions_per_prompt=GROUP,
        max_new_tokens=NUM_TOKENS,
        completions_every=1 << 30,
        steps=1 << 30,
        lr=1e-12,
        reward={"format": "none"},
    )
    trainer = Trainer(config)
    trainer.collector.samples[:] = samples  # images decoded, as TRL has them
    adapter = trainer.model.adapter
    banned = tuple(sorted({*adapter.banned_tokens, *adapter.stop_tokens}))
    adapter.banned_tokens = banned  # no completion stops early

    def step() -> tuple[float, ...]:
        record = trainer._step()
        return NUM_TOKENS - record["length/mean"], record["zero_variance"], abs(record["old_kl"])

    return timed(step, device, seconds)


@torch.no_grad()
def logprob_difference(folder: Path, size: Size, device: str) -> float:
    """Mean difference of our log-probs from those that TRL gave its completions, whose softmax holds every
    token."""
    completions, expected = torch.load(folder / "logprobs.pt")
    samples, adapter = rows(), load_adapter(folder / "model", dtype=size.dtype, device=device)
    adapter.banned_tokens = ()
    items = [
        PackItem(adapter.encode(sample), tuple(completions[first : first + GROUP]), tuple(range(GROUP)))
        for first, sample in zip(range(0, len(completions), GROUP), samples, strict=True)
    ]
    packs = [pack for item in items for pack in pack_groups([item], adapter, max_tokens=4096)]
    found = torch.cat([completion_logprobs(adapter, pack.to(device))[0].cpu() for pack in packs])
    return float((found - expected.flatten()).abs().mean())


def record_ours(folder: Path, size_name: str, device: str, seconds: float, out: Path) -> int:
    """Our side, in this process. 1 where the sampler's log-probs are not the policy's, else 0."""
    size = SIZES[size_name]
    if not (folder / "model" / "config.json").exists():
        started = time.perf_counter()
        parameters = write_checkpoint(folder / "model", size, device)
        print(f"checkpoint of {parameters} parameters: {time.perf_counter() - started:.1f} s", flush=True)
        (folder / "parameters.json").write_text(json.dumps(parameters), encoding="utf-8")
        if device == "cuda":
            torch.cuda.empty_cache()
    side = our_side(folder, device, seconds)
    (folder / "mixed_r1.json").write_text(json.dumps(side._asdict()), encoding="utf-8")
    _record(folder, size_name, {"mixed_r1": side}, None, out)
    print(f"old_kl: at most {side.old_kl}, bound {size.most_kl}")
    right = side.old_kl is not None and side.old_kl <= size.most_kl
    return int(not right or bool(side.missing_tokens or side.groups_without_gradient))


def record_both(folder: Path, size_name: str, device: str, seconds: float, out: Path) -> int:
    """TRL's side, in this process, beside ours of before. 1 where the log-probs differ, else 0."""
    size = SIZES[size_name]
    ours = Side(**json.loads((folder / "mixed_r1.json").read_text(encoding="utf-8")))
    sides = {"mixed_r1": ours, "trl": trl_side(folder, device, seconds)}
    gc.collect()
    if device == "cuda":
        torch.cuda.empty_cache()
    difference = logprob_difference(folder, size, device)
    _record(folder, size_name, sides, difference, out)
    print(f"mean difference in a log-prob: {difference}, at most {size.tolerance}")
    incomplete = any(one.missing_tokens or one.groups_without_gradient for one in sides.values())
    return int(incomplete or not difference <= size.tolerance)


def _record(
    folder: Path, size_name: str, sides: Mapping[str, Side], difference: float | None, out: Path
) -> None:
    case = Case(
        name=f"train step, random Qwen2.5-VL {size_name}: 280 tokens, {NUM_PROMPTS} x {GROUP} x {NUM_TOKENS}",
        contenders=(),
        error=float,
        work=NUM_PROMPTS * GROUP * NUM_TOKENS * 1e9,
        unit="token/s",
        formula="completion tokens",
        parameters={
            "model_parameters": json.loads((folder / "parameters.json").read_text(encoding="utf-8")),
            "sides": {key: one._asdict() for key, one in sides.items()},
        },
    )
    error = sides["mixed_r1"].old_kl if difference is None else difference
    measurements = [
        _measurement("mixed_r1" if key == "mixed_r1" else PEER, side, key != "mixed_r1", error or 0.0)
        for key, side in sides.items()
    ]
    print_table(case, measurements)
    write_records(out, "train_step", case, measurements, 1)


def _measurement(name: str, side: Side, is_peer: bool, error: float) -> Measurement:
    times = sorted(side.seconds)
    return Measurement(
        name=name,
        is_peer=is_peer,
        error=error,
        median=statistics.median(times),
        p20=times[round(0.2 * (len(times) - 1))],
        p80=times[round(0.8 * (len(times) - 1))],
        clock="wall",
        wall_median=statistics.median(times),
        rounds=len(times),
        peak_bytes=side.peak_bytes,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_train_step", description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="3b")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cuda")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each side's steps")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines")
    parser.add_argument("--folder", type=Path, required=True, help="the checkpoint's and the sides'")
    parser.add_argument("--peer", action="store_true", help="TRL's side, after ours")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    run = record_both if options.peer else record_ours
    return run(options.folder, options.size, options.device, options.seconds, options.out)


if __name__ == "__main__":
    sys.exit(main())
