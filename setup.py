"""Compiled modules only; everything else is in pyproject.toml.

``mixed_r1_kernels._native`` (nanobind) is always built and needs neither torch nor CMake. Its sources are
found by name, every csrc/core/*.cpp and csrc/numpy_*.cpp, so a new op changes nothing here. A source whose
name ends in an instruction set gets that set's flags. MIXED_R1_BUILD_JOBS=N runs N compilers at once
(default: one per core).
"""

from __future__ import annotations

import os
import platform
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
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-Wno-maybe-uninitialized"]
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


def core_sources() -> list[str]:
    """csrc/core/*.cpp, without the x86 files elsewhere."""
    names = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("csrc/core/*.cpp"))
    return [name for name in names if IS_X86 or not Path(name).stem.endswith(tuple(ISA_FLAGS))]


def headers() -> list[str]:
    return sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("csrc/**/*.[hi]*"))


def native_extension() -> Extension:
    """The NumPy module: nanobind is one more source of it, from the installed package."""
    nanobind_root = Path(nanobind.include_dir()).parent
    bindings = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("csrc/numpy_*.cpp"))
    return Extension(
        "mixed_r1_kernels._native",
        sources=[*bindings, *core_sources(), "csrc/nanobind_library.cpp"],
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
            return compile_one(obj, src, ext, cc_args, [*postargs, *source_flags(src)], pp_opts)

        self.compiler._compile = compile_with_flags
        super().build_extensions()


with ParallelCompile("MIXED_R1_BUILD_JOBS", needs_recompile=is_stale):
    setup(ext_modules=[native_extension()], cmdclass={"build_ext": BuildExt})
