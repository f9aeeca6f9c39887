import json
import os
import signal
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mixed_r1.chat import request_messages
from mixed_r1.config import ConfigError
from mixed_r1.data import load_samples
from mixed_r1.data.engine import build
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Recipe, Servers, Window
from mixed_r1.data.servers import ServerSampler, _uri
from mixed_r1.data.storage import hash64
from mixed_r1.schema import Sample
from tests.processes import assert_killed

K = 4


@pytest.fixture(scope="module")
def recipe(local_sources):
    full = Recipe.read(local_sources / "recipe.yaml")
    settings = full.model_dump()
    settings["sources"] = [spec for spec in settings["sources"] if spec["name"] in ("sums", "charts", "rows")]
    settings["difficulty"] = {
        "k": K,
        "rows_per_batch": 4,
        "windows": {"math": {"gt": 0.0, "lt": 1.0}, "chart": {"of": "sum", "ge": 1.0, "le": 3.0}},
    }
    settings["balance"] = None
    settings["rows_per_partition"] = 64
    return Recipe.from_mapping(settings)


def rate(sample):
    """How many of the K answers to ``sample`` are right: a fixed property of its id."""
    return hash64(sample.id.encode()) % (K + 1)


def sampler(samples, k):
    return [[sample.answer if i < rate(sample) else "wrong" for i in range(k)] for sample in samples]


def scorer(completions, samples):
    return [float(text == sample.answer) for text, sample in zip(completions, samples, strict=True)]


def test_rows_outside_their_window_are_dropped_and_the_others_carry_their_statistics(recipe, tmp_path):
    result = build(recipe, tmp_path / "out", sampler=sampler, scorer=scorer)
    kept = [s for split in result.rows for s in load_samples(result.out / split)]
    by_task = {task: [s for s in kept if s.task == task] for task in ("math", "chart", "yes_no")}
    assert all(0 < rate(s) < K for s in by_task["math"]) and by_task["math"]
    assert all(1 <= rate(s) <= 3 for s in by_task["chart"])
    for sample in by_task["math"] + by_task["chart"]:
        assert sample.difficulty == pytest.approx(1 - rate(sample) / K)
        measured = sample.metadata["rollouts"]
        assert measured["pass_rate"] == measured["mean"] == rate(sample) / K
        assert measured["num_scored"] == K
    assert all(s.difficulty is None and "rollouts" not in s.metadata for s in by_task["yes_no"])
    assert len(by_task["yes_no"]) == 28, "tasks without a window pass"
    dropped = result.dropped["difficulty"]["outside window"]
    assert dropped == 25 + 4 - len(by_task["math"]) - len(by_task["chart"])
    figures = json.loads((result.out / "stats.json").read_text())
    assert sum(figures["histograms"]["difficulty"]["counts"]) == len(by_task["math"]) + len(by_task["chart"])


def test_rows_that_cannot_be_scored_are_dropped_as_such(recipe, tmp_path):
    def none(completions, samples):
        return [float("nan") if s.task == "chart" else 0.5 for s in samples]

    result = build(recipe, tmp_path / "out", sampler=sampler, scorer=none)
    assert result.dropped["difficulty"] == {"outside window": 25, "unscored": 4}


def test_killed_while_sampling_it_asks_only_for_what_is_missing(recipe, tmp_path):
    expected = build(recipe, tmp_path / "whole", sampler=sampler, scorer=scorer)
    log = tmp_path / "asked"

    def recording(samples, k):
        with log.open("a") as stream:
            stream.writelines(f"{sample.id}\n" for sample in samples)
        return sampler(samples, k)

    def dying(samples, k):
        answers = recording(samples, k)
        if len(log.read_text().split()) > 12:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers

    assert_killed(lambda: build(recipe, tmp_path / "out", sampler=dying, scorer=scorer))
    journal = tmp_path / "out" / ".work" / "rollouts" / "journal.jsonl"
    with journal.open("a") as stream:
        stream.write('{"id": "sums/s')  # a line torn by a crash
    resumed = build(recipe, tmp_path / "out", sampler=recording, scorer=scorer)
    asked = Counter(log.read_text().split())
    assert asked.total() == len(asked) + 4, "only the batch that was lost is asked again"
    for name in ("rejects.jsonl", "stats.json"):
        assert (resumed.out / name).read_bytes() == (expected.out / name).read_bytes()
    for split in expected.rows:
        assert load_samples(resumed.out / split) == load_samples(expected.out / split)


