"""TRL's GRPOTrainer with Mixed-Reward on a mixed data set of images.

    python examples/trl_grpo.py --tiny --steps 3                 # two cores, no GPU, no download
    python examples/trl_grpo.py --model Qwen/Qwen2.5-VL-3B-Instruct --data rows.jsonl

Needs ``pip install 'mixed-r1[train,mini]' trl==1.16.0``. The second form needs torchvision as well, which
the Processor of a published checkpoint asks for.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from typing import Any

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from mixed_r1.chat import chat_messages
from mixed_r1.data import load_samples
from mixed_r1.images import open_image
from mixed_r1.integrations import encode
from mixed_r1.integrations.trl import reward_functions
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import TASKS, Sample
from mixed_r1_kernels import EmbeddingTable

VISION_TOKENS = ("<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>")


def main() -> None:
    args = parse_args()
    samples = load_samples(args.data) if args.data else mini_samples()
    # TRL 1.16 takes rows with images and rows without, but not both in one batch.
    samples = [sample for sample in samples if sample.images]
    model, processor = tiny_model(samples) if args.tiny else published_model(args.model)
    # A copy: the reward must not move with the embeddings that are trained.
    table = EmbeddingTable(model.get_input_embeddings().weight.detach().float().cpu().numpy().copy())
    # A random model writes no tags: without a format its captions still score, and training has a signal.
    config = RewardConfig(box_frame=args.box_frame, format="none" if args.tiny else "think_answer")
    reward = MixedReward(table, processor.tokenizer, config=config)
    for index, problem in reward.check(samples):
        raise SystemExit(f"row {samples[index].id}: {problem}")
    vocabulary = processor.tokenizer.get_vocab()
    settings = GRPOConfig(
        output_dir=args.out,
        max_steps=args.steps,
        per_device_train_batch_size=args.batch,
        num_generations=args.generations,
        max_completion_length=args.max_new_tokens,
        learning_rate=args.learning_rate,
        logging_steps=1,
        save_strategy="no",
        report_to=[],
        # A sampled image token would ask the training forward for an image that is not there.
        generation_kwargs={"suppress_tokens": [vocabulary[t] for t in VISION_TOKENS if t in vocabulary]},
        use_cpu=args.tiny,
        bf16=not args.tiny,
        gradient_checkpointing=not args.tiny,
    )
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward_functions(reward),
        args=settings,
        train_dataset=Dataset.from_list([row(sample) for sample in samples]),
        processing_class=processor,
    )
    trainer.train()
    for record in trainer.state.log_history:
        if "reward" in record:
            columns = {name: record.get(f"rewards/{name}/mean") for name in reward.names}
            logged = {name: record[name] for name in ("step", "reward", "grad_norm")}
            print(json.dumps({**logged, **columns}))


def row(sample: Sample) -> dict[str, Any]:
    """One row of the data set: the column ``sample`` holds all that the reward needs."""
    images = [open_image(source) for source in sample.images]
    sized = sample.model_copy(update={"image_size": images[0].size})
    return {"prompt": chat_messages(sample), "images": images, "sample": encode(sized)}


def mini_samples() -> list[Sample]:
    from mixed_r1.data.mini import build_mini

    with tempfile.TemporaryDirectory() as folder:
        samples = load_samples(build_mini(folder, size=400)["train"])
        by_task = {task: [s for s in samples if s.task == task and s.images][:12] for task in TASKS}
        return [
            sample.model_copy(update={"images": tuple(map(open_image, sample.images))})
            for rows in by_task.values()
            for sample in rows
        ]


def published_model(name: str) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    model = AutoModelForImageTextToText.from_pretrained(name)
    return model, AutoProcessor.from_pretrained(name, padding_side="left")


def tiny_model(samples: list[Sample]) -> tuple[Any, Any]:
    """A random Qwen2.5-VL of 0.4 M parameters with a processor that leaves videos (and torchvision) out."""
    from transformers import Qwen2_5_VLProcessor

    from mixed_r1.data.mini import corpus
    from mixed_r1.models.tiny import tiny_adapter

    class ImageTextProcessor(Qwen2_5_VLProcessor):
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **options: Any) -> None:
            super().__init__(image_processor, tokenizer, None, **options)

    adapter = tiny_adapter("qwen2_5_vl", corpus=corpus(samples))
    adapter.core.language_model.set_attn_implementation("sdpa")
    tokenizer = adapter.tokenizer
    tokenizer.padding_side = "left"  # TRL extends image token types on the right, so prompts end there
    parts = adapter.image_processor, tokenizer
    return adapter.model, ImageTextProcessor(*parts, chat_template=tokenizer.chat_template)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="GRPO by TRL on mixed rewards.")
    parser.add_argument("--tiny", action="store_true", help="a random tiny model on the CPU")
    parser.add_argument("--model", default="Qwen/Qwen2.5-VL-3B-Instruct")
    parser.add_argument("--data", help="JSONL or Parquet of rows (default: the embedded mini set)")
    parser.add_argument("--box-frame", default="pixels", choices=["pixels", "norm1000", "norm1"])
    parser.add_argument("--out", default="runs/trl")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--batch", type=int, default=40)
    parser.add_argument("--generations", type=int, default=8)
    parser.add_argument("--max-new-tokens", type=int, default=24)
    parser.add_argument("--learning-rate", type=float, default=1e-4)
    return parser.parse_args()


if __name__ == "__main__":
    main()
