import json

import numpy as np
import pytest
from typer.testing import CliRunner

from mixed_r1.cli.app import app
from mixed_r1.data import load_samples


def run(*arguments, code=0):
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], env={"COLUMNS": "200"})
    assert result.exit_code == code, result.output
    return result


def test_build_card_stats_and_mix(local_sources, tmp_path):
    out = tmp_path / "set"
    first = run("data", "build", local_sources / "recipe.yaml", "--out", out)
    assert "built:" in first.output and "dropped by dedup: duplicate" in first.output
    assert "up to date:" in run("data", "build", local_sources / "recipe.yaml", "--out", out).output
    assert "built:" in run("data", "build", local_sources / "recipe.yaml", "--out", out, "seed=8").output

    figures = json.loads(run("data", "stats", out / "train", f"held={out / 'test'}").stdout)
    counts = {split: len(load_samples(out / split)) for split in ("train", "test")}
    assert figures["rows by split"] == {"held": counts["test"], "train": counts["train"]}

    run("data", "card", f"train={out / 'train'}", "--out", tmp_path / "card.html", "--title", "mine")
    page = (tmp_path / "card.html").read_text()
    assert "<title>mine: data card</title>" in page and page.count("<rect") >= 1

    shares = run("data", "mix", out / "train", "--weights", "equal", "--by", "task").output
    assert "grounding" in shares and "0.167" in shares, "six tasks"
    assert "must name sources" in run("data", "mix", out / "train", "--weights", "{x: 1}", code=2).output


def test_surrogate_proposal_and_warnings(tmp_path):
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.ones(2), 12)
    scores = 1.0 - (weights[:, 0] - 0.7) ** 2
    lines = [f"{a},{b},{score}" for (a, b), score in zip(weights, scores, strict=True)]
    path = tmp_path / "runs.csv"
    path.write_text("\n".join(["chart,math,score", *lines]))
    output = run("data", "mix", "--surrogate", path).output
    assert "chart" in output and "0.700" in output and "warning" not in output
    path.write_text("\n".join(["chart,math,score", *lines[:2]]))
    assert "runs must be at least 4" in run("data", "mix", "--surrogate", path, code=2).output
    assert "one of the two" in run("data", "mix", code=2).output


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("difficulty={windows: {math: {gt: 0}}}", "difficulty must name servers or a model"),
        ("sourcs=[]", "key must be a known setting, got 'sourcs'"),
        ("dedup={image_distance: 99}", "image_distance"),
    ],
)
def test_wrong_recipes_are_one_line(local_sources, tmp_path, override, message):
    result = run("data", "build", local_sources / "recipe.yaml", "--out", tmp_path / "x", override, code=2)
    assert message in result.output and "Traceback" not in result.output
