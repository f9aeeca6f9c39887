"""``transformers serve`` on the CPU without torchvision: ``python launch_serve.py PORT``.

The server's code is run as it is; only the processor it loads is one without a video part, whose image
processor decodes with Pillow. (torchvision, which stock processors need, does not load beside a CPU torch.)
"""

from __future__ import annotations

import sys
from typing import Any

from transformers import AutoConfig, AutoImageProcessor, AutoTokenizer, InternVLProcessor, Qwen2_5_VLProcessor
from transformers.cli.serve import Serve
from transformers.cli.serving.model_manager import ModelManager


def load_processor(manager: Any, model_id_and_revision: str, gguf_file: str | None = None) -> Any:
    path = model_id_and_revision.split("@", 1)[0]
    config = AutoConfig.from_pretrained(path)
    internvl = config.model_type == "internvl"

    class ImageTextProcessor(InternVLProcessor if internvl else Qwen2_5_VLProcessor):
        def __init__(self, image_processor: Any = None, tokenizer: Any = None, **options: Any) -> None:
            super().__init__(image_processor, tokenizer, None, **options)

    tokenizer = AutoTokenizer.from_pretrained(path)
    options = {"image_seq_length": config.image_seq_length} if internvl else {}
    images = AutoImageProcessor.from_pretrained(path, backend="pil")
    return ImageTextProcessor(images, tokenizer, chat_template=tokenizer.chat_template, **options)


if __name__ == "__main__":
    ModelManager._load_processor = load_processor
    Serve(host="127.0.0.1", port=int(sys.argv[1]), device="cpu", log_level="warning")
