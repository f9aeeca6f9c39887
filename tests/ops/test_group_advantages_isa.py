"""Advantages have the same bits at every instruction set this machine has, and the reference's values."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixed_r1_kernels import _native
from tests.ops.test_bmas_isa import AVAILABLE, run

SCRIPT = """
import sys
import numpy as np
from mixed_r1_kernels import TaskEma, _native, group_advantages

rng = np.random.default_rng(0)
results = {"isa": np.array(_native.isa())}
sizes = np.concatenate([np.arange(1, 40), rng.integers(1, 200, 20)])
N = int(sizes.sum())
for K in (1, 3):
    rewards = rng.standard_normal((N, K)) * 10.0 ** rng.integers(-3, 4, (N, K))
    rewards[rng.random((N, K)) < 0.1] = np.nan
    rewards[:3] = [[np.inf], [1e141], [-1e139]]
    rewards[sizes[:30].sum() : sizes[:32].sum()] = 0.7
    masks = {"all": None, "some": rng.random(N) < 0.8}
    for name, mask in masks.items():
        for method in ("group", "mean_only", "batch", "rloo", "gdpo", "maxrl", "task_ema"):
            def values(impl):
                extra = {"weights": np.linspace(0.5, 2, K), "mask": mask, "impl": impl}
                if method == "task_ema":
                    extra |= {"task_ids": np.arange(N) % 3, "state": TaskEma()}
                return group_advantages(rewards, sizes, method=method, **extra)

            results[f"{K}-{name}-{method}"] = values("native")
            results[f"reference-{K}-{name}-{method}"] = values("reference")
np.savez(sys.argv[1], **results)
"""


@pytest.fixture(scope="module")
def generic(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return results_at("generic", tmp_path_factory.mktemp("generic"))


def results_at(isa: str, folder: Path) -> dict[str, np.ndarray]:
    done = run(isa, SCRIPT, str(folder / "advantages.npz"))
    assert done.returncode == 0, done.stderr
    with np.load(folder / "advantages.npz") as found:
        assert str(found["isa"]) == isa
        return {name: found[name] for name in found.files if name != "isa"}


def test_the_generic_level_gives_the_references_values(generic: dict[str, np.ndarray]) -> None:
    for name, values in generic.items():
        if not name.startswith("reference"):
            expected = generic[f"reference-{name}"]
            assert np.isfinite(values).all() and np.count_nonzero(values) > 500
            np.testing.assert_allclose(values, expected, rtol=1e-9, atol=1e-11, err_msg=name)


@pytest.mark.parametrize("isa", AVAILABLE[1:])
def test_every_level_gives_the_bits_of_the_generic_one(
    isa: str, generic: dict[str, np.ndarray], tmp_path: Path
) -> None:
    for name, values in results_at(isa, tmp_path).items():
        np.testing.assert_array_equal(values.view(np.int64), generic[name].view(np.int64), err_msg=name)


def test_the_levels_are_those_of_this_machine() -> None:
    assert AVAILABLE[-1] == _native.detected_isa()
