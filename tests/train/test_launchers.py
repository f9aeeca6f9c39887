"""The launchers of docs/training.md on two "machines" of one process each: this one, over loopback or ssh."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
import sys
import time

import psutil
import pytest

from mixed_r1.train import TrainConfig
from tests.processes import free_port


def torchrun(node: int, port: int) -> list[str]:
    rendezvous = ["--rdzv-backend", "c10d", "--rdzv-endpoint", f"127.0.0.1:{port}", "--rdzv-id", "run"]
    return ["torch.distributed.run", "--nnodes", "2", "--nproc-per-node", "1", *rendezvous, "-m"]


def deepspeed(node: int, port: int) -> list[str]:
    """What ``deepspeed --hostfile`` starts on each machine."""
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


@pytest.fixture
def ssh(tmp_path):
    """A folder for ``PATH`` whose ``ssh`` reaches node-a and node-b: a server here, with its own keys."""
    server = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin")
    if server is None or shutil.which("pdsh") is None:
        pytest.skip("sshd or pdsh is not installed: apt-get install openssh-server pdsh")
    folder, port = tmp_path / "ssh", free_port()
    folder.mkdir()
    for key in ("host", "user"):
        generate = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
        subprocess.run(generate, check=True)
    (folder / "sshd_config").write_text(
        f"Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nPidFile none\nStrictModes no\n"
        f"AuthorizedKeysFile {folder}/user.pub\nPermitRootLogin prohibit-password\n"
    )
    (folder / "config").write_text(
        f"Host node-a node-b\nHostName 127.0.0.1\nPort {port}\nIdentityFile {folder}/user\nBatchMode yes\n"
        "IdentitiesOnly yes\nStrictHostKeyChecking no\nUserKnownHostsFile /dev/null\nLogLevel ERROR\n"
    )
    wrapper = folder / "bin" / "ssh"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
    wrapper.chmod(0o755)
    with (folder / "log.txt").open("w") as log:
        process = subprocess.Popen([server, "-D", "-e", "-f", str(folder / "sshd_config")], stderr=log)
    try:
        for _ in range(20):
            if process.poll() is None and subprocess.run([wrapper, "node-b", "true"]).returncode == 0:
                break
            time.sleep(0.1)
        else:
            pytest.skip(f"sshd must let this user in, got {(folder / 'log.txt').read_text()}")
        yield wrapper.parent
    finally:
        process.terminate()
        process.wait()


@pytest.mark.slow
def test_deepspeed_trains_over_ssh_and_resumes_after_sigterm(start, tmp_path, ssh):
    values = {"model": start / "model", "data": start / "data" / "train.jsonl", "out": tmp_path / "run"}
    small = {"steps": 12, "prompts_per_step": 3, "completions_per_prompt": 3, "max_new_tokens": 12}
    TrainConfig.from_mapping({**values, **small}).save(tmp_path / "run.yaml")
    (tmp_path / "hosts").write_text("node-a slots=1\nnode-b slots=1\n")
    (tmp_path / ".deepspeed_env").write_text("OMP_NUM_THREADS=1\n")
    environment = {
        **os.environ,
        "PATH": f"{ssh}:{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }
    log = tmp_path / "log.txt"
    train = ["--no_local_rank", "--module", "mixed_r1", "train", str(tmp_path / "run.yaml")]

    def launch(*arguments: str) -> subprocess.Popen:
        options = ["--hostfile", "hosts", f"--master_port={free_port()}", *train, *arguments]
        command = [sys.executable, "-m", "deepspeed.launcher.runner", *options]
        with log.open("w") as stream:
            return subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=stream, stderr=stream)

    metrics = tmp_path / "run" / "metrics.jsonl"
    first = launch()
    deadline = time.monotonic() + 300
    while not (metrics.exists() and metrics.read_text()):
        assert first.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.05)
    ranks = [
        process
        for process in psutil.process_iter(["cmdline"])
        if (process.info["cmdline"] or [])[2:] == ["-m", *train[2:]]
    ]
    assert [rank.environ()["OMP_NUM_THREADS"] for rank in ranks] == ["1", "1"]
    ranks[1].terminate()
    assert first.wait(60) == 143, log.read_text()
    done = len(metrics.read_text().splitlines())
    latest = tmp_path / "run" / "checkpoints" / "latest"
    assert latest.resolve().name == f"step-{done:06d}" and done < small["steps"]
    second = launch("--resume")
    assert second.wait(300) == 0, log.read_text()
    records = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [record["step"] for record in records] == list(range(1, small["steps"] + 1))
    assert (tmp_path / "run" / "report.html").exists()
