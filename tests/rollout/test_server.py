"""Rollouts by servers: ``transformers serve`` itself, and a local server that speaks vLLM's dialect with a
real model behind it and misbehaves on demand."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from mixed_r1.config import ConfigError
from mixed_r1.engines.lora import add_lora
from mixed_r1.http_client import HttpClient, ServerError
from mixed_r1.models import load_adapter, tiny_adapter
from mixed_r1.models.packing import PackItem, pack_groups
from mixed_r1.models.policy import completion_logprobs
from mixed_r1.ranks import Ranks
from mixed_r1.rollout import RolloutError, RolloutRequest, SamplingParams, sample_completions
from mixed_r1.rollout.server import ServerSampler, sampled_completion
from mixed_r1.rollout.vllm import VLLMSampler
from mixed_r1.train import TrainConfig, train
from tests.processes import free_port, transformers_serve
from tests.rollout.dialect_server import FAULTS, DialectServer
from tests.train.runs import assert_same_run, settings_from

GREEDY = SamplingParams(max_new_tokens=10, temperature=0.0)
SAMPLED = SamplingParams(max_new_tokens=10)


def settings(out, **changes):
    values = {"model": out, "data": out / "none", "out": out, "rollout": "server", "server_retries": 0}
    return TrainConfig.from_mapping({"max_new_tokens": 10, **values, **changes})


@pytest.fixture(scope="module")
def server_url(tmp_path_factory):
    with transformers_serve(tmp_path_factory.mktemp("serve") / "log") as url:
        yield url


def greedy_texts_agree(engine, adapter, samples, version):
    """The server's greedy answers are our own sampler's; returns their texts."""
    prompts = [adapter.encode(sample) for sample in samples]
    ours = sample_completions(adapter, prompts, ["a", "b", "c"], num_completions=1, params=GREEDY)
    theirs = engine.generate(RolloutRequest(samples, prompts, 1, GREEDY, seed=0, step=version))
    for (mine,), (other,) in zip(ours, theirs, strict=True):
        assert other.logprobs is None and other.sampling_logprobs is None
        # A random model writes broken UTF-8, which no text can hold: compared is what a text tells.
        text = adapter.tokenizer.decode(mine.tokens)
        tokens = adapter.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert other.tokens.tolist() == tokens[: GREEDY.max_new_tokens]
    return [group[0].text for group in theirs]


def move(parameters, spread):
    generator = torch.manual_seed(1)
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(spread * torch.randn(parameter.shape, generator=generator))


@pytest.mark.slow
def test_transformers_serve_answers_from_the_weights_last_pushed(server_url, adapter, samples, tmp_path):
    """Text, one image, several images: greedy texts are our own sampler's, before and after an update."""

    def save(directory, *, adapter_only=False):
        adapter.save(directory)

    config = settings(tmp_path, server_urls=(server_url,), server_kind="transformers")
    engine = ServerSampler(adapter, config, Ranks())
    seen = []
    for version in (0, 1):
        engine.push(version, save)
        seen.append(greedy_texts_agree(engine, adapter, samples, version))
        move(adapter.model.parameters(), 0.05)
    assert seen[0] != seen[1]
    prompts = [adapter.encode(sample) for sample in samples]
    drawn = engine.generate(RolloutRequest(samples, prompts, 4, SAMPLED, seed=0, step=3))
    assert all(len({c.text for c in group}) > 1 for group in drawn)
    assert sorted(path.name for path in (tmp_path / "rollout").iterdir()) == [
        "version-000000",
        "version-000001",
    ]
    engine.close()


@pytest.mark.slow
@pytest.mark.parametrize("family", ["qwen2_5_vl", "internvl"])
def test_transformers_serve_answers_from_the_lora_adapter_last_pushed(server_url, family, samples, tmp_path):
    """Only the adapter is written: the weights beside it are links, and the base model stays as it is."""
    base = tmp_path / "base"
    adapter = tiny_adapter(family, corpus=["What is 2 + 2?", "Describe the photo. yes no"], seed=0)
    adapter.save(base)
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    config = settings(
        tmp_path / "run",
        model=base,
        server_urls=(server_url,),
        server_kind="transformers_lora",
        lora_rank=4,
    )
    add_lora(adapter, config)

    def save(directory, *, adapter_only=False):
        assert adapter_only
        adapter.model.save_pretrained(directory)

    engine = ServerSampler(adapter, config, Ranks())
    seen = []
    for version in (0, 1, 2):
        engine.push(version, save)
        seen.append(greedy_texts_agree(engine, adapter, samples, version))
        move((p for name, p in adapter.model.named_parameters() if "lora_B" in name), 0.3)
    assert seen[0] != seen[1] != seen[2]
    engine.close()
    pushed = tmp_path / "run" / "rollout" / "version-000002"
    assert (pushed / "model.safetensors").resolve() == (base / "model.safetensors").resolve()
    assert not (pushed / "adapter_model.safetensors").is_symlink()
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


