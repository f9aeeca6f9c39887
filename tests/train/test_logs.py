"""Nothing a run prints or writes holds a secret, and no prompt but where rollouts are asked for."""

from __future__ import annotations

import json
import os

import pyarrow.parquet as pq
import pytest

from mixed_r1.train import TrainConfig
from tests import forked
from tests.rollout.dialect_server import DialectServer

PROMPT, KEY = "canary-prompt-8151", "sk-canary-key-4711"
SECRETS = {name: KEY for name in ("OPENAI_API_KEY", "HF_TOKEN", "WANDB_API_KEY", "AWS_SECRET_ACCESS_KEY")}


@pytest.fixture
def settings(start, tmp_path):
    """Every question holds a canary, and one image is damaged."""
    rows = [json.loads(line) for line in (start / "data" / "train.jsonl").read_text().splitlines()][:40]
    for row in rows:
        row["question"] = f"{PROMPT} {row['question']}"
        row["images"] = [str(start / "data" / image) for image in row.get("images", [])]
    pictured = next(row for row in rows if row["images"])
    (tmp_path / "damaged.png").write_bytes(b"\x89PNG")
    pictured["images"] = [str(tmp_path / "damaged.png")] * len(pictured["images"])
    (tmp_path / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {
        "model": start / "model",
        "data": tmp_path / "train.jsonl",
        "validation": tmp_path / "validation.jsonl",
        "out": tmp_path / "run",
        "steps": 2,
        "prompts_per_step": 20,
        "completions_per_prompt": 2,
        "max_new_tokens": 16,
        "eval_samples": 4,
        "track": ["tensorboard"],
    }
    (tmp_path / "validation.jsonl").write_text(
        "".join(json.dumps(row) + "\n" for row in rows if row is not pictured)
    )
    return values


def command(arguments, fault="none -1 nowhere"):
    """``mixed-r1`` with secrets in its environment."""
    import mixed_r1.train.trainer as trainer
    from mixed_r1.cli import app
    from tests.faulty_ranks import faulty

    os.environ.update(SECRETS, FAULT=fault)
    trainer.Ranks = faulty(trainer.Ranks)
    app(arguments)


def train(settings, *arguments):
    folder = settings["out"].parent
    TrainConfig.from_mapping(settings).save(folder / "run.yaml")
    log = folder / "log.txt"
    code = forked.run(command, ["train", str(folder / "run.yaml")], *arguments, log=log)
    return code, log.read_text()


def assert_no_canary(log, out):
    """Prompts are in completions/, evaluations/ and the report, which are there to show them."""
    files = [path for path in out.rglob("*") if path.is_file()]
    files = [path for path in files if path.parent.name not in ("completions", "evaluations")]
    files = [path for path in files if path.name != "report.html"]
    assert len(files) > 3
    for name, content in [("log", log.encode()), *((path, path.read_bytes()) for path in files)]:
        assert PROMPT.encode() not in content and KEY.encode() not in content, name


def test_a_run_and_its_files(settings):
    code, log = train(settings)
    assert code == 0, log
    assert "skipped: " in log and "damaged.png" in log
    assert_no_canary(log, settings["out"])
    rows = pq.read_table(settings["out"] / "completions" / "step-000001.parquet").to_pylist()
    assert all(PROMPT in row["prompt"] for row in rows)


def test_a_run_that_fails(settings):
    code, log = train({**settings, "validation": None}, "raise 0 training of step 1")
    assert code == 1 and "ArithmeticError: ordered by the test" in log
    assert_no_canary(log, settings["out"])


def test_a_server_that_quotes_what_it_was_sent(settings, start):
    server = DialectServer(start / "model")

    def quote(request):
        said = {"error": "out of memory", "headers": dict(request.headers), "input": server.bodies[-1]}
        request.reply(500, json.dumps(said, default=str).encode())

    server.faults = [quote] * 200
    changes = {"validation": None, "rollout": "server", "server_urls": [server.url], "server_retries": 1}
    code, log = train({**settings, **changes})
    assert code == 2 and "server must answer for completion" in log and "out of memory" in log
    assert any(PROMPT in json.dumps(body) for body in server.bodies)
    assert_no_canary(log, settings["out"])
    server.shutdown()
