"""A server that speaks vLLM's dialect with our sampler behind it, and misbehaves on demand."""

from __future__ import annotations

import base64
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import peft

from mixed_r1.models import load_adapter
from mixed_r1.rollout import SamplingParams, sample_completions
from mixed_r1.schema import Sample


class DialectServer(ThreadingHTTPServer):
    """vLLM's messages, or SGLang's, with our sampler behind them. ``faults`` are taken by the next requests,
    one each."""

    request_queue_size = 128

    def __init__(self, path, dtype="float32", sglang=False):
        super().__init__(("127.0.0.1", 0), Answer)
        self.path, self.dtype, self.sglang, self.lock = path, dtype, sglang, threading.Lock()
        self.served = {str(path): load_adapter(path, dtype=dtype)}
        self.faults, self.bodies, self.posts = [], [], []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def complete(self, body):
        adapter = self.served[body["model"]]
        images = [
            base64.b64decode(part["image_url"]["url"].split(",")[1])
            for message in body["messages"]
            for part in message["content"]
            if not isinstance(message["content"], str) and part["type"] == "image_url"
        ]
        messages = [
            m
            if isinstance(m["content"], str)
            else {**m, "content": [p if p["type"] == "text" else {"type": "image"} for p in m["content"]]}
            for m in body["messages"]
        ]
        row = Sample(id="r", task="open_ended", messages=messages, images=images, answer="-")
        params = SamplingParams(body["max_tokens"], body["temperature"])
        prompt = adapter.encode(row)
        drawn = sample_completions(
            adapter, [prompt], ["r"], num_completions=1, params=params, seed=body["seed"]
        )[0][0]
        choice = {
            "message": {"content": drawn.text},
            "finish_reason": "stop" if drawn.stopped else "length",
        }
        if body.get("return_token_ids"):
            choice["response_token_ids" if self.sglang else "token_ids"] = drawn.tokens.tolist()
        if body.get("logprobs"):
            choice["logprobs"] = {"content": [{"logprob": p} for p in drawn.sampling_logprobs.tolist()]}
        return {"choices": [choice], "usage": {"prompt_tokens": len(prompt)}}

    def control(self, path, body):
        self.posts.append((path, body))
        if path == "/collective_rpc":
            assert body["method"] == "reload_weights"
            self.served = {str(self.path): load_adapter(body["kwargs"]["weights_path"], dtype=self.dtype)}
        elif path == "/update_weights_from_disk":
            self.served = {str(self.path): load_adapter(body["model_path"], dtype=self.dtype)}
        elif path == "/v1/load_lora_adapter":
            adapter = load_adapter(self.path, dtype=self.dtype)
            adapter.model = peft.PeftModel.from_pretrained(adapter.model, body["lora_path"])
            self.served[body["lora_name"]] = adapter
        elif path == "/v1/unload_lora_adapter":
            del self.served[body["lora_name"]]


class Answer(BaseHTTPRequestHandler):
    def do_POST(self):  # noqa: N802
        server = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with server.lock:
            if self.path != "/v1/chat/completions":
                server.control(self.path, body)
                return self.reply(200, b"")
            server.bodies.append(body)
            fault = server.faults.pop(0) if server.faults else None
        if fault is not None:
            return fault(self)
        with server.lock:
            answer = server.complete(body)
        return self.reply(200, json.dumps(answer).encode())

    def reply(self, status, content, length=None):
        self.send_response(status)
        self.send_header("Content-Length", str(length or len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


def trickle(request):
    request.reply(200, b"{", length=1000)
    for _ in range(30):
        time.sleep(0.1)
        try:
            request.wfile.write(b" ")
        except OSError:
            return


def choice(**fields):
    return json.dumps({"choices": [{"finish_reason": "stop", **fields}]}).encode()


FAULTS = {
    "status 500": lambda r: r.reply(500, b"out of memory"),
    "status 429": lambda r: r.reply(429, b"busy"),
    "RemoteDisconnected": lambda r: r.connection.close(),
    "unreadable answer .* JSONDecodeError": lambda r: r.reply(200, b"<html>Bad gateway</html>"),
    "unreadable answer .* UnicodeDecodeError": lambda r: r.reply(200, bytes(range(128, 256))),
    "unreadable answer .* KeyError": lambda r: r.reply(200, b"{}"),
    "unreadable answer .* AttributeError": lambda r: r.reply(200, b"[1]"),
    "unreadable answer .* RecursionError": lambda r: r.reply(200, b"[" * 200_000),
    "unreadable answer .* token_ids must be": lambda r: r.reply(200, choice(token_ids=[10**9])),
    "unreadable answer .* logprobs must be": lambda r: r.reply(
        200, choice(token_ids=[3], logprobs={"content": [{"logprob": 2.0}]})
    ),
    "unreadable answer .* Unterminated": lambda r: r.reply(200, b'{"choices": "', 900),
    "TimeoutError": lambda r: time.sleep(2.5),
    "TimeoutError .*answer must come within": trickle,
}
