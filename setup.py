"""Compiled modules only; everything else is in pyproject.toml.

``mixed_r1_kernels._native`` (nanobind) is always built and needs neither torch nor CMake. Its sources are
found by name, every csrc/core/*.cpp and csrc/numpy_*.cpp, so a new op changes nothing here. A source whose
name ends in an instruction set gets that set's flags. MIXED_R1_BUILD_JOBS=N runs N compilers at once
(default: one per core).

``mixed_r1_kernels._torch_ops`` (torch.ops.mixed_r1.*, csrc/torch_*.cpp) is built where torch can be imported,
that is, without build isolation: MIXED_R1_TORCH_OPS=auto|0|1; 1 makes its absence an error. With a CUDA torch
and an nvcc of its major version it includes csrc/cuda and csrc/torch_*_cuda.cpp: MIXED_R1_CUDA=auto|0|1 and
MIXED_R1_CUDA_ARCHS="80 90a". Such a module fits one version of torch, and its wheel says so in its version:
MIXED_R1_LOCAL_VERSION="cu130.torch2.13".
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nanobind
from pybind11.setup_helpers import ParallelCompile
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.egg_info import egg_info

ROOT = Path(__file__).resolve().parent
CORE_FLAGS = [
    "-std=c++20",
    "-O3",
    "-fvisibility=hidden",
    "-ffp-contract=off",
    "-g0",
    "-Wall",
    "-Wextra",
    "-pthread",
]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
# GCC 12 warns of its own AVX-512 header (its bug 105593), never of ours.
GCC_HEADER = ["-Wno-maybe-uninitialized", "-Wno-uninitialized"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", *GCC_HEADER]
BF16 = [*AVX512, "-mavx512bf16"]
AMX = [*BF16, "-mamx-tile", "-mamx-bf16"]
ISA_FLAGS = {"_avx2": AVX2, "_avx512": AVX512, "_avx512bf16": BF16, "_amx": AMX}
IS_X86 = platform.machine().lower() in ("x86_64", "amd64")


def source_flags(source: str) -> list[str]:
    """Flags that one source needs beyond those of its extension."""
    stem = Path(source).stem
    if (
        stem == "nanobind_library"
    ):  # nanobind's own code: not ours to warn about, and it casts CPython structs
        return ["-fno-strict-aliasing", "-w"]
    return next((flags for suffix, flags in ISA_FLAGS.items() if stem.endswith(suffix)), [])


def sorted_sources(pattern: str) -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob(pattern))


def core_sources() -> list[str]:
    """csrc/core/*.cpp, without the x86 files elsewhere."""
    names = sorted_sources("csrc/core/*.cpp")
    return [name for name in names if IS_X86 or not Path(name).stem.endswith(tuple(ISA_FLAGS))]


def headers() -> list[str]:
    return [*sorted_sources("csrc/**/*.[hi]*"), *sorted_sources("csrc/**/*.cuh")]


def native_extension() -> Extension:
    """The NumPy module: nanobind is one more source of it, from the installed package."""
    nanobind_root = Path(nanobind.include_dir()).parent
    return Extension(
        "mixed_r1_kernels._native",
        sources=[*sorted_sources("csrc/numpy_*.cpp"), *core_sources(), "csrc/nanobind_library.cpp"],
        include_dirs=[
            "csrc",
            *(str(nanobind_root / part) for part in ("include", "src", "ext/robin_map/include")),
        ],
        define_macros=[("NDEBUG", None), ("NB_COMPACT_ASSERTIONS", None)],
        extra_compile_args=[*CORE_FLAGS, "-ffunction-sections", "-fdata-sections"],
        extra_link_args=["-Wl,--gc-sections", "-pthread"],
        depends=["setup.py", *headers()],
        language="c++",
    )


def wants(variable: str) -> bool | None:
    """True for 1, False for 0, None for auto."""
    value = os.environ.get(variable, "auto")
    if value not in ("auto", "0", "1"):
        raise ValueError(f"{variable} must be auto, 0 or 1, got {value!r}")
    return None if value == "auto" else value == "1"


