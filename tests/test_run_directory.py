"""The format of a run has one owner: nobody else names its files, metrics or columns; the docs know them."""

from __future__ import annotations

import ast
import math
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixed_r1.run_directory import (
    Column,
    Metric,
    RunDirectory,
    ScoreCell,
    is_metric,
    score_cells,
    score_columns,
    storable,
    write_json,
)
from mixed_r1_kernels.reason import Reason

ROOT = Path(__file__).resolve().parents[1]
METRICS = {name for key, name in vars(Metric).items() if key.isupper()}
FILES = {path.name for path in vars(RunDirectory("run")).values()} - {"run"}


def literals(path: Path) -> set[str]:
    """Every text in a module, its docstrings left out."""
    tree = ast.parse(path.read_text())
    expressions = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    nodes = (
        node for node in ast.walk(tree) if isinstance(node, ast.Constant) and id(node) not in expressions
    )
    return {node.value for node in nodes if isinstance(node.value, str)}


def test_nobody_else_names_what_is_in_a_run():
    metrics = {name for name in METRICS if "/" in name or "_" in name}
    files = {name for name in FILES if "." in name}
    own = metrics | files | {"reward_", "reason_", Column.PROMPT_GROUP, Column.COMPLETION_INDEX}
    offenders = {}
    for path in (ROOT / "mixed_r1").rglob("*.py"):
        if path.name != "run_directory.py" and (found := literals(path) & own):
            offenders[str(path.relative_to(ROOT))] = found
    assert offenders == {}


def test_the_docs_know_every_metric():
    text = (ROOT / "docs" / "training.md").read_text()
    known = set(re.findall(r"`([\w/]+)`", text))
    unknown = {
        name
        for name in METRICS - known
        if not (name.endswith("/") and any(other.startswith(name) for other in known))
    }
    assert unknown == set()


def test_names_of_metrics():
    assert is_metric("reward/mean") and is_metric("reward/task/counting") and is_metric("reason/chart/OK")
    assert not is_metric("reward/unheard_of") and not is_metric("rewards")


def test_completions_come_by_step(tmp_path):
    files = RunDirectory(tmp_path)
    for step in (999_999, 2, 1_000_000):
        files.completions(step).parent.mkdir(exist_ok=True)
        files.completions(step).touch()
    for other in (".step-000003.parquet", "step-000004.parquet.tmp", "notes.parquet"):
        (tmp_path / "completions" / other).touch()
    assert files.all_completions() == [files.completions(step) for step in (2, 999_999, 1_000_000)]
    assert RunDirectory(tmp_path / "none").all_completions() == []


def test_scores_survive_a_file(tmp_path):
    """What was not applicable has no value; a lone surrogate, which Parquet cannot hold, becomes "?"."""
    columns = score_columns(["chart", "format"], [math.nan, 1.0], [Reason.NOT_APPLICABLE, Reason.OK])
    row = {Column.COMPLETION: storable("a\ud800b"), Column.TOTAL: 1.0, **columns}
    pq.write_table(pa.Table.from_pylist([row]), tmp_path / "rows.parquet")
    (read,) = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    assert read[Column.COMPLETION] == "a?b"
    assert list(score_cells(read)) == [
        ScoreCell("chart", None, "NOT_APPLICABLE"),
        ScoreCell("format", 1.0, "OK"),
    ]


def test_json_is_there_whole_or_not_at_all(tmp_path):
    path = tmp_path / "summary.json"
    write_json(path, {"steps": 1})
    before = path.read_text()
    try:
        write_json(path, {"steps": {1, 2}})  # a set is not JSON
    except TypeError:
        pass
    assert path.read_text() == before and [p.name for p in tmp_path.iterdir()] == ["summary.json"]
