"""Compiled modules only; everything else is in pyproject.toml.

``mixed_r1_kernels._native`` (nanobind) is always built and needs neither torch nor CMake. Its sources are
found by name, every csrc/core/*.cpp and csrc/numpy_*.cpp, so a new op changes nothing here. A source whose
name ends in an instruction set gets that set's flags. MIXED_R1_BUILD_JOBS=N runs N compilers at once
(default: one per core).

``mixed_r1_kernels._torch_ops`` (torch.ops.mixed_r1.*, csrc/torch_*.cpp) is built where torch is installed,
that is, without build isolation: MIXED_R1_TORCH_OPS=auto|0|1; 1 makes its absence an error. It uses
LibTorch's stable ABI alone, so one build of it, beside whatever torch, loads into every torch from 2.10 on.
With nvcc it includes csrc/cuda and csrc/torch_*_cuda.cpp: MIXED_R1_CUDA=auto|0|1 (auto: where the torch here
has CUDA) and MIXED_R1_CUDA_ARCHS="80 90a". The CUDA runtime is linked in, so a torch for the CPU is enough
to build it.
"""

from __future__ import annotations

import importlib.util
import os
import platform
import re
import runpy
import shutil
import subprocess
from pathlib import Path
from typing import Any

import nanobind
from pybind11.setup_helpers import ParallelCompile
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

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
OLDEST_TORCH = "0x020a000000000000"  # 2.10: nothing newer of the stable ABI is used
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
    torch = importlib.util.find_spec("torch")  # its headers: importing it may ask for CUDA's libraries
    if torch is None or torch.origin is None:
        if wants("MIXED_R1_TORCH_OPS"):
            raise RuntimeError("MIXED_R1_TORCH_OPS=1 must find torch, got none: pip install torch")
        return []
    torch_root = Path(torch.origin).parent
    with_cuda = uses_cuda(torch_root)
    core = [source for source in core_sources() if not Path(source).stem.startswith("verify")]
    ops = [name for name in sorted_sources("csrc/torch_*.cpp") if not name.endswith("_cuda.cpp")]
    cuda = [*sorted_sources("csrc/torch_*_cuda.cpp"), *sorted_sources("csrc/cuda/*.cu")] if with_cuda else []
    toolkit = [cuda_toolkit()] if with_cuda else []
    return [
        Extension(
            "mixed_r1_kernels._torch_ops",
            sources=[*ops, *core, *cuda],
            include_dirs=["csrc"],
            library_dirs=[str(path) for path in (torch_root / "lib", *(path / "lib64" for path in toolkit))],
            libraries=["torch_cpu", *(["cudart_static", "rt", "dl"] if with_cuda else [])],
            define_macros=[
                ("NDEBUG", None),
                ("TORCH_TARGET_VERSION", OLDEST_TORCH),
                *([("MIXED_R1_WITH_CUDA", None)] if with_cuda else []),
            ],
            # -isystem: the headers of torch and CUDA are not ours to warn about.
            extra_compile_args=[
                *(*CORE_FLAGS, "-ffunction-sections", "-fdata-sections"),
                *(f"-isystem{path / 'include'}" for path in (torch_root, *toolkit)),
            ],
            extra_link_args=["-Wl,--gc-sections", "-pthread"],
            depends=["setup.py", *headers()],
            language="c++",
        )
    ]


def uses_cuda(torch_root: Path) -> bool:
    """Whether csrc/cuda goes into the torch module."""
    wanted = wants("MIXED_R1_CUDA")
    nvcc = shutil.which("nvcc") is not None
    if wanted and not nvcc:
        raise RuntimeError("MIXED_R1_CUDA=1 must find nvcc on PATH, got none")
    if wanted is None:
        wanted = runpy.run_path(str(torch_root / "version.py"))["cuda"] is not None
    return nvcc and wanted


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
        cmdclass={"build_ext": BuildExt},
    )