@pytest.mark.slow
@pytest.mark.parametrize(
    "changes",
    [
        {"server_kind": "transformers"},
        {"server_kind": "transformers", "lora_rank": 4},
        {"server_kind": "transformers_lora", "lora_rank": 4},
    ],
    ids=["weights", "merged", "adapter"],
)
def test_training_on_the_rollouts_of_transformers_serve(server_url, start, tmp_path, changes):
    changes = {"completions_per_prompt": 8, "steps": 2, **changes}
    train(run_settings(start, tmp_path / "run", server_urls=(server_url,), **changes))
    for record in records(tmp_path / "run"):
        assert (
            record["importance"] == 1
            and record["sampling_kl"] == 0
            and record["old_kl"] < 1e-9
            and record["grad_norm"] > 0
        )
        assert 0 < record["length/mean"] <= 16


def run_settings(start, out, **changes):
    values = {
        "prompts_per_step": 3,
        "completions_per_prompt": 3,
        "max_new_tokens": 16,
        "lr": 3e-4,
        "rollout": "server",
        "server_retries": 1,
    }
    return settings_from(start, out, **{**values, **changes})


def records(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A model directory."""
    path = tmp_path_factory.mktemp("weights")
    tiny_adapter("qwen2_5_vl", corpus=["What is 2 + 2?", "Describe the photo. yes no"], seed=0).save(path)
    return path


@pytest.fixture
def dialect(weights):
    server = DialectServer(weights)
    yield server
    server.shutdown()
    server.server_close()


def dialect_engine(server, out, **changes):
    adapter = load_adapter(server.path, dtype="float32")
    config = settings(
        out, model=server.path, server_urls=(server.url + "/v1",), server_timeout=2.0, **changes
    )
    return adapter, ServerSampler(adapter, config, Ranks())


def generate(engine, adapter, samples, **changes):
    prompts = [adapter.encode(sample) for sample in samples]
    values = {"num_completions": 4, "params": SAMPLED, "seed": 1, "step": 2, **changes}
    return engine.generate(RolloutRequest(samples, prompts, **values))


def policy_logprobs(adapter, prompts, groups, temperature=1.0):
    """[C] for each completion of equally large groups, in their order: the training pass's."""
    count = len(groups[0])
    items = [
        PackItem(prompt, tuple(c.tokens for c in group), tuple(range(i * count, (i + 1) * count)))
        for i, (prompt, group) in enumerate(zip(prompts, groups, strict=True))
    ]
    found = {}
    for pack in pack_groups(items, adapter, max_tokens=10_000):
        with torch.no_grad():
            logprobs, _ = completion_logprobs(adapter, pack, temperature=temperature)
        found |= {
            int(row): logprobs[pack.completion_of_target == row] for row in pack.completion_of_target.unique()
        }
    return [found[row] for row in sorted(found)]


def test_tokens_and_log_probs_of_the_server(dialect, samples, tmp_path):
    adapter, engine = dialect_engine(dialect, tmp_path, server_concurrency=3)
    groups = generate(engine, adapter, samples)
    prompts = [adapter.encode(sample) for sample in samples]
    flat = [completion for group in groups for completion in group]
    for completion, logprobs in zip(flat, policy_logprobs(adapter, prompts, groups), strict=True):
        torch.testing.assert_close(logprobs, completion.sampling_logprobs, atol=2e-5, rtol=0)
        kept = completion.tokens[:-1] if completion.stopped else completion.tokens
        assert completion.text == adapter.tokenizer.decode(kept)
    assert len({tuple(c.tokens.tolist()) for c in flat}) == 12
    body = dialect.bodies[0]
    assert {int(token) for token in body["logit_bias"]} == set(adapter.banned_tokens)
    assert (body["top_k"], body["repetition_penalty"], body["return_token_ids"]) == (-1, 1.0, True)
    again = generate(engine, adapter, samples)
    assert [c.text for g in again for c in g] == [c.text for c in flat]


def test_sglang_takes_weights_and_gives_tokens(weights, samples, tmp_path):
    server = DialectServer(weights, sglang=True)
    adapter, engine = dialect_engine(server, tmp_path, server_kind="sglang")
    prompts = [adapter.encode(sample) for sample in samples]
    for version in range(2):
        engine.push(version, lambda directory, *, adapter_only: adapter.save(directory))
        ours = sample_completions(adapter, prompts, ["a", "b", "c"], num_completions=1, params=GREEDY)
        theirs = generate(engine, adapter, samples, num_completions=1, params=GREEDY)
        for (mine,), (other,) in zip(ours, theirs, strict=True):
            assert other.tokens.tolist() == mine.tokens.tolist() and other.sampling_logprobs is None
        move(adapter.model.parameters(), 0.05)
    server.shutdown()
    server.server_close()


def test_passing_faults_change_nothing(dialect, samples, tmp_path):
    """Slow, 500, garbage, cut off, dropped: each once, and the rollout is that of a server in order."""
    adapter, engine = dialect_engine(dialect, tmp_path, server_retries=3)
    expected = generate(engine, adapter, samples, num_completions=5)
    dialect.faults = list(FAULTS.values())
    assert len(dialect.faults) == 13
    groups = generate(engine, adapter, samples, num_completions=5)
    assert not dialect.faults
    for group, other in zip(groups, expected, strict=True):
        assert [c.tokens.tolist() for c in group] == [c.tokens.tolist() for c in other]


@pytest.mark.parametrize("expected", FAULTS)
def test_a_lasting_fault_ends_the_rollout_and_is_named(dialect, samples, tmp_path, expected):
    adapter, engine = dialect_engine(dialect, tmp_path)
    dialect.faults = [FAULTS[expected]] * 8
    with pytest.raises(RolloutError, match=rf"completion \d of row text, got .*({expected})") as error:
        generate(engine, adapter, samples[:1], num_completions=2)
    assert "attempt 1 of 1" in str(error.value) and dialect.url in str(error.value)


def test_a_request_the_server_calls_wrong_is_not_repeated(dialect, samples, tmp_path):
    adapter, engine = dialect_engine(dialect, tmp_path, server_retries=5)
    dialect.faults = [lambda r: r.reply(404, b"no such model")]
    start = time.monotonic()
    with pytest.raises(RolloutError, match="got status 404 .* no such model .attempt 1 of 6"):
        generate(engine, adapter, samples[:1], num_completions=1)
    assert len(dialect.bodies) == 1 and time.monotonic() - start < 1


def test_prompts_encoded_otherwise_end_the_rollout(dialect, samples, tmp_path):
    adapter, engine = dialect_engine(dialect, tmp_path, server_retries=5)
    adapter.tokenizer.chat_template = "Mind. " + adapter.tokenizer.chat_template
    with pytest.raises(RolloutError, match=r"server must encode prompts as we do, got \d+ tokens for \d+"):
        generate(engine, adapter, samples[:1], num_completions=1)
    assert len(dialect.bodies) == 1


def test_another_server_takes_over(dialect, samples, tmp_path):
    adapter, engine = dialect_engine(dialect, tmp_path, server_retries=1)
    expected = generate(engine, adapter, samples)
    dead = f"http://127.0.0.1:{free_port()}"
    engine.servers.urls = [dead, dialect.url]
    groups = generate(engine, adapter, samples)
    assert [c.text for g in groups for c in g] == [c.text for g in expected for c in g]
    with pytest.raises(ServerError, match="got (ConnectionRefusedError|URLError) from"):
        HttpClient([dead], timeout=1, retries=0).post("/x", {}, len, what="nothing")


def test_what_a_server_samples_is_cut_where_we_would_not_train(adapter):
    banned, stop = adapter.banned_tokens[0], adapter.stop_tokens[0]
    params = SamplingParams(max_new_tokens=3)
    for tokens, kept, stopped in (
        ([5, 6, stop], [5, 6, stop], True),
        ([5, banned, 6, stop], [5], False),
        ([5, 6, 7, 8], [5, 6, 7], False),
        ([banned], [adapter.tokenizer.eos_token_id], False),
        ([], [adapter.tokenizer.eos_token_id], False),
    ):
        drawn = sampled_completion(adapter, tokens, [-0.5] * len(tokens), params)
        assert drawn.tokens.tolist() == kept and drawn.stopped is stopped
        known = 0 if drawn.sampling_logprobs is None else len(drawn.sampling_logprobs)
        assert known in (len(kept), 0) and (known > 0) == bool(tokens and tokens[0] != banned)


def test_training_with_lora_adapters_pushed_and_importance_weights(start, tmp_path):
    """The server samples in bfloat16 from the adapter of the step before; the loss makes up for it."""
    server = DialectServer(start / "model", dtype="bfloat16")
    config = run_settings(
        start,
        tmp_path / "run",
        server_urls=(server.url,),
        server_kind="vllm_lora",
        lora_rank=4,
        lr=3e-3,
        steps=3,
        updates_per_rollout=2,
        checkpoint_every=1,
    )
    train(config)
    for record in records(tmp_path / "run"):
        assert record["importance"] != 1 and abs(record["importance"] - 1) < 0.05
        assert 0 < record["sampling_kl"] < 0.01
        assert record["grad_norm"] > 0
    loads = [body for path, body in server.posts if path == "/v1/load_lora_adapter"]
    gone = [body["lora_name"] for path, body in server.posts if path == "/v1/unload_lora_adapter"]
    names = [body["lora_name"] for body in loads]
    assert len(set(names)) == 3 and gone == names[:-1]
    assert {body["model"] for body in server.bodies} == set(names)
    pushed = load_file(Path(loads[-1]["lora_path"]) / "adapter_model.safetensors")
    trained = tmp_path / "run" / "checkpoints" / "step-000002" / "adapter" / "adapter_model.safetensors"
    assert all(torch.equal(value, pushed[key]) for key, value in load_file(trained).items())
    server.shutdown()


def test_an_outage_loses_nothing(start, tmp_path):
    """The run stops at step 3 with a checkpoint of step 2; resumed, it equals one without an outage."""
    server = DialectServer(start / "model")
    changes = {"server_urls": (server.url,), "steps": 4, "server_retries": 0, "server_kind": "vllm"}
    train(run_settings(start, tmp_path / "straight", **changes))
    stopped = run_settings(start, tmp_path / "stopped", **changes)
    count = len(server.bodies) // 2
    seen = len(server.bodies)
    complete = server.complete

    def down(body):
        if len(server.bodies) - seen > count + 3:
            raise ConnectionError("the server is gone")
        return complete(body)

    server.complete = down
    with pytest.raises(RolloutError, match="server must answer for completion"):
        train(stopped)
    assert (tmp_path / "stopped" / "checkpoints" / "latest").resolve().name == "step-000002"
    server.complete = complete
    train(stopped, resume=True)
    left, right = (
        load_file(tmp_path / name / "checkpoints" / "latest" / "model.safetensors")
        for name in ("straight", "stopped")
    )
    assert left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)
    assert [r["step"] for r in records(tmp_path / "stopped")] == [1, 2, 3, 4]
    server.shutdown()


