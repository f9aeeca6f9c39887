"""The launchers of docs/training.md on two "machines" of one process each: this one, over loopback."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
import sys

import pytest

from mixed_r1.train import TrainConfig


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def torchrun(node: int, port: int) -> list[str]:
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "run"]
    return ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *rendezvous, "-m"]


def deepspeed(node: int, port: int) -> list[str]:
    """What ``deepspeed --hostfile`` starts on each machine by ssh, which there is none of here."""
    world = base64.urlsafe_b64encode(json.dumps({"node-a": [0], "node-b": [0]}).encode()).decode()
    address = ["--master_addr=127.0.0.1", f"--master_port={port}"]
    options = [f"--world_info={world}", f"--node_rank={node}", *address, "--no_local_rank", "--module"]
    return ["deepspeed.launcher.launch", *options]


@pytest.mark.slow
@pytest.mark.parametrize("launcher", [torchrun, deepspeed])
def test_two_machines_train_one_model(start, tmp_path, launcher):
    values = {"model": start / "model", "data": start / "data" / "train.jsonl", "out": tmp_path / "run"}
    small = {"steps": 2, "prompts_per_step": 3, "completions_per_prompt": 3, "max_new_tokens": 12}
    TrainConfig.from_mapping({**values, **small}).save(tmp_path / "run.yaml")
    port = free_port()
    paths = os.pathsep.join(path for path in sys.path if path)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": paths}
    logs = [tmp_path / f"log-{node}.txt" for node in range(2)]
    processes = []
    for node, log in enumerate(logs):
        command = [
            sys.executable,
            "-m",
            *launcher(node, port),
            "mixed_r1",
            "train",
            str(tmp_path / "run.yaml"),
        ]
        with log.open("w") as stream:
            processes.append(subprocess.Popen(command, env=environment, stdout=stream, stderr=stream))
    try:
        for process, log in zip(processes, logs, strict=True):
            assert process.wait(300) == 0, log.read_text()
    finally:
        for process in processes:
            process.kill()
    records = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    latest = tmp_path / "run" / "checkpoints" / "latest"
    assert sorted(path.name for path in latest.glob("rng-*")) == [
        "rng-00000.safetensors",
        "rng-00001.safetensors",
    ]
    assert (tmp_path / "run" / "report.html").exists()
