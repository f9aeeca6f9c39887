"""``mixed-r1 data check``: every row that training would mask is explained, with what mends it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from typer.testing import CliRunner

from mixed_r1.cli.app import app
from mixed_r1.data import check_samples
from mixed_r1.rewards import MixedReward, RewardConfig

ROW = {"id": "1", "task": "math", "question": "?", "answer": "42"}


def check(folder: Path, rows: list[dict[str, Any]], *options: str) -> list[str]:
    """What the command prints of ``rows``, without the file's name and the line."""
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps({"id": f"{i}", **row}) + "\n" for i, row in enumerate(rows)))
    result = CliRunner().invoke(app, ["data", "check", str(path), *options])
    lines = result.stdout.splitlines()
    assert result.exit_code == (1 if lines else 0), result.output
    return [line.split(": ", 1)[1] for line in lines]


def row(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**ROW, **fields}.items() if value is not ... and name != "id"}


@pytest.mark.parametrize(
    ("fields", "rule", "remedy"),
    [
        ({"answer": "forty-two"}, "must be a number or simple LaTeX", "for an answer in words take"),
        ({"answer": "\\int_0^1 x dx"}, "must be a number or simple LaTeX", "or set math: math_verify"),
        ({"answer": ..., "label": "42"}, "Field required", "or set columns: {answer: label}"),
        ({"task": ...}, "Field required", "write one of yes_no, multiple_choice"),
        ({"task": "maths"}, "must be one of", "open_ended takes any text"),
        ({"task": "yes_no", "answer": "maybe"}, "must be 'yes' or 'no'", "write yes or no"),
        ({"task": "multiple_choice", "answer": "D", "options": ["a", "b"]}, "'D'", "add it to options"),
        ({"task": "multiple_choice", "answer": "A", "options": {"A": "a", "C": "c"}}, "letters", "a mapping"),
        ({"task": "chart", "answer": []}, "must not be an empty list", "a finite number, or a list"),
        ({"task": "chart", "answer": "nan"}, "must be finite", "write a text, a finite number"),
        ({"task": "grounding", "answer": [50, 40, 20, 30]}, "x1 < x2", "write [50, 40, 70, 70]"),
        ({"task": "grounding", "answer": "left"}, "list of boxes", "write corners [[x1, y1, x2, y2], ...]"),
        ({"task": "open_ended", "answer": " "}, "non-empty text", "write the reference text"),
        ({"reward": {"chart_tolerance": 7}}, "must hold settings that fit", "write settings of RewardConfig"),
        ({"images": ["gone.png"]}, "gone.png", "paths relative to the file"),
    ],
)  # fmt: skip
def test_a_bad_row_and_what_mends_it(tmp_path: Path, fields: dict[str, Any], rule: str, remedy: str) -> None:
    lines = check(tmp_path, [row(**fields)])
    assert any(rule in line and line.rindex(remedy) > line.index(rule) for line in lines), lines


@pytest.mark.parametrize(
    ("box", "remedy"),
    [([0.1, 0.2, 0.5, 100], "norm1000"), ([200, 300, 700, 900], "set frame: norm1000"),
     ([0.1, 0.2, 0.5, 0.9], "frame: norm1"), ([10, 10, 20, 20], None)],
)  # fmt: skip
def test_boxes_in_another_frame(tmp_path: Path, box: list[float], remedy: str | None) -> None:
    Image.new("RGB", (64, 48)).save(tmp_path / "image.png")
    lines = check(tmp_path, [row(task="grounding", answer=box, images=["image.png"])])
    assert (remedy is None) == (lines == []) and all(str(remedy) in line for line in lines)


def test_what_is_masked_depends_on_the_settings(tmp_path: Path) -> None:
    rows = [row(answer="\\sin(x)^2"), row(answer="forty-two"), row()]
    assert [line.split(":")[0] for line in check(tmp_path, rows)] == ["answer", "answer"]
    pytest.importorskip("math_verify")
    (line,) = check(tmp_path, rows, "math=math_verify", "math_seconds=30")
    assert "'forty-two'" in line and "chart" in line
    (tmp_path / "reward.yaml").write_text("math: math_verify\n")
    assert len(check(tmp_path, rows, "--config", str(tmp_path / "reward.yaml"))) == 1


def test_good_rows_need_no_sizes(tmp_path: Path) -> None:
    """An image's sizes come when it is shown; a row in another frame is no bad row."""
    rows = [
        row(task="grounding", answer=[10, 10, 20, 20], frame="norm1000", image_size=[64, 48]),
        row(task="grounding", answer=[10, 10, 20, 20], frame="norm1000"),
        row(task="open_ended", answer="A dog."),
    ]
    assert check(tmp_path, rows, "box_frame=resized", "open_ended.preset=robust") == []


def test_every_row_that_is_masked_is_found(tmp_path: Path) -> None:
    """The same rows as ``MixedReward.check`` finds in the file, and no other."""
    golds = ["42", "forty-two", "x^{", "1/0", "3:1", "\\frac{1}{2}", "", "2x+1", "12 km", "\\pm 2", "[1, 2)"]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({**ROW, "id": gold or "-", "answer": gold}) + "\n" for gold in golds))
    rows = [{**ROW, "id": gold or "-", "answer": gold} for gold in golds]
    masked = [place + 1 for place, _ in MixedReward(config=RewardConfig()).check(rows)]
    found = CliRunner().invoke(app, ["data", "check", str(path)]).stdout.splitlines()
    assert [int(line.removeprefix(f"{path}:").split(":")[0]) for line in found] == masked
    assert len(masked) >= 4 and len(check_samples(path)) == 1  # without settings: the empty one
