"""The difficulty stage with ``transformers serve`` on loopback and MixedReward; killed and resumed."""

import os
import signal

import pytest

from mixed_r1.data import load_samples
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe, Servers
from mixed_r1.data.servers import ServerSampler
from mixed_r1.rewards import MixedReward
from tests.processes import assert_killed, transformers_serve

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A tiny random Qwen2.5-VL on disk."""
    from mixed_r1.models import tiny_adapter

    folder = tmp_path_factory.mktemp("model")
    adapter = tiny_adapter("qwen2_5_vl", corpus=["What is 3 plus 4?", "<answer>7</answer>"], seed=0)
    adapter.save(str(folder))
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    with transformers_serve(tmp_path_factory.mktemp("serve") / "log") as address:
        yield f"{address}/v1"


def test_killed_and_resumed_against_a_real_server(local_sources, model, url, tmp_path):
    settings = Recipe.read(local_sources / "recipe.yaml").model_dump()
    settings["sources"] = [
        spec for spec in settings["sources"] if spec["name"] in ("charts", "sums", "choice")
    ]
    settings["sources"][0]["limit"] = 6
    window = {"of": "mean", "ge": 0.0, "le": 1.0}
    # Greedy answers: equal ones, whenever they are asked for.
    servers = {"urls": [url], "model": str(model), "temperature": 0.0, "max_tokens": 8, "concurrency": 2}
    settings["difficulty"] = {
        "k": 2,
        "rows_per_batch": 3,
        "windows": {"chart": window, "math": window, "multiple_choice": window},
        "servers": servers,
    }
    recipe = Recipe.from_mapping(settings)
    sampler = ServerSampler(Servers(**servers), seed=recipe.seed)
    reward = MixedReward()

    def scorer(completions, samples):
        return reward(completions, samples).total.tolist()

    whole = build(recipe, tmp_path / "whole", sampler=sampler, scorer=scorer)

    def dying(samples, k):
        answers = sampler(samples, k)
        if (tmp_path / "out" / ".work" / "rollouts" / "journal.jsonl").stat().st_size > 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return answers

    assert_killed(lambda: build(recipe, tmp_path / "out", sampler=dying, scorer=scorer))
    resumed = build(recipe, tmp_path / "out", sampler=sampler, scorer=scorer)
    for split in whole.rows:
        samples = load_samples(resumed.out / split)
        assert samples == load_samples(whole.out / split)
        assert all(sample.metadata["rollouts"]["num_scored"] == 2 for sample in samples)
    files = [path.name for path in whole.out.iterdir() if path.is_file()]
    assert all((whole.out / name).read_bytes() == (resumed.out / name).read_bytes() for name in files)
