"""The HTTP client against a local server that is down, slow, wrong, or tells tales."""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mixed_r1.http_client import HttpClient, ServerError
from tests.processes import free_port

KEY = "sk-canary-4711-key"
PROMPT = "a canary prompt that no log may hold: " + "".join(map(chr, range(0x4E00, 0x4E20)))
BODY = {"model": "models/some-model-of-ours", "messages": [{"role": "user", "content": PROMPT}]}


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.seen.append((time.monotonic(), self.path, self.headers.get("Authorization"), body))
        fault = self.server.faults.pop(0) if self.server.faults else None
        (fault or answer)(self)

    do_GET = do_POST  # noqa: N815

    def reply(self, status, content, length=None, **headers):
        self.send_response(status)
        self.send_header("Content-Length", str(len(content) if length is None else length))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def answer(request):
    request.reply(200, b'{"ok": 1}')


def sleeps(request):
    time.sleep(1.5)


def trickles(request):
    request.reply(200, b"{", length=1000)
    for _ in range(15):
        time.sleep(0.1)
        try:
            request.wfile.write(b" ")
        except OSError:
            return


def floods(request):
    request.reply(200, b"", length=1 << 40)
    try:
        while True:
            request.wfile.write(bytes(1 << 20))
    except OSError:
        pass


def stutters(request):
    request.wfile.write(b"SPAM OF ANOTHER PROTOCOL\r\n\r\n")
    request.connection.close()


@pytest.fixture
def servers():
    started = []

    def start():
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.seen, server.faults = [], []
        server.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
        return server

    yield start
    for server in started:
        server.shutdown()
        server.server_close()


def post(*urls, retries=0, timeout=5.0, **arguments):
    client = HttpClient(urls, timeout=timeout, retries=retries)
    return client.post("/v1/x", BODY, json.loads, what="row r1", **arguments)


PASSING = {
    "status 500 .*later": lambda r: r.reply(500, b"later"),
    "status 503 .*later": lambda r: r.reply(503, b"later"),
    "status 408": lambda r: r.reply(408, b""),
    "status 429": lambda r: r.reply(429, b""),
    "RemoteDisconnected": lambda r: r.connection.close(),
    "BadStatusLine": stutters,
    "IncompleteRead|unreadable answer .*JSONDecodeError": lambda r: r.reply(200, b'{"ok"', length=100),
    "unreadable answer .*JSONDecodeError": lambda r: r.reply(200, b"<html>"),
    "unreadable answer .*UnicodeDecodeError": lambda r: r.reply(200, b"\xff\xfe\xfa" * 9),
    "unreadable answer .*RecursionError": lambda r: r.reply(200, b"[" * 200_000),
    "TimeoutError": sleeps,
    "TimeoutError .*answer must come within 1 s": trickles,
}


@pytest.mark.parametrize("problem", PASSING)
def test_what_may_pass_is_tried_again_and_what_lasts_is_named(servers, problem):
    server = servers()
    server.faults = [PASSING[problem]]
    assert post(server.url, retries=1, timeout=1.0) == {"ok": 1} and len(server.seen) == 2
    server.faults = [PASSING[problem]]
    wanted = rf"must answer for row r1, got .*({problem}).*attempt 1 of 1"
    with pytest.raises(ServerError, match=wanted) as error:
        post(server.url, timeout=1.0)
    assert server.url in str(error.value) and len(str(error.value)) < 600


def test_an_endless_answer_is_cut(servers):
    server = servers()
    server.faults = [floods]
    with pytest.raises(ServerError, match="unreadable answer .*at most 67108864 bytes, got more"):
        post(server.url, timeout=60)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 422])
def test_what_is_refused_is_not_repeated(servers, status):
    server = servers()
    server.faults = [lambda r: r.reply(status, b"never")] * 9
    wanted = f"got status {status} from {server.url}/v1/x: never .attempt 1 of 6"
    with pytest.raises(ServerError, match=wanted):
        post(server.url, retries=5)
    assert len(server.seen) == 1


