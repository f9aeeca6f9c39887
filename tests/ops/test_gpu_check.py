"""benchmarks/gpu_check.py without a GPU: it says so, its CUDA programs build, its torch formula is right, and
its training step runs on a small model."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from benchmarks import gpu_cases, gpu_check, gpu_train_step
from benchmarks.text import Batch
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1_kernels import EmbeddingTable, bmas

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_GPU = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


@WITHOUT_GPU
def test_without_a_gpu_it_says_so_and_exits_with_2() -> None:
    command = [sys.executable, "-m", "benchmarks.gpu_check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "no GPU" in done.stderr and done.stdout == ""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="nvcc (the CUDA toolkit) is not installed")
@pytest.mark.parametrize("check", sorted(gpu_check.CHECKS.glob("check_*.cpp")), ids=lambda path: path.stem)
def test_the_cuda_programs_build_and_need_a_gpu(check: Path, tmp_path: Path) -> None:
    program = tmp_path / "program"
    command = [shutil.which("nvcc"), *gpu_check.nvcc_arguments(check, "sm_90"), "-o", program]
    built = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=600)
    assert built.returncode == 0, built.stderr
    if not torch.cuda.is_available():
        done = subprocess.run([program], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "CUDA error" in done.stderr


def test_a_part_that_fails_is_recorded_and_stops_no_other() -> None:
    runner = gpu_check.Runner()
    assert not runner.run("breaks", [sys.executable, "-c", "raise SystemExit('broken')"], 60)
    assert not runner.run("hangs", [sys.executable, "-c", "import time; time.sleep(60)"], 1.5)
    assert runner.run("works", [sys.executable, "-c", "print('fine')"], 60)
    assert not runner.leave_out("absent", "no such tool")
    runner.ends = 0.0
    assert not runner.run("late", ["true"], 60)
    assert [part.outcome for part in runner.parts] == ["failed", "failed", "passed", "left out", "left out"]
    assert "broken" in runner.parts[0].output and "stopped after" in runner.parts[1].output
    text = "\n".join(gpu_check.summary(runner, "a GPU"))
    assert "no such tool" in text and "broken" in text


def test_the_training_step_is_left_out_where_it_cannot_run(tmp_path: Path) -> None:
    runner = gpu_check.Runner()
    gpu_check.train_step(runner, tmp_path / "records.jsonl", 24e9)
    assert runner.parts[0].outcome == "left out" and runner.parts[0].output == "needs 72 GB, the GPU has 24"


def test_the_checkpoint_of_the_training_step(tmp_path: Path) -> None:
    """Loads as published ones do, and every id is a text of its own, so that random completions differ."""
    gpu_train_step.write_checkpoint(tmp_path, gpu_train_step.SIZES["tiny"], "cpu")
    adapter = load_adapter(tmp_path, dtype=torch.float32)
    V = len(adapter.output_weight)
    assert V == 700 and adapter.output_weight is adapter.core.get_input_embeddings().weight
    texts = [adapter.tokenizer.decode([token]) for token in range(256, V)]
    assert len(set(texts)) == V - 256 and "" not in texts
    prompts = [adapter.encode(sample) for sample in gpu_train_step.rows()]
    assert [len(prompt) for prompt in prompts] == [280, 280] and prompts[0].num_image_tokens == 256


def test_the_sizes_of_qwen2_5_vl_3b() -> None:
    """The published parameter count, on the meta device: 3.75e9 with the tied head once."""
    small = tiny_adapter("qwen2_5_vl", corpus=["0123456789"]).model.config.to_dict()
    size = gpu_train_step.SIZES["3b"]
    small["text_config"] |= size.text
    small["vision_config"] |= size.vision | {"patch_size": 14}
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(AutoConfig.for_model(**small), dtype=size.dtype)
    assert sum(parameter.numel() for parameter in model.parameters()) == 3_754_622_976


@pytest.mark.slow
def test_the_training_step_beside_trl(tmp_path: Path) -> None:
    pytest.importorskip("trl")
    out = tmp_path / "records.jsonl"
    words = ["--size", "tiny", "--device", "cpu", "--seconds", "0.1", "--out", str(out)]
    command = [sys.executable, "-m", "benchmarks.gpu_train_step", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    ours, theirs = (json.loads(line) for line in out.read_text(encoding="utf-8").splitlines())
    assert (ours["name"], theirs["name"]) == ("mixed_r1", gpu_train_step.PEER)
    assert ours["error"] < 1e-5 and ours["rounds"] >= 3 and theirs["is_peer"]
    assert all(side["missing_tokens"] == 0 for side in ours["parameters"]["sides"].values())


def test_the_torch_formula_of_bmas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_cases, "DEVICE", "cpu")
    rng = np.random.default_rng(0)
    table = EmbeddingTable(torch.randn(50, 32, generator=torch.Generator().manual_seed(0)).bfloat16())
    completions = [rng.integers(0, 50, n).tolist() for n in (5, 1, 30, 12)]
    data = Batch(completions, [rng.integers(0, 50, n).tolist() for n in (7, 20)], np.array([0, 0, 1, 1]))
    tensors = table.tensors()
    monkeypatch.setattr(table, "rows", tensors[0])
    name, formula = next(gpu_cases._bmas_peers(data, table))
    assert name == "torch, padded, bf16"
    table = EmbeddingTable(tensors[0])
    expected = bmas(
        data.completions, data.references, table, reference_of=data.reference_of, impl="reference"
    )
    # Unit rows rounded to bfloat16, products too.
    assert gpu_cases.largest_difference(np.stack(expected[:2]))(formula()) < 2e-2
