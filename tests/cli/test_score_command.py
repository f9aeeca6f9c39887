"""``mixed-r1 score`` beyond its tables: bounds for CI, explanations, calibration, many completions."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from mixed_r1.cli import app
from mixed_r1.rewards import MixedReward, RewardConfig, explain
from mixed_r1.schema import Sample
from tests.rewards.captions import REFERENCES
from tests.rewards.minilm import folder, parts


def run(*arguments: object, code: int = 0) -> Result:
    result = CliRunner().invoke(app, ["score", *map(str, arguments)], env={"COLUMNS": "200"})
    assert result.exit_code == code, f"{result.output}\n{result.exception!r}"
    return result


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def tagged(answer: str) -> str:
    return f"<think>so</think><answer>{answer}</answer>"


ROWS = [
    {"id": "chart", "task": "chart", "answer": "100", "completion": tagged("104")},
    {"id": "chart", "task": "chart", "answer": "100", "completion": tagged("50")},
    {
        "id": "boxes",
        "task": "grounding",
        "answer": [[10, 10, 20, 20], [40, 40, 60, 60]],
        "completion": tagged("[[0, 0, 3, 3], [10, 10, 20, 21]]"),
    },
    {
        "id": "text",
        "task": "open_ended",
        "answer": "a brown dog",
        "completion": tagged("the puppy \x1b[31m[b]"),
    },
    {"id": "bad", "task": "yes_no", "answer": "yes", "reward": {"math": 7}, "completion": tagged("yes")},
]


def test_bounds_of_means_set_the_exit_code(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", ROWS[:3])
    run(path, "--min-mean", 0.5, "--min-mean", "chart=0.55", "--min-mean", "grounding=0.509")
    result = run(path, "--min-mean", "chart=0.6", "--min-mean", "0.54", "--min-mean", "math=0", code=1)
    assert result.stderr.splitlines()[-3:] == [
        "mean reward of chart must be at least 0.6, got 0.5500",
        "mean reward of all must be at least 0.54, got 0.5364",
        "mean reward of math must be at least 0, got no scored completions",
    ]
    assert "reward by task" in result.stdout  # the tables are printed all the same
    masked = run(write(tmp_path / "m.jsonl", ROWS[4:]), "--min-mean", 0, code=1)
    assert "of all must be at least 0, got no scored completions" in masked.stderr
    for wrong in ("x", "chart=", "nan", "cart=0.5", "inf"):
        assert "--min-mean must be a number, or TASK=NUMBER" in run(path, "--min-mean", wrong, code=2).stderr


def test_a_mean_at_its_bound_passes(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", ROWS[:1] * 3)
    run(path, "--min-mean", 1)
    run(path, "--min-mean", 1.0000001, code=1)


def test_explanations(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", ROWS)
    with pytest.warns(UserWarning, match="is masked"):
        result = run(
            path,
            "--embeddings",
            folder(),
            *(f"--explain={name}" for name in ("chart", "boxes", "text", "bad")),
        )
    text = result.stdout
    assert "\x1b" not in text  # no completion writes to the terminal
    assert "'chart': chart, total 1.0000" in text and "'chart': chart, total 0.1000" in text
    assert "answer '104'" in text and "gold   '100'" in text
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert "chart 0.0000 0.9 OUT_OF_TOLERANCE" in lines and "format 1.0000 0.1 OK" in lines
    assert "[10, 10, 20, 21] [10, 10, 20, 20] 0.9091" in lines and "[0, 0, 3, 3] none 0.0000" in lines
    assert "'bad': yes_no, total masked" in text and "math: Input should be" in text
    reward = MixedReward(*parts())
    known = explain(
        reward, ROWS[3]["completion"], Sample(id="t", task="open_ended", question="q", answer="a brown dog")
    )
    for tokens in (known.answer_tokens, known.reference_tokens):
        for token in tokens:
            assert f"{token.token!r} {token.best!r} {token.similarity:.4f}" in lines
        mean = np.mean([token.similarity for token in tokens])
        assert any(f"(mean {mean:.4f})" in line for line in lines)
    assert "'the puppy \\x1b[31m[b]'" in text  # as a Python literal; its markup is no markup
    assert (
        "--explain must name the id of a scored sample, got 'none'"
        in run(path, "--embeddings", folder(), "--explain", "none", code=2).stderr
    )


def test_an_explanation_of_a_long_text_is_cut(tmp_path: Path) -> None:
    row = {"id": "t", "task": "open_ended", "answer": "a dog", "completion": tagged("word " * 700)}
    text = run(write(tmp_path / "c.jsonl", [row]), "--embeddings", folder(), "--explain", "t").stdout
    assert "and 500 more" in text and len(text.splitlines()) < 300


def test_the_robust_preset_is_calibrated_on_the_rows_named(tmp_path: Path) -> None:
    samples = [
        {"id": str(i), "task": "open_ended", "question": "q", "answer": text}
        for i, text in enumerate(REFERENCES)
    ]
    completions = [{"id": str(i), "completion": tagged(text)} for i, text in enumerate(REFERENCES[1:])]
    data, other = write(tmp_path / "data.jsonl", samples), write(tmp_path / "train.jsonl", samples[:8])
    path, out = write(tmp_path / "c.jsonl", completions), tmp_path / "out.jsonl"
    settings = ["--embeddings", folder(), "open_ended.preset=robust", "--out", out]
    rows = [Sample(**row) for row in samples]
    texts = [str(row["completion"]) for row in completions]
    for arguments, calibration in (((), rows), (("--calibration", other), rows[:8])):
        run(path, "--data", data, *settings, *arguments)
        reward = MixedReward(*parts(), config=RewardConfig(open_ended={"preset": "robust"}))  # type: ignore[arg-type]
        reward.calibrate(calibration)
        written = [json.loads(line)["total"] for line in out.read_text().splitlines()]
        assert written == reward(texts, rows[: len(texts)]).total.tolist()
    inline = write(tmp_path / "i.jsonl", [ROWS[3]])
    assert "calibration must name rows" in run(inline, *settings, code=2).stderr
    one = write(tmp_path / "one.jsonl", samples[:1])
    message = run(inline, *settings, "--calibration", one, code=2).stderr
    assert "calibration must name fitting rows" in message and "two different texts" in message


def test_what_cannot_be_used_is_one_line(tmp_path: Path) -> None:
    path = write(tmp_path / "c.jsonl", [ROWS[0]])
    for arguments, says in (
        (("--out", path / "out.jsonl"), "--out must be in a directory, got"),
        (("--calibration", path), "calibration must come with embeddings, got"),
        (("weights.char=1",), "weights must name columns of"),
        (("tasks.chart.weights.char=1",), "weights must name columns of"),
    ):
        assert says in run(path, *arguments, code=2).stderr
    unhashable = write(tmp_path / "i.jsonl", [{"id": ["chart"], "completion": "x"}])
    data = write(tmp_path / "d.jsonl", [{"id": "chart", "task": "chart", "question": "q", "answer": "1"}])
    assert "got ['chart']" in run(unhashable, "--data", data, code=2).stderr
    dog = {"id": "t", "task": "open_ended", "answer": "a dog", "completion": tagged("a dog")}
    own = write(tmp_path / "t.jsonl", [{**dog, "reward": {"open_ended": {"idf": True}}}])
    assert "must be calibrated" in run(own, "--embeddings", folder(), code=2).stderr


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_lone_surrogates_are_written(tmp_path: Path, suffix: str) -> None:
    path, out = write(tmp_path / "c.jsonl", [{**ROWS[0], "completion": "\ud800"}]), tmp_path / f"out.{suffix}"
    run(path, "--out", out)
    if suffix == "jsonl":
        record = json.loads(out.read_text())
        assert record["completion"] == "\ud800"
    else:
        import pyarrow.parquet as pq

        record = pq.read_table(out).to_pylist()[0]
        assert record["completion"] == "?"
    assert (record["total"], record["reason_chart"]) == (0.0, "BAD_UTF8")


def test_many_completions_are_scored_in_parts_with_a_bar(tmp_path: Path) -> None:
    """The same rewards as one batch; the bar goes to stderr, and nothing of it to a file."""
    rng = np.random.default_rng(0)
    rows = [
        {"task": "chart", "answer": "100", "completion": tagged(str(value))}
        for value in rng.integers(90, 111, 2500).tolist()
    ]
    out = tmp_path / "out.parquet"
    command = [
        sys.executable,
        "-m",
        "mixed_r1",
        "score",
        str(write(tmp_path / "c.jsonl", rows)),
        "--out",
        str(out),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert "2,500" in done.stdout and "scoring" not in done.stdout and "\x1b" not in done.stdout
    import pyarrow.parquet as pq

    sample = Sample(id="x", task="chart", question="q", answer="100")
    texts = [str(row["completion"]) for row in rows]
    expected = MixedReward()(texts, [sample] * 2500).total.tolist()
    assert pq.read_table(out).column("total").to_pylist() == expected