def test_answers_outlive_a_change_of_what_does_not_change_them(recipe, tmp_path):
    """Windows, passing, filters and servers' addresses: no row is asked about again."""
    asked = Counter()

    def recording(samples, k):
        asked.update(sample.id for sample in samples)
        return sampler(samples, k)

    def again(**changes):
        asked.clear()
        settings = recipe.model_dump()
        settings["difficulty"] |= changes.pop("difficulty", {})
        changed = Recipe.from_mapping({**settings, **changes})
        result = build(changed, tmp_path / "out", sampler=recording, scorer=scorer)
        count = sum(asked.values())
        if count in (0, 1):  # as if it had been built anew
            fresh = build(
                changed, tmp_path / f"fresh{len(os.listdir(tmp_path))}", sampler=sampler, scorer=scorer
            )
            mine, theirs = (
                json.loads((x.out / "manifest.json").read_text())["files"] for x in (result, fresh)
            )
            assert {name for name in theirs if mine.get(name) != theirs[name]} <= {"recipe.yaml"}
        return count

    chart = {"of": "sum", "ge": 1.0, "le": 3.0}
    servers = {"urls": ["http://a"], "model": "m"}
    assert again() == 29
    assert again(difficulty={"passing": 0.4, "windows": {"math": {"gt": 0.5}, "chart": chart}}) == 0
    assert again(dedup=None) == 0
    others = [{"name": "question_length", "max_chars": 18}]
    assert again(filters=others, rows_per_partition=3) == 1, "only the chart that the former filters dropped"
    assert again(difficulty={"windows": {"math": {"k": 6, "gt": 0.0}, "chart": chart}}) == 25, "more answers"
    assert again(difficulty={"seed": 1}) == 29, "other answers"
    assert again(difficulty={"servers": servers}) == 29, "another model"
    moved = {**servers, "urls": ["http://b", "http://c"], "concurrency": 2, "retries": 9}
    assert again(difficulty={"servers": moved}) == 0
    assert again(difficulty={"servers": {**moved, "temperature": 0.5}}) == 29
    with pytest.raises(ConfigError, match="servers and model must not both be given"):
        again(difficulty={"servers": servers, "model": {"path": "m"}})


def test_sampler_and_scorer_are_needed_and_checked(recipe, tmp_path):
    with pytest.raises(BuildError, match="sampler and scorer must be given"):
        build(recipe, tmp_path / "a")
    with pytest.raises(BuildError, match="sampler must return 4 answers for each of 4 rows"):
        build(recipe, tmp_path / "b", sampler=lambda samples, k: [["x"]] * len(samples), scorer=scorer)
    with pytest.raises(BuildError, match="scorer must return 16 rewards, got 1"):
        build(recipe, tmp_path / "c", sampler=sampler, scorer=lambda completions, samples: [0.0])


@pytest.mark.parametrize(
    ("window", "inside", "outside"),
    [
        (Window(gt=0, lt=1), (0.1, 0.9), (0.0, 1.0)),
        (Window(ge=2, le=10, of="sum"), (2.0, 10.0), (1.9, 10.1)),
        (Window(), (0.0, 1.0), ()),
    ],
)
def test_windows(window, inside, outside):
    assert all(window.holds(value) for value in inside)
    assert not any(window.holds(value) for value in outside)


