"""The persistent thread pool under fork (children that use it, forks during a call, DataLoader workers) and
at the interpreter's exit. Each case is a program of its own with a time limit, because what goes wrong here
is a deadlock or an abort."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

TABLE = """
import os, threading
import numpy as np
from mixed_r1_kernels import EmbeddingTable, bmas
table = EmbeddingTable(np.random.default_rng(0).standard_normal((300, 64)).astype(np.float32))
ids = [np.random.default_rng(i).integers(0, 300, 200) for i in range(12)]

def scores(num_threads=2):
    return bmas(ids, ids[::-1], table, num_threads=num_threads, impl="native").score

expected = scores(1)

def in_a_child():
    child = os.fork()
    if child == 0:
        os._exit(0 if (scores() == expected).all() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
"""

CHILDREN = """
assert (scores() == expected).all()
assert [in_a_child() for _ in range(20)] == [0] * 20
assert (scores(3) == expected).all()
child = os.fork()
if child == 0:  # a child of a child
    os._exit(0 if (scores() == expected).all() and in_a_child() == 0 else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
"""

FORK_DURING_A_CALL = """
stop = threading.Event()

def work():
    while not stop.is_set():
        assert (scores() == expected).all()

thread = threading.Thread(target=work)
thread.start()
codes = [in_a_child() for _ in range(40)]
stop.set()
thread.join()
assert codes == [0] * 40, codes
"""

DATA_LOADER = """
import torch
from torch.utils.data import DataLoader, Dataset

class Scores(Dataset):
    def __len__(self):
        return 8

    def __getitem__(self, index):
        return torch.from_numpy(scores(1 + index % 3))

assert (scores() == expected).all()
loader = DataLoader(Scores(), batch_size=2, num_workers=2, multiprocessing_context="fork")
for _ in range(2):
    assert all((batch.numpy() == expected).all() for batch in loader)
    assert (scores() == expected).all()
"""

EXIT_DURING_A_CALL = """
import time

def work():
    while True:
        scores(num_threads)

for num_threads in (1, 2, 3):
    threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""


def run(script: str) -> None:
    path = os.pathsep.join(entry for entry in sys.path if entry)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", TABLE + script],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=90,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("script", [CHILDREN, FORK_DURING_A_CALL], ids=["children", "fork during a call"])
def test_a_child_has_threads_of_its_own(script: str) -> None:
    run(script)


def test_workers_of_a_data_loader() -> None:
    pytest.importorskip("torch")
    run(DATA_LOADER)


def test_the_interpreter_exits_during_calls_of_daemon_threads() -> None:
    run(EXIT_DURING_A_CALL)
