"""Runs side by side: paired by row, with what differs in their settings."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from mixed_r1.cli.app import app
from mixed_r1.report import ReportError, build_comparison, compare_runs

BEFORE = {"c1": 0.1, "c2": 1.0, "y1": 0.1, "y2": 0.1}
AFTER = {"a": {"c1": 1.0, "c2": 1.0, "y1": 0.1, "y2": 1.0}, "b": {"c1": 1.0, "c2": 0.1, "y1": 1.0, "y2": 1.0}}


def write_answers(
    run: Path, step: int, totals: Mapping[str, float | None], question: str = "How many?"
) -> None:
    rows = [
        {
            "step": step,
            "split": split,
            "mode": mode,
            "sample_id": name,
            "task": "chart" if name.startswith("c") else "yes_no",
            "sample": json.dumps({"question": f"{question} {name}", "answer": "1", "options": None}),
            "total": total if (split, mode) == ("validation", "greedy") else 0.0,
        }
        for split, mode in (("validation", "greedy"), ("validation", "sampled"), ("train", "greedy"))
        for name, total in totals.items()
    ]
    path = run / "evaluations" / f"step-{step:06d}.parquet"
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), path)


@pytest.fixture
def runs(run_dir: Path, tmp_path: Path) -> list[Path]:
    made = []
    for name, after in AFTER.items():
        run = Path(shutil.copytree(run_dir, tmp_path / name))
        config = yaml.safe_load((run / "config.yaml").read_text())
        settings = {**config, "lr": 1e-6 if name == "a" else 2e-6, "out": str(run)}
        (run / "config.yaml").write_text(yaml.safe_dump(settings))
        write_answers(run, 0, BEFORE)
        write_answers(run, 5, dict.fromkeys(after, 0.5))
        write_answers(run, 10, after)
        made.append(run)
    return made


def test_rows_are_paired_and_the_first_run_is_the_measure(runs):
    found = compare_runs(runs)
    assert [run.name for run in found.runs] == ["a", "b"] and [run.step for run in found.runs] == [10, 10]
    overall = found.runs[1].rows[-1]
    assert [row.task for row in found.runs[1].rows] == ["yes_no", "chart", "all"]
    assert (
        overall.rows == 4 and overall.before == pytest.approx(0.325) and overall.after == pytest.approx(0.775)
    )
    gained = np.array([0.9, -0.9, 0.9, 0.9])
    assert overall.change == pytest.approx(gained.mean())
    assert overall.change_stderr == pytest.approx(gained.std(ddof=1) / 2)
    beside = np.array([0.0, -0.9, 0.9, 0.0])
    assert overall.difference == pytest.approx(0.0, abs=1e-12)
    assert overall.difference_stderr == pytest.approx(beside.std(ddof=1) / 2)
    assert found.runs[0].rows[-1].difference == 0 and found.runs[0].rows[-1].difference_stderr == 0
    assert dict(found.settings) == {"lr": ["1e-06", "2e-06"]}, "where things lie is no setting to compare"


def test_rows_that_a_run_lacks_or_could_not_score_are_left_out_of_both(runs):
    write_answers(runs[1], 10, {"c1": 1.0, "c2": None, "y2": 1.0, "new": 0.3})
    found = compare_runs(runs)
    assert [run.rows[-1].rows for run in found.runs] == [2, 2]
    assert [run.left_out for run in found.runs] == [2, 1]


def test_the_page_and_the_terminal_say_the_same(runs, tmp_path):
    page = build_comparison(runs, tmp_path / "page.html").read_text(encoding="utf-8")
    assert "http://" not in page and "https://" not in page and "<script" not in page
    for text in ("Settings that differ", "+0.450", "0.775", "2e-06", "4 held-out rows"):
        assert text in page, text
    out = tmp_path / "other.html"
    result = CliRunner().invoke(app, ["report", *map(str, runs), "--out", str(out)], env={"COLUMNS": "120"})
    assert result.exit_code == 0, result.output
    assert out.is_file() and "b - a" in result.stdout and "+0.000 +- 0.367" in result.stdout
    assert "lr: 1e-06, 2e-06" in result.stdout and "evaluated after step: a 10, b 10" in result.stdout


def test_what_cannot_be_compared_is_named(runs, run_dir, tmp_path):
    with pytest.raises(ReportError, match="two or more directories, got 1"):
        compare_runs(runs[:1])
    with pytest.raises(ReportError, match="must hold evaluations/"):
        compare_runs([runs[0], run_dir])
    with pytest.raises(ReportError, match="run must be a directory"):
        compare_runs([runs[0], tmp_path / "nowhere"])
    write_answers(runs[1], 10, {"other": 1.0})
    with pytest.raises(ReportError, match="must have answered the same rows, got none"):
        compare_runs(runs)
    write_answers(runs[1], 10, AFTER["b"], question="How few?")  # other rows of the same ids
    with pytest.raises(ReportError, match="must have answered the same rows, got none"):
        compare_runs(runs)
    for step in (5, 10):
        (runs[0] / "evaluations" / f"step-{step:06d}.parquet").unlink()
    with pytest.raises(ReportError, match="of its start and of a later step .* got 1"):
        compare_runs(runs)
    write_answers(runs[0], 10, AFTER["a"])
    (runs[1] / "evaluations" / "step-000010.parquet").write_bytes(b"PAR1")
    with pytest.raises(ReportError, match=r"step-000010.parquet must be a complete Parquet file"):
        compare_runs(runs)