class Handler(BaseHTTPRequestHandler):
    """A server that fails the first requests in the ways given by ``server.failures``, then echoes."""

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.seen.append((self.path, self.headers.get("Authorization"), body))
            failure = self.server.failures.pop(0) if self.server.failures else None
        if failure == "hang up":
            self.connection.close()
            return
        if isinstance(failure, int):
            self.send_response(failure)
            self.end_headers()
            self.wfile.write(b"sorry")
            return
        text = "not json" if failure == "garbage" else json.dumps(reply(body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args):
        pass


def reply(body):
    content = body["messages"][-1]["content"]
    text = content if isinstance(content, str) else content[-1]["text"]
    return {"choices": [{"message": {"content": f"{text} {body['seed']}"}}]}


@pytest.fixture
def servers():
    started = []
    for _ in range(2):
        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.failures, server.seen, server.lock = [], [], threading.Lock()
        threading.Thread(target=server.serve_forever, daemon=True).start()
        started.append(server)
    yield started
    for server in started:
        server.shutdown()
        server.server_close()


def settings(servers, **more):
    urls = [f"http://127.0.0.1:{server.server_port}/v1" for server in servers]
    return Servers(urls=tuple(urls), model="m", concurrency=3, timeout_s=5, **more)


SAMPLES = [Sample(id=f"r{i}", task="math", question=f"q{i}", answer="1") for i in range(5)]


def test_servers_share_the_work_and_answers_come_in_order(servers, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret")
    ask = ServerSampler(settings(servers, system_prompt="Be short."))
    answers = ask(SAMPLES, 3)
    assert [[text.split()[0] for text in group] for group in answers] == [[f"q{i}"] * 3 for i in range(5)]
    assert all(len(set(group)) == 3 for group in answers), "every answer has its own seed"
    assert ask(SAMPLES, 3) == answers, "and the same one again"
    assert sorted(len(server.seen) for server in servers) == [14, 16]
    path, key, body = servers[0].seen[0]
    assert path == "/v1/chat/completions" and key == "Bearer secret"
    assert body["messages"][0] == {"role": "system", "content": "Be short."}


def test_failures_that_pass_are_retried(servers):
    servers[0].failures = ["hang up", 500, "garbage", 429]
    servers[1].failures = [503]
    answers = ServerSampler(settings(servers))(SAMPLES, 2)
    assert [len(group) for group in answers] == [2] * 5


def test_a_dead_server_does_not_stop_the_others(servers):
    servers[0].shutdown()
    servers[0].server_close()
    assert len(ServerSampler(settings(servers))(SAMPLES, 2)) == 5
    assert len(servers[1].seen) == 10


def test_a_refusal_and_lasting_failures_stop_with_the_reason(servers):
    servers[0].failures = [404] * 100
    with pytest.raises(BuildError, match=r"must answer for row r\d, got status 404 .*sorry"):
        ServerSampler(settings(servers[:1]))(SAMPLES, 1)
    assert len(servers[0].seen) <= 5, "a refused request is not repeated"
    servers[0].failures = [500] * 100
    with pytest.raises(BuildError, match=r"must answer for row r\d, got status 500 .*attempt 2 of 2"):
        ServerSampler(settings(servers[:1], retries=1))(SAMPLES, 1)


def test_messages_hold_images_where_they_are_shown(local_sources):
    image = str(local_sources / "rows" / "0.png")
    plain = Sample(
        id="a", task="multiple_choice", question="Which?", options=("x", "y"), answer="A", images=(image,)
    )
    (message,) = request_messages(plain, image_uri=_uri)
    assert [part["type"] for part in message["content"]] == ["image_url", "text"]
    assert message["content"][0]["image_url"]["url"].startswith("data:image/png;base64,iVBOR")
    assert message["content"][1]["text"] == "Which?\nA. x\nB. y"
    shown = Sample(
        id="b",
        task="math",
        answer="1",
        images=(image,),
        messages=(
            {"role": "user", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image"}]},
        ),
    )
    first, second = request_messages(shown, image_uri=_uri)
    assert first["content"] == "Hello."
    assert [part["type"] for part in second["content"]] == ["text", "image_url"]
