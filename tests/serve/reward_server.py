"""A reward server in a process of its own, and a client of it that is no more than http.client."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from tests.processes import free_port

TOKEN = "a-token-of-the-tests-1234567890"
PROGRAM = """
import sys
from mixed_r1.serve import ServeSettings, run_server
run_server(ServeSettings.model_validate_json(sys.argv[1]))
"""


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class RewardServer:
    """``mixed-r1 serve`` with ``arguments``, or ``run_server`` with ``settings``. A context manager."""

    def __init__(
        self, log: Path, arguments: Iterable[object] = (), *, token: str | None = TOKEN, **settings: Any
    ) -> None:
        self.port = free_port()
        self.log, self.token = log, token
        if settings:
            command = ["-c", PROGRAM, json.dumps({"port": self.port, **settings})]
        else:
            command = ["-m", "mixed_r1", "serve", "--port", str(self.port), *map(str, arguments)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        environment.pop("PROMETHEUS_MULTIPROC_DIR", None)
        if token is not None:
            environment["MIXED_R1_SERVE_TOKEN"] = token
        with log.open("wb") as file:
            self.process = subprocess.Popen(
                [sys.executable, *command], stdout=file, stderr=file, env=environment
            )

    def __enter__(self) -> RewardServer:
        try:
            self.wait_until_up()
        except BaseException:
            self.kill()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            finally:
                self.kill()

    def kill(self) -> None:
        for process in [*self.workers(), self.process]:
            process.kill()
        self.process.wait()

    def wait_until_up(self, seconds: float = 120.0) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                if self.get("/health", token=None).status == 200:
                    return
            except OSError:
                time.sleep(0.1)
        raise AssertionError(f"the server is not up:\n{self.text()}")

    def text(self) -> str:
        return self.log.read_text(errors="replace")

    def workers(self) -> list[psutil.Process]:
        """The processes that answer; with one worker there is none beside the server itself."""
        try:
            children = psutil.Process(self.process.pid).children()
            return [child for child in children if "spawn_main" in " ".join(child.cmdline())]
        except psutil.Error:
            return []

    def request(
        self, method: str, path: str, body: Any = None, *, token: str | None = TOKEN, timeout: float = 120.0,
        headers: dict[str, str] | None = None, chunked: bool = False,
    ) -> Reply:  # fmt: skip
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        try:
            connection.request(method, path, body, sent, encode_chunked=chunked)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **options: Any) -> Reply:
        return self.request("GET", path, **options)

    def post(self, path: str, values: Any, **options: Any) -> Reply:
        return self.request("POST", path, json.dumps(values).encode(), **options)

    def metric(self, name: str, **labels: str) -> float:
        """The value of a metric, 0 where it is not there."""
        wanted = {f'{key}="{value}"' for key, value in labels.items()}
        for line in self.get("/metrics").body.decode().splitlines():
            match = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line)
            if match and match[1] == name and set((match[2] or "").split(",")) - {""} == wanted:
                return float(match[3])
        return 0.0