def test_an_outage_in_an_evaluation_loses_nothing(start, tmp_path):
    """The server goes between the greedy and the sampled answers of the evaluation after step 2."""
    server = DialectServer(start / "model")
    values = {"server_urls": (server.url,), "steps": 3, "server_retries": 0, "server_kind": "vllm"}
    evaluated = {"validation": start / "data" / "validation.jsonl", "eval_samples": 3, "eval_every": 2}
    straight, stopped = (
        run_settings(start, tmp_path / name, **values, **evaluated) for name in ("straight", "stopped")
    )
    train(straight)
    up, seen = server.complete, len(server.bodies)
    before, step = 3 * (1 + 4), 3 * 3  # requests of the evaluation before the run, and of a step

    def down(body):
        if len(server.bodies) - seen > before + 2 * step + 3:
            raise ConnectionError("the server is gone")
        return up(body)

    server.complete = down
    with pytest.raises(RolloutError, match="server must answer for completion"):
        train(stopped)
    assert (stopped.out / "checkpoints" / "latest").resolve().name == "step-000002"
    server.complete = up
    train(stopped, resume=True)
    assert_same_run(straight.out, stopped.out)
    server.shutdown()


def test_what_cannot_work_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="server_urls must name at least one server"):
        settings(tmp_path)
    for kind in ("vllm_lora", "transformers_lora"):
        with pytest.raises(ConfigError, match=f"lora_rank must be at least 1 where server_kind is '{kind}'"):
            settings(tmp_path, server_urls=("http://127.0.0.1:1",), server_kind=kind)
    with pytest.raises(ImportError, match=r"rollout 'vllm' needs vLLM: pip install 'mixed-r1\[vllm\]'"):
        VLLMSampler(None, settings(tmp_path, rollout="vllm"), Ranks())
