"""``python -m benchmarks.bmas_peak``: what the BMAS micro-kernels reach of this core's peak.

Compiles bmas_peak.cpp with the library's own kernel sources and the flags setup.py gives them, and runs it.
x86 and g++ only.
"""

from __future__ import annotations

import subprocess
import tempfile
from pathlib import Path

from benchmarks.harness import ROOT

FLAGS = ["-std=c++20", "-O3", "-ffp-contract=off", f"-I{ROOT / 'csrc'}", "-c", "-w"]
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = [*AVX2, "-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl"]
AMX = [*AVX512, "-mavx512bf16", "-mamx-tile", "-mamx-bf16"]
SOURCES = {
    "csrc/core/dispatch.cpp": [],
    "csrc/core/bmas_generic.cpp": [],
    "csrc/core/bmas_avx2.cpp": AVX2,
    "csrc/core/bmas_avx512.cpp": AVX512,
    "csrc/core/bmas_avx512bf16.cpp": [*AVX512, "-mavx512bf16"],
    "benchmarks/bmas_peak.cpp": AMX,  # holds bmas_amx.cpp, whose tile loop it also measures by itself
}


def main() -> None:
    with tempfile.TemporaryDirectory() as directory:
        objects = []
        for source, flags in SOURCES.items():
            objects.append(f"{directory}/{Path(source).stem}.o")
            subprocess.run(["g++", *FLAGS, *flags, str(ROOT / source), "-o", objects[-1]], check=True)
        subprocess.run(["g++", *objects, "-o", f"{directory}/peak"], check=True)
        done = subprocess.run([f"{directory}/peak"], check=True, capture_output=True, text=True)
    print(f"{'GFLOP/s':14}{'d=2048':>10}{'d=3584':>10}{'peak':>10}{'of peak':>10}")
    for line in done.stdout.splitlines():
        name, at_2048, at_3584, peak = line.split()
        print(f"{name:14}{at_2048:>10}{at_3584:>10}{peak:>10}{float(at_2048) / float(peak):>10.0%}")


if __name__ == "__main__":
    main()