def test_pauses_double(servers):
    server = servers()
    server.faults = [PASSING["status 429"]] * 3
    assert post(server.url, retries=3) == {"ok": 1}
    times = [seen[0] for seen in server.seen]
    pauses = [b - a for a, b in zip(times, times[1:], strict=False)]
    assert len(pauses) == 3
    for pause, wanted in zip(pauses, (0.5, 1, 2), strict=True):
        assert wanted <= pause < wanted + 0.5


def test_attempts_go_round_the_servers(servers):
    first, second = servers(), servers()
    first.faults = second.faults = []
    dead = f"http://127.0.0.1:{free_port()}"
    assert post(dead, first.url, second.url, retries=1) == {"ok": 1}
    assert post(first.url + "/v1", second.url, first=3) == {"ok": 1}
    assert (len(first.seen), len(second.seen)) == (1, 1) and first.seen[0][1] == "/v1/x"
    with pytest.raises(ServerError, match=rf"got .*Error from {dead}/v1/x.*attempt 2 of 2"):
        post(dead, retries=1)


def test_nobody_waits_once_the_client_is_stopped(servers):
    server = servers()
    server.faults = [PASSING["status 429"]] * 99
    client = HttpClient([server.url], timeout=5, retries=99)
    threading.Timer(0.2, client.stopped.set).start()
    begun = time.monotonic()
    with pytest.raises(ServerError, match="status 429"):
        client.post("/x", BODY, json.loads, what="row r1")
    assert time.monotonic() - begun < 2


def test_proxies_are_not_asked(servers, monkeypatch):
    proxy, server = servers(), servers()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, proxy.url)
    monkeypatch.delenv("no_proxy", raising=False)
    assert post(server.url) == {"ok": 1} and not proxy.seen


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_the_key_does_not_follow_a_redirect(servers, monkeypatch, status):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    thief, server = servers(), servers()
    server.faults = [lambda r: r.reply(status, b"", Location=f"{thief.url}/v1/x")]
    with pytest.raises(ServerError, match=f"status {status}"):
        post(server.url, retries=3)
    assert server.seen[0][2] == f"Bearer {KEY}" and not thief.seen


def echoes(status, encode):
    """As frameworks do: the error quotes its input, and some their headers."""

    def reply(request):
        sent = json.loads(request.server.seen[-1][3])
        text = encode({"detail": "bad value", "headers": f"Bearer {KEY}", "input": sent})
        request.reply(status, text.encode())

    return reply


@pytest.mark.parametrize("encode", [json.dumps, lambda v: json.dumps(v, ensure_ascii=False), str])
@pytest.mark.parametrize("status", [422, 500, 200])
def test_errors_hold_no_key_and_no_prompt(servers, monkeypatch, status, encode):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    server = servers()
    server.faults = [echoes(status, encode)]

    def read(answer):
        raise ValueError(f"answer must be one, got {answer.decode()}")

    with pytest.raises(ServerError) as error:
        HttpClient([server.url], timeout=5, retries=0).post("/v1/x", BODY, read, what="row r1")
    message = str(error.value)
    assert "bad value" in message and "row r1" in message and "some-model-of-ours" in message
    assert KEY not in message and "canary prompt" not in message
    assert PROMPT[-10:] not in message and json.dumps(PROMPT[-10:])[1:-1] not in message


@pytest.mark.parametrize(
    ("url", "rule"),
    [
        ("127.0.0.1:8000", "url must be http://host:port or https://host:port, got another form"),
        ("file:///etc/passwd", "url must be http"),
        ("http://host:1?key=hunter2", "url must be http.*, got http://host$"),
        ("http://me:hunter2@host:1", "url must hold no user or password .it is logged., got one for host$"),
    ],
)
def test_urls_that_cannot_serve_or_hold_a_secret_are_refused(url, rule):
    with pytest.raises(ServerError, match=rule) as error:
        HttpClient([url], timeout=1, retries=0)
    assert "hunter2" not in str(error.value)
