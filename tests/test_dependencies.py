"""pyproject.toml says what is imported, no more and no less."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:  # CI's test job runs 3.11
    tomllib = pytest.importorskip("tomli")

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Where the name of the module is not that of its distribution.
DISTRIBUTION = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "skimage": "scikit-image",
    "yaml": "pyyaml",
}
# Declared though no line of ours imports them, and why.
BY_NAME = {
    "gguf": "transformers reads GGUF files by it",
    "pandas": "vega-datasets returns its tables in it",
    "tensorboard": "torch.utils.tensorboard writes for it",
    "trackio": "settings name it",
    "wandb": "settings name it",
}
OPTIONAL = (
    "mini",
    "data",
    "ray",
    "deepspeed",
    "lora",
    "math",
    "triton",
    "vllm",
    "tracking",
    "serve",
    "weights",
)


def names(requirements: list[str]) -> set[str]:
    return {normal(re.match(r"[A-Za-z0-9_.-]+", text)[0]) for text in requirements} - {"mixed-r1"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def imported(root: str) -> set[str]:
    """Distributions that the sources under ``root`` import, anywhere in them."""
    found = set()
    for path in (ROOT / root).rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                modules = [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found.update(module.split(".")[0] for module in modules)
    found -= {*sys.stdlib_module_names, "mixed_r1", "mixed_r1_kernels"}
    return {normal(DISTRIBUTION.get(name, name)) for name in found}


def declared() -> set[str]:
    required = names(PROJECT["dependencies"]) | names(EXTRAS["rewards"]) | names(EXTRAS["train"])
    return required.union(*(names(EXTRAS[extra]) for extra in OPTIONAL))


def test_what_the_packages_import_is_declared() -> None:
    assert imported("mixed_r1") | imported("kernels/mixed_r1_kernels") <= declared()


def test_what_is_declared_is_imported() -> None:
    used = imported("mixed_r1") | imported("kernels/mixed_r1_kernels")
    assert declared() - used - BY_NAME.keys() == set()


def test_the_kernels_need_numpy_alone() -> None:
    """torch and triton are imported where a caller passes tensors."""
    assert names(PROJECT["dependencies"]) == {"numpy"}
    assert imported("kernels/mixed_r1_kernels") <= {"numpy", "torch", "triton"}


def test_every_extra_is_one_that_this_test_knows() -> None:
    assert EXTRAS.keys() == {"rewards", "train", "bench", "dev", "docs", *OPTIONAL}
