"""Processes forked from one that has imported everything, so that a test can afford hundreds of them; their
system calls can fail on order."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import re
import runpy
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from multiprocessing.context import ForkServerProcess
from multiprocessing.synchronize import Event
from pathlib import Path

import pytest

CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload(
    ["mixed_r1.train", "transformers.models.qwen2_5_vl.modeling_qwen2_5_vl", "tests.forked"]
)
# All that changes a file system. Opening files is left out: what cannot be opened was not written.
WRITES = (
    "write,writev,pwrite64,pwritev,copy_file_range,sendfile,fallocate,ftruncate,truncate,fsync,fdatasync,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mkdir,mkdirat,unlink,unlinkat,rmdir"
)
PTRACER, ANY = 0x59616D61, -1  # prctl: whoever may; where Yama limits tracing to children


def start(target: Callable, *args: object, log: Path, strace: list[str] | None = None) -> ForkServerProcess:
    """``target(*args)`` in a process whose output goes to ``log``.

    With ``strace`` (options) its main thread is traced; ``finish`` leaves the trace beside ``log``.
    """
    held = CONTEXT.Event()
    process = CONTEXT.Process(target=_run, args=(target, args, log, held), daemon=True)
    process.start()
    process.tracer = _attach(process, log, strace) if strace else None
    held.set()
    process.held = held  # it lives as long as the process that looks for it
    return process


def finish(process: ForkServerProcess, timeout: float = 120) -> int:
    """The exit code, negative for a signal."""
    process.join(timeout)
    assert process.exitcode is not None, f"the process must end within {timeout} s"
    if process.tracer is not None:
        process.tracer.communicate(timeout=timeout)
    return process.exitcode


def run(target: Callable, *args: object, log: Path, strace: list[str] | None = None) -> int:
    return finish(start(target, *args, log=log, strace=strace))


def writes_of(target: Callable, *args: object, log: Path, under: Path) -> list[tuple[str, int, str]]:
    """Every system call of ``target(*args)`` that changes a file ``under`` a directory: name, which of that
    name in the process it is (from 1), text."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed: apt-get install strace")
    options = ["-y", "-s", "0", "-e", f"trace={WRITES}"]
    assert run(target, *args, log=log, strace=options) in (0, 143), log.read_text()
    calls, counts = [], Counter()
    for line in log.with_suffix(".strace").read_text().splitlines():
        if match := re.match(r"(\w+)\(", line):
            counts[match[1]] += 1
            if str(under) in line and " = -1 " not in line:  # a directory that is there is not made
                calls.append((match[1], counts[match[1]], line))
    return calls


def run_failing(
    target: Callable, *args: object, log: Path, call: tuple[str, int, str], fault: str, under: Path
) -> int:
    """``run`` with ``fault`` ("signal=KILL", "error=ENOSPC") at one call of ``writes_of``, which must come
    again and change a file ``under`` a directory."""
    name, number, _ = call
    options = ["-y", "-s", "0", "-e", f"trace={name}", "-e", f"inject={name}:{fault}:when={number}"]
    code = run(target, *args, log=log, strace=options)
    calls = [line for line in log.with_suffix(".strace").read_text().splitlines() if line.startswith(name)]
    hit = calls[-1] if "KILL" in fault else next(line for line in calls if "(INJECTED)" in line)
    assert len(calls) >= number and str(under) in hit, (call, hit)
    return code


def _attach(process: ForkServerProcess, log: Path, options: list[str]) -> subprocess.Popen:
    command = ["strace", *options, "-o", str(log.with_suffix(".strace")), "-p", str(process.pid)]
    tracer = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    if "attached" not in (said := tracer.stderr.readline()):
        process.kill()
        pytest.skip(f"strace must be allowed to trace, got {said.strip()}")
    return tracer


def _run(target: Callable, args: tuple, log: Path, held: Event) -> None:
    stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(stream, 1)
    os.dup2(stream, 2)
    ctypes.CDLL(None).prctl(PTRACER, ctypes.c_long(ANY))
    held.wait()
    target(*args)


def program(path: str, arguments: list[str], environment: dict[str, str]) -> None:
    """A ``target``: ``python path *arguments`` in a process with ``environment`` beside ours."""
    import torch

    os.environ.update(environment)
    torch.set_num_threads(1)
    sys.argv = [path, *arguments]
    sys.path.insert(0, os.path.dirname(path))
    runpy.run_path(path, run_name="__main__")


def command(arguments: list[str], cwd: Path) -> None:
    """A ``target``: ``mixed-r1 *arguments`` in the folder ``cwd``."""
    import torch

    from mixed_r1.cli import app

    os.chdir(cwd)
    torch.set_num_threads(1)
    app(arguments)


def train_run(config: Path, resume: bool = False, fault: str = "none -1 nowhere") -> None:
    """A ``target``: train as the file ``config`` says; ``fault`` as in faulty_ranks."""
    import torch
    import transformers
    from rich.console import Console

    import mixed_r1.train.trainer as trainer
    from tests.faulty_ranks import faulty

    os.environ["FAULT"] = fault
    transformers.utils.logging.disable_progress_bar()  # which writes as often as there is time for
    trainer.Ranks = faulty(trainer.Ranks)
    torch.set_num_threads(1)
    trainer.train(trainer.TrainConfig.load(config), resume=resume, console=Console(quiet=True))
