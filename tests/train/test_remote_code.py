"""Fault 28 through a run: a model that brings Python code of its own."""

from __future__ import annotations

import json
import shutil

import pytest

from mixed_r1.models import RemoteCodeError
from mixed_r1.plan import first_step, plan
from mixed_r1.train import TrainConfig, train


@pytest.fixture
def config(start, tmp_path, monkeypatch):
    """A run whose tokenizer is a class in the model's folder, which leaves a file when it is imported."""
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    model = tmp_path / "model"
    shutil.copytree(start / "model", model)
    (model / "foreign.py").write_text(
        "from transformers import Qwen2Tokenizer\n"
        f"open({str(tmp_path / 'canary')!r}, 'w').close()\n"
        "class ForeignTokenizer(Qwen2Tokenizer):\n    pass\n"
    )
    path = model / "tokenizer_config.json"
    settings = {
        **json.loads(path.read_text()),
        "auto_map": {"AutoTokenizer": ["foreign.ForeignTokenizer", None]},
    }
    path.write_text(json.dumps(settings))
    values = {
        "data": start / "data" / "train.jsonl",
        "out": tmp_path / "run",
        "steps": 1,
        "max_new_tokens": 4,
    }
    return TrainConfig.from_mapping(
        {"model": model, "prompts_per_step": 1, "completions_per_prompt": 2, **values}
    )


@pytest.mark.parametrize(
    ("changes", "rule"),
    [
        ({}, "set trust_remote_code and pin revision"),
        ({"trust_remote_code": True}, "revision must be a full commit hash"),
        ({"trust_remote_code": True, "revision": "main"}, "revision must be a full commit hash"),
        ({"revision": "0" * 40}, "set trust_remote_code and pin revision"),
    ],
)
def test_it_is_refused_unless_asked_for_and_pinned(config, tmp_path, changes, rule):
    refused = config.model_copy(update=changes)
    for begin in (train, first_step):
        with pytest.raises(RemoteCodeError, match=rule):
            begin(refused)
    plan(refused)  # reads the configuration, whose class is not foreign
    assert not (tmp_path / "canary").exists()


def test_it_runs_when_it_is(config, tmp_path):
    train(config.model_copy(update={"trust_remote_code": True, "revision": "0" * 40}))
    assert (tmp_path / "canary").exists()
    assert (config.out / "checkpoints" / "latest" / "model.safetensors").exists()
