"""Engines: equal losses whatever the engine, the ZeRO stage and the number of ranks; identical on resume."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mixed_r1.config import ConfigError
from mixed_r1.engines import LocalEngine
from mixed_r1.ranks import Ranks
from mixed_r1.train_config import TrainConfig
from tests.engines import run_engines as program

FLOAT32 = [f"{stage}:float32:none" for stage in range(4)] + [f"{s}:float32:cpu" for s in (1, 2, 3)]
BFLOAT16 = [f"{s}:bfloat16:{where}" for s in (1, 2, 3) for where in ("none", "cpu")]


def local(dtype: str) -> TrainConfig:
    return program.config("local", f"2:{dtype}:none")


@pytest.fixture(scope="module")
def expected():
    """What LocalEngine makes of the batch, per dtype: its steps, and those by turns."""
    ranks = Ranks()
    return {
        dtype: (
            program.run(*program.build(local(dtype), ranks), ranks, program.STEPS),
            program.turns(*program.build(local(dtype), ranks), ranks),
        )
        for dtype in ("float32", "bfloat16")
    }


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_local_engine_resumes_identically_and_skips_what_is_not_finite(tmp_path, dtype):
    result = program.examine(local(dtype), Ranks(), tmp_path / "state")
    check(result, (result["straight"], result["turns"]))


def test_bfloat16_weights_have_float32_copies_that_small_steps_add_up_in():
    """One step of 1e-6 is far below what a bfloat16 weight of 0.1 can take in; twenty add up."""
    settings = local("bfloat16").model_copy(update={"lr": 1e-6})
    adapter, engine = program.build(settings, Ranks())
    name = next(name for name in engine.parameters if name.endswith("embed_tokens.weight"))
    start = engine.parameters[name].detach().clone()
    program.run(adapter, engine, Ranks(), 20)
    moved = (engine.masters[name].detach() - start.float()).abs()
    assert 1.5e-5 < float(moved.quantile(0.9)) < 2.5e-5  # AdamW moves by the learning rate
    assert engine.masters[name].dtype == torch.float32
    assert torch.equal(engine.parameters[name], engine.masters[name].bfloat16())


def test_engine_settings_that_cannot_work():
    with pytest.raises(ValueError, match="zero_stage must be at least 1"):
        program.config("deepspeed", "0:bfloat16:none")
    with pytest.raises(ConfigError, match=r"freeze must be \[vision, projector\]"):
        TrainConfig.from_mapping({"model": "-", "data": "-", "out": "-", "lora_rank": 4, "freeze": []})


def test_nothing_to_train_is_an_error():
    adapter, _ = program.build(local("float32"), Ranks())
    adapter.model.requires_grad_(False)
    with pytest.raises(ValueError, match="freeze must leave something to train"):
        LocalEngine(adapter, local("float32"))


def check(result, expected, rtol: float = 1e-4):
    for steps, wanted in zip((result["straight"], result["turns"]), expected, strict=True):
        losses, norms = np.array(steps).T
        np.testing.assert_allclose(losses, [loss for loss, _ in wanted], rtol=0, atol=rtol)
        np.testing.assert_allclose(norms, [norm for _, norm in wanted], rtol=rtol)
    assert [list(step) for step in result["resumed"]] == [list(step) for step in result["straight"]]
    assert result["empty"] == 0 and result["skipped"] and result["unchanged"]
    assert np.isfinite(result["next"]).all()


def check_all(launch, out: Path, ranks: int, specs, expected):
    for rank in launch("engines/run_engines.py", out, *specs, ranks=ranks):
        assert rank.wait(400) == 0, rank.text
    results = json.loads((out / "results.json").read_text())
    for spec in specs:
        dtype = spec.split(":")[1]
        # bfloat16 activations: which of two neighbours a value rounds to depends on the order of a sum
        check(results[spec], expected[dtype], rtol=1e-4 if dtype == "float32" else 2e-2)


def check_elsewhere(out: Path, specs, expected):
    """Any state goes on in LocalEngine."""
    for spec in specs:
        dtype = spec.split(":")[1]
        losses = program.resume_elsewhere(local(dtype), Ranks(), out / spec)
        wanted = expected[dtype][0][program.SAVED :]
        np.testing.assert_allclose(losses, wanted, rtol=1e-4 if dtype == "float32" else 2e-2)


def test_zero_on_one_rank_equals_local(launch, tmp_path, expected):
    pytest.importorskip("deepspeed")
    specs = ["3:float32:none", "2:float32:cpu"]
    check_all(launch, tmp_path, 1, specs, expected)
    check_elsewhere(tmp_path, specs, expected)


@pytest.mark.slow
@pytest.mark.parametrize("specs", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("ranks", [1, 2])
def test_every_stage_equals_local(launch, tmp_path, expected, ranks, specs):
    check_all(launch, tmp_path, ranks, specs, expected)
    check_elsewhere(tmp_path, specs, expected)
