"""Choosing an implementation: auto, environment, explicit names, and what is said when one cannot run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

import mixed_r1_kernels
from mixed_r1_kernels import ImplUnavailable
from mixed_r1_kernels._impl import device_of, resolve, thread_count

BOTH = ("reference", "native")


def test_auto_takes_the_compiled_code_and_an_explicit_name_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIXED_R1_IMPL", raising=False)
    assert resolve("auto", op="bmas", implemented=BOTH) == "native"
    assert resolve("auto", op="plot", implemented=("reference",)) == "reference"
    assert resolve("reference", op="bmas", implemented=BOTH) == "reference"


def test_the_environment_overrides_auto_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MIXED_R1_IMPL", "reference")
    assert resolve("auto", op="bmas", implemented=BOTH) == "reference"
    assert resolve("native", op="bmas", implemented=BOTH) == "native"
    monkeypatch.setenv("MIXED_R1_IMPL", "fastest")
    with pytest.raises(ValueError, match="MIXED_R1_IMPL must be one of .* got 'fastest'"):
        resolve("auto", op="bmas", implemented=BOTH)
    monkeypatch.setenv("MIXED_R1_IMPL", "triton")
    assert resolve("auto", op="match_boxes", implemented=BOTH) == "native"  # which has no Triton kernel
    with pytest.raises(ImplUnavailable, match="MIXED_R1_IMPL='triton' cannot run bmas"):
        resolve("auto", op="bmas", implemented=(*BOTH, "triton"))


def test_an_explicit_name_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    everything = ("reference", "native", "triton", "cuda")
    with pytest.raises(
        ImplUnavailable, match="impl='native' cannot run bmas: it takes CPU arrays, got device 'cuda'"
    ):
        resolve("native", op="bmas", implemented=everything, device="cuda")
    with pytest.raises(ImplUnavailable, match="impl='triton' cannot run bmas: .*(CUDA tensors|pip install)"):
        resolve("triton", op="bmas", implemented=everything)
    with pytest.raises(
        ImplUnavailable, match="impl='cuda' cannot run bmas: .*(CUDA tensors|setup.py build_ext)"
    ):
        resolve("cuda", op="bmas", implemented=everything)


def test_without_the_compiled_module_auto_warns_and_native_names_the_command() -> None:
    script = """
import importlib.util, warnings
import numpy as np
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *a: None if name.endswith("._native") else find_spec(name, *a)
from mixed_r1_kernels import EmbeddingTable, ImplUnavailable, bmas
table = EmbeddingTable(np.eye(3, dtype=np.float32))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    assert bmas([[0]], [[0]], table).score == 1.0
    assert bmas([[0]], [[0]], table).score == 1.0
assert len(caught) == 1 and "python setup.py build_ext --inplace" in str(caught[0].message), caught
try:
    bmas([[0]], [[0]], table, impl="native")
except ImplUnavailable as error:
    assert "_native is not built; build it with: python setup.py build_ext --inplace" in str(error)
else:
    raise SystemExit("no error")
"""
    run_without(script)


def test_numpy_alone_is_enough() -> None:
    """Neither torch nor triton nor transformers nor safetensors is needed, or imported where installed."""
    script = """
import sys
for name in ("torch", "triton", "transformers", "safetensors", "mixed_r1"):
    sys.modules[name] = None
import numpy as np
from mixed_r1_kernels import EmbeddingTable, bmas, similarity_matrix
table = EmbeddingTable(np.eye(3, dtype=np.float32))
assert bmas([[0, 1]], [[1, 2]], table, impl="native").score == 0.5
assert similarity_matrix([0, 1], [1, 2], table).cosines.sum() == 1.0
"""
    run_without(script)
    run_without(
        "import sys, mixed_r1_kernels; assert not {'torch', 'triton', 'transformers'} & set(sys.modules)"
    )


def run_without(script: str) -> None:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    environment.pop("MIXED_R1_IMPL", None)
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr


def test_a_torch_module_of_another_torch_is_missing_and_says_why(tmp_path: Path) -> None:
    """Such a module is there and cannot be loaded."""
    package = Path(mixed_r1_kernels.__file__).parent
    shutil.copytree(
        package, tmp_path / package.name, ignore=shutil.ignore_patterns("_torch_ops*", "__pycache__")
    )
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    (tmp_path / package.name / f"_torch_ops{suffix}").write_bytes(b"no library")
    script = f"""
import sys
sys.path.insert(0, {str(tmp_path)!r})
import numpy as np
from mixed_r1_kernels import ImplUnavailable, box_iou
from mixed_r1_kernels._impl import missing, resolve
reason = missing("cuda", "cuda")
assert "_torch_ops must be built" in reason and "MIXED_R1_CUDA=1" in reason, reason
assert resolve("auto", op="x", implemented=("cuda", "reference"), device="cuda") == "reference"
boxes = np.eye(4)
assert box_iou(boxes, boxes).shape == (4, 4)
try:
    box_iou(boxes, boxes, impl="cuda")
except ImplUnavailable as error:
    assert "cannot run box_iou" in str(error), error
"""
    run_without(script)


def test_device_of() -> None:
    assert device_of() == device_of(np.ones(2), [1]) == device_of(torch.ones(2), np.ones(2)) == "cpu"
    with pytest.raises(ValueError, match="arrays must be on one device"):
        device_of(torch.ones(2), torch.ones(2, device="meta"))


def test_thread_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert thread_count(None) == 3 and thread_count(7) == thread_count(np.int64(7)) == 7
    assert thread_count(2**40) == 1024  # what no machine has the cores for is not asked of the system
    for setting in ("", "0", "two", "4,2"):
        monkeypatch.setenv("OMP_NUM_THREADS", setting)
        assert thread_count(None) == len(os.sched_getaffinity(0))
    for bad in (0, -1, True, 2.0, "2"):
        with pytest.raises(ValueError, match="num_threads must be a positive integer"):
            thread_count(bad)  # type: ignore[arg-type]
