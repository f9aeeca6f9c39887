"""Mixed-R1: GRPO post-training of vision-language models on a mix of tasks, each with its own verifiable
reward."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("mixed-r1")
except PackageNotFoundError:  # a source tree that was never installed
    __version__ = "0+unknown"

__all__ = ["__version__"]
