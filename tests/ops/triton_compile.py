"""Compiles every Triton kernel of the package for GPUs that are not here, and prints what ptxas says of each.

A program of its own because TRITON_INTERPRET, which other tests set, changes what @triton.jit makes. Each
module names what it launches in COMPILE_SIGNATURES: (kernel, types of its run-time arguments, the rest of the
launch). ":16" after a type: divisible by 16.
"""

from __future__ import annotations

import importlib
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime import JITFunction

import mixed_r1_kernels

LAUNCH = ("num_warps", "num_stages", "maxnreg")
PTXAS = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "ptxas"


def modules() -> list:
    root = Path(mixed_r1_kernels.__file__).parent
    return [
        importlib.import_module(
            f"mixed_r1_kernels.{path.parent.relative_to(root).as_posix().replace('/', '.')}.{path.stem}"
        )
        for path in sorted(root.rglob("triton_kernel*.py"))
    ]


def unnamed_kernels(module) -> list[str]:
    """Kernels of a module that COMPILE_SIGNATURES does not reach, neither by name nor through a call."""
    kernels = {name: value for name, value in vars(module).items() if isinstance(value, JITFunction)}
    reached: set[str] = set()
    waiting = {entry[0].__name__ for entry in module.COMPILE_SIGNATURES}
    while waiting:
        name = waiting.pop()
        reached.add(name)
        if name in kernels:
            waiting |= {other for other in kernels if re.search(rf"\b{other}\(", kernels[name].src)} - reached
    return sorted(set(kernels) - reached)


def compile_one(kernel, types: str, options: dict, capability: int) -> dict:
    names = [parameter.name for parameter in kernel.params if not parameter.is_constexpr]
    given = dict(zip(names, types.split(), strict=True))
    signature = {
        name: given[name].partition(":")[0] if name in given else "constexpr" for name in kernel.arg_names
    }
    attrs = {
        (kernel.arg_names.index(name),): [["tt.divisibility", 16]]
        for name, text in given.items()
        if text.endswith(":16")
    }
    constexprs = {name: value for name, value in options.items() if name not in LAUNCH}
    compiled = triton.compile(
        ASTSource(kernel, signature, constexprs, attrs),
        target=GPUTarget("cuda", capability, 32),
        options={name: options[name] for name in LAUNCH if name in options},
    )
    return {
        "kernel": f"{kernel.__name__}({types}; {options})",
        "capability": capability,
        "shared": compiled.metadata.shared,
        "dots": sorted(set(re.findall(r"tt\.dot .*?: (tensor<\S+) \*", compiled.asm["ttir"]))),
        "wgmma": "wgmma.mma_async" in compiled.asm["ptx"],
        "approximate_divisions": len(re.findall(r"\bdiv\.(?:full|approx)\b", compiled.asm["ptx"])),
        **resources(compiled.asm["ptx"]),
    }


def resources(ptx: str) -> dict:
    target = re.search(r"^\.target\s+(\w+)", ptx, re.MULTILINE)[1]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "kernel.ptx"
        source.write_text(ptx)
        command = [PTXAS, "-v", f"--gpu-name={target}", source, "-o", f"{folder}/kernel.cubin"]
        log = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    stack, stores, loads = re.search(
        r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log
    ).groups()
    registers = re.search(r"Used (\d+) registers", log)[1]
    return {"registers": int(registers), "stack": int(stack), "spills": int(stores) + int(loads)}


def main() -> None:
    report = {"unnamed": {}, "kernels": []}
    for module in modules():
        report["unnamed"][module.__name__] = unnamed_kernels(module)
        for capability in map(int, sys.argv[1:]):
            report["kernels"] += [compile_one(*entry, capability) for entry in module.COMPILE_SIGNATURES]
    print(json.dumps(report))


if __name__ == "__main__":
    main()