def torch_extensions() -> list[Extension]:
    """The torch module, where it is wanted and can be built. Its core sources are those of the ops it has."""
    if wants("MIXED_R1_TORCH_OPS") is False:
        return []
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError:
        if wants("MIXED_R1_TORCH_OPS"):
            raise
        return []
    with_cuda = uses_cuda(torch)
    core = [source for source in core_sources() if not Path(source).stem.startswith("verify")]
    ops = [name for name in sorted_sources("csrc/torch_*.cpp") if not name.endswith("_cuda.cpp")]
    cuda = [*sorted_sources("csrc/torch_*_cuda.cpp"), *sorted_sources("csrc/cuda/*.cu")] if with_cuda else []
    toolkit = [cuda_toolkit()] if with_cuda else []
    return [
        Extension(
            "mixed_r1_kernels._torch_ops",
            sources=[*ops, *core, *cuda],
            include_dirs=["csrc"],
            library_dirs=[*cpp_extension.library_paths(), *(str(path / "lib64") for path in toolkit)],
            libraries=[
                *("c10", "torch", "torch_cpu", "torch_python"),
                *(["c10_cuda", "torch_cuda", "cudart"] if with_cuda else []),
            ],
            define_macros=[("NDEBUG", None), *([("MIXED_R1_WITH_CUDA", None)] if with_cuda else [])],
            # -isystem: the headers of torch and CUDA are not ours to warn about.
            extra_compile_args=[
                *(*CORE_FLAGS, "-ffunction-sections", "-fdata-sections"),
                *(f"-isystem{path}" for path in cpp_extension.include_paths()),
                *(f"-isystem{path / 'include'}" for path in toolkit),
            ],
            extra_link_args=["-Wl,--gc-sections", "-pthread"],
            depends=["setup.py", *headers()],
            language="c++",
        )
    ]


def uses_cuda(torch: Any) -> bool:
    """Whether csrc/cuda goes into the torch module."""
    wanted = wants("MIXED_R1_CUDA")
    lacking = None
    if torch.version.cuda is None:
        lacking = "a CUDA torch (this one is for the CPU)"
    elif shutil.which("nvcc") is None:
        lacking = "nvcc"
    elif nvcc_version().split(".")[0] != torch.version.cuda.split(".")[0]:
        lacking = f"nvcc of torch's CUDA {torch.version.cuda} (it is {nvcc_version()})"
    if wanted and lacking:
        raise RuntimeError(
            f"MIXED_R1_CUDA=1 must have a CUDA torch and nvcc of its version, got no {lacking}"
        )
    return wanted is not False and lacking is None


def nvcc_version() -> str:
    shown = subprocess.run(["nvcc", "--version"], capture_output=True, text=True, check=True).stdout
    return re.search(r"release (\d+\.\d+)", shown)[1]


def cuda_toolkit() -> Path:
    """Where nvcc's headers and libraries are. Asked of nvcc, which may be a link or a wrapper elsewhere."""
    command = ["nvcc", "--dryrun", "-x", "cu", "-c", os.devnull]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    return Path(re.search(r"^#\$ TOP=(.*)$", shown, re.MULTILINE)[1].strip())


def nvcc_command(source: str, obj: str, pp_opts: list[str]) -> list[str]:
    archs = os.environ.get("MIXED_R1_CUDA_ARCHS", "80 90a").split()
    targets = [f"-gencode=arch=compute_{arch},code=sm_{arch}" for arch in archs]
    return ["nvcc", "-std=c++20", "-O3", "-Xcompiler=-fPIC", *targets, *pp_opts, "-c", source, "-o", obj]


def is_stale(obj: str, source: str) -> bool:
    """Whether ``obj`` is older than its source, these build rules, or (our sources) any of our headers."""
    inputs = [source, "setup.py", *(headers() if source.startswith("csrc") else ())]
    return max(map(os.path.getmtime, inputs)) > os.path.getmtime(obj)


class EggInfo(egg_info):
    """egg_info that adds MIXED_R1_LOCAL_VERSION to the version."""

    def initialize_options(self) -> None:
        super().initialize_options()
        local = os.environ.get("MIXED_R1_LOCAL_VERSION")
        if local:
            self.tag_build = f"+{local}"


class BuildExt(build_ext):
    """build_ext that adds ``source_flags`` to each source."""

    def build_extensions(self) -> None:
        compile_one = self.compiler._compile

        def compile_with_flags(
            obj: str, src: str, ext: str, cc_args: list[str], postargs: list[str], pp_opts: list[str]
        ) -> Any:
            if src.endswith(".cu"):
                return self.spawn(nvcc_command(src, obj, pp_opts))
            return compile_one(obj, src, ext, cc_args, [*postargs, *source_flags(src)], pp_opts)

        self.compiler._compile = compile_with_flags
        self.compiler.src_extensions.append(".cu")
        super().build_extensions()


with ParallelCompile("MIXED_R1_BUILD_JOBS", needs_recompile=is_stale):
    setup(
        ext_modules=[native_extension(), *torch_extensions()],
        cmdclass={"build_ext": BuildExt, "egg_info": EggInfo},
    )
