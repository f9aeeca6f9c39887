"""One GRPO step of a random Qwen2.5-VL-3B beside TRL's, each in a process of its own, as one GPU holds one.

``python -m benchmarks.gpu_train_step --out FILE`` writes a checkpoint of the published sizes with random
bfloat16 weights, then runs TRL's side, then ours, from it: 2 prompts of 280 tokens (256 of an image) x 8
completions of 32. A step is rows in, updated weights out: rollout, reward, advantages, loss, gradient,
clipping, AdamW. Ours trains bfloat16 weights with float32 copies, TRL float32 weights under bfloat16
autocast; the vision tower is frozen on both sides. Correctness first: both give the log-probs of the
completions that TRL drew first.

``--size tiny`` is a float32 model of half a million parameters, for a machine without a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, PrinterCallback

from benchmarks.harness import ROOT, Case, Measurement, print_table, write_records
from benchmarks.trl_peer import conversations, grpo_trainer, quiet
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
    ),
    "tiny": Size(text={"vocab_size": 700}, vision={}, dtype=torch.float32, tolerance=1e-4),
}


class Side(NamedTuple):
    """What one side's process reports. ``difference``: the mean one of a log-prob, None for TRL's own."""

    seconds: list[float]
    peak_bytes: int | None
    missing_tokens: float
    groups_without_gradient: float
    difference: float | None = None


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


def timed(step: Callable[[], tuple[float, float]], device: str, seconds: float) -> Side:
    """One step to compile and allocate, then steps for about ``seconds``, three at least."""
    worst = step()
    if device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    times: list[float] = []
    while len(times) < 3 or sum(times) < seconds:
        started = time.perf_counter()
        worst = tuple(map(max, worst, step()))  # type: ignore[assignment]
        if device == "cuda":
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
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
    peer = grpo_trainer(
        adapter,
        samples,
        lambda completions, **_: rng.random(len(completions)).tolist(),
        output_dir=str(folder / "trl"),
        num_completions=GROUP,
        max_new_tokens=NUM_TOKENS,
        generation_kwargs={"suppress_tokens": never},
        loss_type="grpo",
        learning_rate=0.0,
        max_steps=1,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        use_cpu=not on_gpu,
        bf16=on_gpu,
    )
    peer.remove_callback(PrinterCallback)
    chunk = trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE
    trl.trainer.utils._CHUNKED_LOGPROB_CHUNK_SIZE = min(chunk, len(adapter.output_weight))
    inputs = [row for row in conversations(samples) for _ in range(GROUP)]
    with quiet():
        peer.train()  # one step of its own loop sets up its optimizer and the rest
        batch = peer._generate_and_score_completions(inputs)
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
    fields = {
        name: batch[name] for name in ("pixel_values", "image_grid_thw", "num_images", "mm_token_type_ids")
    }
    with torch.no_grad(), torch.autocast(device, torch.bfloat16, enabled=on_gpu):
        found = peer._get_per_token_logps_and_entropies(peer.model, ids, mask, NUM_TOKENS, **fields)[0]
    torch.save((batch["completion_ids"].cpu(), found.float().cpu()), folder / "logprobs.pt")

    def step() -> tuple[float, float]:
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
    trainer.samples[:] = samples  # images decoded, as TRL has them
    adapter = trainer.adapter
    banned = tuple(sorted({*adapter.banned_tokens, *adapter.stop_tokens}))
    saved = folder / "logprobs.pt"
    difference = _difference(adapter, samples, *torch.load(saved)) if saved.exists() else None
    adapter.banned_tokens = banned  # no completion stops early

    def step() -> tuple[float, float]:
        record = trainer._step()
        return NUM_TOKENS - record["length/mean"], record["zero_variance"]

    return timed(step, device, seconds)._replace(difference=difference)


@torch.no_grad()
def _difference(
    adapter: Any, samples: list[Sample], completions: torch.Tensor, expected: torch.Tensor
) -> float:
    """Mean difference from TRL's log-probs, whose softmax holds every token."""
    adapter.banned_tokens = ()
    items = [
        PackItem(adapter.encode(sample), tuple(completions[first : first + GROUP]), tuple(range(GROUP)))
        for first, sample in zip(range(0, len(completions), GROUP), samples, strict=True)
    ]
    packs = [pack for item in items for pack in pack_groups([item], adapter, max_tokens=4096)]
    found = torch.cat([completion_logprobs(adapter, pack)[0].cpu() for pack in packs])
    return float((found - expected.flatten()).abs().mean())


def compare(size_name: str, device: str, seconds: float, out: Path) -> int:
    """Both sides, a table and records. 1 where a side failed or the log-probs differ, else 0."""
    size = SIZES[size_name]
    sides: dict[str, Side] = {}
    with TemporaryDirectory() as name:
        folder = Path(name)
        parameters = write_checkpoint(folder / "model", size, device)
        if device == "cuda":
            torch.cuda.empty_cache()
        for side in ("trl", "mixed_r1"):
            words = ["--side", side, "--size", size_name, "--device", device, "--folder", name]
            command = [sys.executable, "-m", "benchmarks.gpu_train_step", *words, "--seconds", str(seconds)]
            done = subprocess.run(command, cwd=ROOT, text=True, stderr=subprocess.PIPE)
            if done.returncode == 0:
                sides[side] = Side(**json.loads((folder / f"{side}.json").read_text(encoding="utf-8")))
            else:
                print(f"{side} failed:\n{done.stderr[-2000:]}")
    if "mixed_r1" not in sides:
        return 1
    ours = sides["mixed_r1"]
    case = Case(
        name=f"train step, random Qwen2.5-VL {size_name}: 280 tokens, {NUM_PROMPTS} x {GROUP} x {NUM_TOKENS}",
        contenders=(),
        error=float,
        work=NUM_PROMPTS * GROUP * NUM_TOKENS * 1e9,
        unit="token/s",
        formula="completion tokens",
        parameters={
            "model_parameters": parameters,
            "sides": {key: one._asdict() for key, one in sides.items()},
        },
    )
    measurements = [_measurement("mixed_r1", ours, False)]
    measurements += [_measurement(PEER, sides["trl"], True)] if "trl" in sides else []
    print_table(case, measurements)
    write_records(out, "train_step", case, measurements, 1)
    incomplete = any(one.missing_tokens or one.groups_without_gradient for one in sides.values())
    wrong = ours.difference is not None and not ours.difference <= size.tolerance
    print(f"mean difference in a log-prob: {ours.difference}, at most {size.tolerance}")
    return int(wrong or incomplete or "trl" not in sides)


def _measurement(name: str, side: Side, is_peer: bool) -> Measurement:
    times = sorted(side.seconds)
    return Measurement(
        name=name,
        is_peer=is_peer,
        error=side.difference or 0.0,
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
    parser.add_argument("--out", type=Path, help="JSON lines")
    parser.add_argument("--side", choices=["mixed_r1", "trl"], help="only this one (what compare() runs)")
    parser.add_argument("--folder", type=Path, help="the checkpoint's, with --side")
    options = parser.parse_args()
    if options.side is None:
        if options.out is None:
            parser.error("--out must name a file")
        return compare(options.size, options.device, options.seconds, options.out)
    run = our_side if options.side == "mixed_r1" else trl_side
    found = run(options.folder, options.device, options.seconds)
    (options.folder / f"{options.side}.json").write_text(json.dumps(found._asdict()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
