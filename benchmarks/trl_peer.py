"""TRL's GRPOTrainer on a model of ours, with nothing but the packages this project installs.

The processor class of a vision-language model takes a video processor, which needs torchvision. A subclass
whose signature leaves the video processor out keeps the rest: its image and text code is what runs.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from mixed_r1.chat import chat_messages
from mixed_r1.images import open_image
from mixed_r1.schema import Sample

RewardFunction: TypeAlias = "Callable[..., Sequence[float | None]]"

__all__ = ["conversations", "grpo_trainer", "image_text_processor", "quiet", "started_trainer"]


def image_text_processor(adapter: Any) -> Any:
    """The stock processor of ``adapter``'s family on its tokenizer and image processor, without videos."""
    from transformers import InternVLProcessor, Qwen2_5_VLProcessor, Qwen2VLProcessor, Qwen3VLProcessor

    stock = {
        "qwen2_5_vl": Qwen2_5_VLProcessor,
        "qwen2_vl": Qwen2VLProcessor,
        "qwen3_vl": Qwen3VLProcessor,
        "internvl": InternVLProcessor,
    }[adapter.family]

    class ImageTextProcessor(stock):  # type: ignore[misc, valid-type]
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **options: Any) -> None:
            super().__init__(image_processor, tokenizer, None, **options)

    # As the published tokenizers have it; TRL pads prompts on the left, and their token types as this says.
    adapter.tokenizer.padding_side = "left"
    options = {"chat_template": adapter.tokenizer.chat_template}
    if adapter.family == "internvl":
        options["image_seq_length"] = adapter.model.config.image_seq_length
    return ImageTextProcessor(adapter.image_processor, adapter.tokenizer, **options)


def conversations(samples: Sequence[Sample], system_prompt: str | None = None) -> list[dict[str, Any]]:
    """Rows of a TRL data set: ``prompt`` (chat messages), ``images`` (PIL) and ``index`` into ``samples``.

    The messages are those that our adapters render. TRL 1.16 fails on rows with and without images together.
    """
    return [
        {
            "prompt": chat_messages(sample, system_prompt),
            "images": [open_image(source) for source in sample.images],
            "index": index,
        }
        for index, sample in enumerate(samples)
    ]


def grpo_trainer(
    adapter: Any,
    samples: Sequence[Sample],
    rewards: RewardFunction | list[RewardFunction],
    *,
    output_dir: str,
    num_completions: int,
    max_new_tokens: int,
    **settings: Any,
) -> Any:
    """A ``trl.GRPOTrainer`` over ``samples`` on the CPU in float32; a step takes all of them.

    Reward functions are called with ``prompts``, ``completions``, ``completion_ids`` and ``index`` (of the
    sample), among others. ``settings`` are further fields of ``GRPOConfig``, before the defaults chosen here.
    The adapter's model is changed (stock SDPA attention, TRL's LM head): give the trainer one of its own.

    Raises:
        ImportError: trl is not installed (``pip install trl==1.16.0``).
    """
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    adapter.core.language_model.set_attn_implementation("sdpa")
    defaults = {
        "per_device_train_batch_size": len(samples) * num_completions,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "report_to": [],
    }
    with quiet():
        config = GRPOConfig(
            output_dir=output_dir,
            num_generations=num_completions,
            max_completion_length=max_new_tokens,
            **{**defaults, **settings},
        )
        return GRPOTrainer(
            model=adapter.model,
            reward_funcs=rewards,
            args=config,
            train_dataset=Dataset.from_list(conversations(samples, adapter.system_prompt)),
            processing_class=image_text_processor(adapter),
        )


def started_trainer(
    adapter: Any,
    samples: Sequence[Sample],
    rewards: RewardFunction | list[RewardFunction],
    *,
    never: Sequence[int],
    **settings: Any,
) -> Any:
    """A ``grpo_trainer`` whose steps can be timed: it changes no weight, saves and prints nothing, and never
    samples the tokens ``never``. One step of its own loop has set up its optimizer and the rest.
    """
    from transformers import PrinterCallback

    peer = grpo_trainer(
        adapter,
        samples,
        rewards,
        generation_kwargs={"suppress_tokens": list(never)},
        loss_type="grpo",
        learning_rate=0.0,
        max_steps=1,
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
        **settings,
    )
    peer.remove_callback(PrinterCallback)
    with quiet():
        peer.train()
    return peer


@contextmanager
def quiet() -> Iterator[None]:
    """No notices of transformers about the arguments that TRL passes to it."""
    from transformers.utils import logging

    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        logging.set_verbosity(verbosity)
