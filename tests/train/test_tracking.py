"""Trackers, read back with their own libraries; what a step logs."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mixed_r1.train import TrainConfig, train
from mixed_r1.train.tracking import open_trackers
from tests.train.runs import settings_from


def settings(start, out, **changes):
    values = {
        "steps": 2,
        "prompts_per_step": 4,
        "completions_per_prompt": 3,
        "max_new_tokens": 16,
        "lr": 3e-4,
        "checkpoint_every": 1,
    }
    return settings_from(start, out, **{**values, **changes})


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


def test_a_step_logs_all_that_it_should(start, tmp_path):
    train(settings(start, tmp_path / "run"))
    for record in records(tmp_path / "run"):
        keys = set(record)
        for prefix in (
            *("reward/task/", "reward/source/", "reward_std/task/", "reward_std/source/"),
            *("reward/share/", "reward/column/", "reason/format/"),
        ):
            assert any(key.startswith(prefix) for key in keys), prefix
        assert keys >= {
            *("reward/mean", "reward/std", "zero_variance", "length/mean", "clip_fraction", "entropy"),
            *("kl", "grad_norm", "tokens_per_second", "time/rollout", "time/reward", "time/train"),
            *("memory_mb", "importance", "sampling_kl", "length/penalty", "redrawn", "lr", "loss"),
        }


def test_tensorboard_holds_every_metric_of_every_step(start, tmp_path):
    """Also after a resumed run wrote a step again."""
    config = settings(start, tmp_path / "run", track=("tensorboard",))
    train(config)
    tracker = open_trackers(config, step=1)[0]
    tracker.log({**records(tmp_path / "run")[1], "reward/mean": 0.125})
    tracker.close()
    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    first, second = records(tmp_path / "run")
    tags = events.Tags()["scalars"]
    known = {key for record in (first, second) for key, value in record.items() if value is not None}
    assert set(tags) == known - {"step", "time"}
    for tag in tags:
        written = {event.step: event.value for event in events.Scalars(tag)}
        for record in (first, second):
            if record.get(tag) is not None and not (tag == "reward/mean" and record is second):
                assert written[record["step"]] == pytest.approx(record[tag], rel=1e-6)
    assert [(e.step, e.value) for e in events.Scalars("reward/mean")][1] == (2, 0.125)


READ_TRACKIO = """
import json
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps(SQLiteStorage.get_logs("mixed-r1-test", "a-run"), default=str))
"""


@pytest.mark.slow
def test_trackio_holds_the_run(start, tmp_path):
    """In processes of its own: trackio reads its directory when it is imported."""
    config = settings(start, tmp_path / "a-run", track=("trackio",), track_project="mixed-r1-test")
    config.save(tmp_path / "config.yaml")
    code = "import sys; from mixed_r1.train import TrainConfig, train; train(TrainConfig.load(sys.argv[1]))"
    python(tmp_path, code, str(tmp_path / "config.yaml"))
    history = json.loads(python(tmp_path, READ_TRACKIO).splitlines()[-1])
    rows = {row["step"]: row for row in history if "reward/mean" in row}
    for record in records(tmp_path / "a-run"):
        assert rows[record["step"]]["reward/mean"] == pytest.approx(record["reward/mean"])
        assert rows[record["step"]]["grad_norm"] == pytest.approx(record["grad_norm"])


@pytest.mark.slow
def test_wandb_writes_offline(start, tmp_path):
    config = settings(start, tmp_path / "a-run", track=("wandb",))
    config.save(tmp_path / "config.yaml")
    code = "import sys; from mixed_r1.train import TrainConfig, train; train(TrainConfig.load(sys.argv[1]))"
    python(tmp_path, code, str(tmp_path / "config.yaml"), WANDB_MODE="offline")
    (log,) = (tmp_path / "a-run" / "wandb").glob("offline-run-*/run-*.wandb")
    assert log.stat().st_size > 1000 and b"reward/mean" in log.read_bytes()


def python(tmp_path, code, *arguments, **environment):
    variables = {
        **os.environ,
        "TRACKIO_DIR": str(tmp_path / "trackio"),
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        **environment,
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_a_tracker_that_is_missing_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "trackio", None)
    config = TrainConfig(model=tmp_path, data=tmp_path, out=tmp_path, track=("trackio",))
    with pytest.raises(
        ImportError, match=r"track 'trackio' needs a package: pip install 'mixed-r1\[tracking\]'"
    ):
        open_trackers(config, step=0)
