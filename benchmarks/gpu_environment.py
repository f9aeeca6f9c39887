"""python -m benchmarks.gpu_environment: what is installed, and that every implementation for a GPU can run.

Exit status 1 where one cannot: `impl="cuda"` that is not built is a failure, not something to leave out.
``--dry`` asks for those of a CPU.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import platform
import re
import shutil
import subprocess
import sys

PACKAGES = ("torch", "triton", "transformers", "numpy", "tokenizers", "pydantic", "datasets", "trl", "pytest")
TOOLS = ("nvcc", "compute-sanitizer", "nvidia-smi", "git", "g++")


def why_no_interpreter() -> str:
    """Why Triton's interpreter cannot run here; "" where it can."""
    try:
        triton, numpy = (importlib.metadata.version(name) for name in ("triton", "numpy"))
    except importlib.metadata.PackageNotFoundError:
        return "triton is not installed"
    # Up to 3.6 it takes arrays of one element for scalars, which NumPy 2.4 refuses.
    if _numbers(triton) < (3, 7) and _numbers(numpy) >= (2, 4):
        return f"the interpreter of triton {triton} does not work with NumPy {numpy}"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:2])


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu_environment", description=__doc__)
    parser.add_argument("--dry", action="store_true")
    dry = parser.parse_args().dry
    print(f"Python {platform.python_version()}, {platform.platform()}")
    for package in PACKAGES:
        try:
            print(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            print(f"{package}: not installed")
    print(", ".join(f"{tool}: {shutil.which(tool) or 'not found'}" for tool in TOOLS), flush=True)
    if shutil.which("nvidia-smi"):
        query = "--query-gpu=name,driver_version,memory.total,clocks.sm"
        subprocess.run(["nvidia-smi", query, "--format=csv"])

    import torch

    import mixed_r1_kernels
    from mixed_r1_kernels._impl import missing

    print(f"mixed_r1_kernels of {mixed_r1_kernels.__file__}")
    if torch.cuda.is_available():
        properties = torch.cuda.get_device_properties(0)
        print(
            f"{properties.name}, sm_{properties.major}{properties.minor}, {properties.multi_processor_count} "
            f"multiprocessors, {properties.total_memory / 1e9:.0f} GB, CUDA {torch.version.cuda}"
        )
    elif not dry:
        print("torch sees no GPU")
        return 1
    wanted = (("native", "cpu"), ("chunked", "cpu"))
    if not dry:
        wanted = (("native", "cpu"), ("chunked", "cuda"), ("triton", "cuda"), ("cuda", "cuda"))
    lacking = {impl: why for impl, device in wanted if (why := missing(impl, device)) is not None}
    for impl, why in lacking.items():
        print(f"{impl} cannot run: {why}")
    return int(bool(lacking))


if __name__ == "__main__":
    sys.exit(main())
