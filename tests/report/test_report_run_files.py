"""What a run directory may look like, and what is said about one that cannot be read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mixed_r1.report import ReportError, build_report
from mixed_r1.report.run_files import load_run


def run_with(tmp_path: Path, **files: str) -> Path:
    (tmp_path / "config.yaml").write_text("steps: 3\n")
    for name, text in files.items():
        (tmp_path / f"{name}.jsonl").write_text(text)
    return tmp_path


def step(number: int, **values: object) -> str:
    return json.dumps({"step": number, **values}) + "\n"


def test_a_record_under_way_is_left_out(tmp_path: Path):
    run = load_run(run_with(tmp_path, metrics=step(1) + step(2) + '{"step": 3, "rew'))
    assert [row["step"] for row in run.metrics] == [1, 2]


def test_a_broken_record_is_named_by_file_and_line(tmp_path: Path):
    run = run_with(tmp_path, metrics=step(1) + '{"step": 2,\n' + step(3))
    with pytest.raises(ReportError, match=r"metrics\.jsonl, line 2: must be one JSON object"):
        load_run(run)


@pytest.mark.parametrize("line", ["[1]", '{"loss": 1}', '{"step": true}', '{"step": "1"}', "7"])
def test_a_record_without_a_step_is_named(tmp_path: Path, line: str):
    with pytest.raises(ReportError, match=r"metrics\.jsonl, line 2: step must be an integer"):
        load_run(run_with(tmp_path, metrics=step(1) + line + "\n"))


def test_a_step_written_again_after_a_resume_counts_once(tmp_path: Path):
    run = load_run(run_with(tmp_path, metrics=step(1, loss=1) + step(2, loss=2) + step(2, loss=3)))
    assert [(row["step"], row["loss"]) for row in run.metrics] == [(1, 1), (2, 3)]


def test_an_evaluation_without_a_mean_is_left_out(tmp_path: Path):
    records = step(0, mode="greedy", task="math", mean=None) + step(0, mode="greedy", task="all", mean=0.5)
    run = load_run(run_with(tmp_path, evaluation=records))
    assert [row["task"] for row in run.evaluation] == ["all"]


def test_an_unknown_mode_is_an_error(tmp_path: Path):
    run = run_with(tmp_path, evaluation=step(0, mode="beam", task="all", mean=0.5))
    with pytest.raises(ReportError, match=r"mode must be one of .*got 'beam'"):
        load_run(run)


def test_completions_come_by_step_and_not_by_name(tmp_path: Path):
    run_with(tmp_path)
    (tmp_path / "completions").mkdir()
    for name in ("step-000010.parquet", "step-1000000.parquet", "step-000002.parquet", "other.parquet"):
        (tmp_path / "completions" / name).write_bytes(b"")
    names = [path.name for path in load_run(tmp_path).completion_files]
    assert names == ["step-000002.parquet", "step-000010.parquet", "step-1000000.parquet"]


def test_a_cut_parquet_file_is_named(run_dir: Path):
    file = run_dir / "completions" / "step-000009.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ReportError, match=r"step-000009\.parquet must be a complete Parquet file"):
        build_report(run_dir)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- 1\n", "must hold a mapping"),
        ("a: [1\n", "must be a readable YAML file"),
        ("reward: {fromat: none}\n", "did you mean format"),
        ("reward: 3\n", "reward must be readable settings"),
    ],
)
def test_an_unreadable_config_is_named(run_dir: Path, text: str, message: str):
    (run_dir / "config.yaml").write_text(text)
    with pytest.raises(ReportError, match=r"config\.yaml") as error:
        build_report(run_dir)
    assert message in str(error.value)


def test_what_is_no_run_is_said(tmp_path: Path):
    with pytest.raises(ReportError, match="run must be a directory"):
        build_report(tmp_path / "missing")
    with pytest.raises(ReportError, match=r"run must hold config\.yaml, metrics\.jsonl or completions/"):
        build_report(tmp_path)


def test_an_out_that_cannot_be_written_is_said(run_dir: Path):
    (run_dir / "file").write_text("")
    with pytest.raises(ReportError, match="out must be a file that can be written"):
        build_report(run_dir, run_dir / "file" / "report.html")
