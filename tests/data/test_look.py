"""``data look`` and ``data convert``: rows as a run sees them, and the same rows in our own files."""

from __future__ import annotations

import json

import pytest
from PIL import Image
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.data import load_samples
from mixed_r1.models import tiny_adapter

playwright = pytest.importorskip("playwright.sync_api")

BOX = [10, 12, 40, 30]


@pytest.fixture
def folder(tmp_path, make_picture):
    for i in range(2):
        (tmp_path / f"{i}.png").write_bytes(make_picture(i))
    rows = [
        {"task": "yes_no", "question": "Is it <b>bright</b>?", "answer": True, "images": "0.png"},
        {"task": "short_answer", "question": "What?", "answer": ["a cup", "mug"], "images": "1.png"},
        {"task": "short_answer", "question": "Vote?", "answer": ["x", "x", "y"]},
        {"task": "grounding", "question": "<image> or <image>?", "answer": BOX, "images": ["0.png", "1.png"]},
        {"task": "math", "question": "2 + 2?", "answer": "forty-two"},
        {"task": "math", "question": "2 + 2?", "answer": 4, "colour": "red"},
        {"task": "open_ended", "question": "Say.", "answer": "A cup."},
        {"task": "chart", "question": "How much?"},
    ]
    rows[3]["image_of"] = 1
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def run(*arguments):
    result = CliRunner().invoke(app, ["data", *map(str, arguments)])
    assert result.exit_code == 0, result.output
    return result.output


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as started:
        try:
            chromium = started.chromium.launch()
        except playwright.Error as error:
            pytest.skip(f"no browser: {error}")
        yield chromium
        chromium.close()


def test_the_page_shows_each_row_as_it_is_asked_and_scored(folder, browser):
    printed = run("look", folder / "rows.jsonl", "--out", folder / "look.html")
    assert "7 of 7 rows shown, 1 cannot be used" in printed
    assert "row rows.jsonl:3: its gold earns 0.667" in printed  # two of three people said x
    page = browser.new_page()
    incidents = []
    page.on("request", lambda request: incidents.append(request.url[:40]))
    page.goto((folder / "look.html").as_uri())
    panels = {
        panel.query_selector(".tag").inner_text().split(" | ")[2]: panel
        for panel in page.query_selector_all(".panel")
    }
    assert len(panels) == 7
    texts = {name: panel.inner_text() for name, panel in panels.items()}
    assert "Is it <b>bright</b>?" in texts["rows.jsonl:1"] and "[image 1]" in texts["rows.jsonl:1"]
    assert "a cup or mug" in texts["rows.jsonl:2"] and "its gold earns 1" in texts["rows.jsonl:2"]
    assert "its gold earns 0.667" in texts["rows.jsonl:3"]
    assert "[image 1]  or [image 2] ?" in texts["rows.jsonl:4"] and "earns 1" in texts["rows.jsonl:4"]
    assert "cannot be used: answer must be a number or simple LaTeX" in texts["rows.jsonl:5"]
    assert "<answer>4</answer>" in texts["rows.jsonl:6"] and "earns 1" in texts["rows.jsonl:6"]
    assert "not scored here" in texts["rows.jsonl:7"]
    body = page.inner_text("body")
    assert "colour" in body and "rows.jsonl:8: answer: Field required" in body
    # The box lies on the second image, where the row says.
    shown = panels["rows.jsonl:4"].query_selector_all("svg")
    assert [len(svg.query_selector_all("rect")) for svg in shown] == [0, 1]
    rect, image = (shown[1].query_selector(name).bounding_box() for name in ("rect", "image"))
    scale = image["width"] / 64
    assert rect["x"] - image["x"] == pytest.approx(10 * scale, abs=2)
    assert rect["width"] == pytest.approx(30 * scale, abs=3)
    assert [url for url in incidents if not url.startswith(("file:", "data:image/"))] == []
    page.close()


def test_the_settings_of_a_run_say_columns_and_scores(folder, make_picture):
    tiny_adapter("qwen2_5_vl", corpus=["Where is it?"]).save(folder / "model")
    rows = [{"q": "Where is it?", "box": BOX, "file": "0.png"}, {"q": "Say.", "box": None, "file": "1.png"}]
    (folder / "boxes.json").write_text(json.dumps(rows))
    settings = f"model: {folder}/model\ndata: {folder}/boxes.json\nout: {folder}/run\ntask: grounding\n"
    settings += "columns: {question: q, answer: box, images: file}\n"
    (folder / "run.yaml").write_text(settings)
    printed = run("look", folder / "run.yaml", "--out", folder / "look.html")
    assert "1 of 1 rows shown, 1 cannot be used" in printed and "earns" not in printed
    page = (folder / "look.html").read_text()
    assert "its gold earns 1" in page and "boxes.json:2: answer: Field required" in page


def test_a_page_of_rows_that_can_all_not_be_used(folder):
    (folder / "bad.jsonl").write_text('{"question": "?"}\n')
    assert "0 of 0 rows shown, 1 cannot be used" in run(
        "look", folder / "bad.jsonl", "--out", folder / "x.html"
    )
    assert "bad.jsonl:1: task: Field required" in (folder / "x.html").read_text()


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_rows_of_any_layout_become_ours(folder, form):
    text = "file;what;right\n0.png;How many?;3\n1.png;How many?;\n1.png;How many?;2\n"
    (folder / "rows.csv").write_text(text)
    out = folder / "deep" / f"rows.{form}"
    columns = ["columns.question=what", "columns.answer=right", "columns.images=file", "task=math"]
    printed = run("convert", folder / "rows.csv", out, *columns)
    assert "2 rows written, 1 left out" in printed and "rows.csv:3: answer: Field required" in printed
    rows = load_samples(out)
    assert [row.answer for row in rows] == ["3", "2"] and {row.task for row in rows} == {"math"}
    (folder / "source.yaml").write_text(f"path: {folder}/rows.csv\ntask: math\nlimit: 1\n")
    run("convert", folder / "source.yaml", folder / "one.jsonl", *columns[:3])
    assert len(load_samples(folder / "one.jsonl")) == 1


def test_reports_show_pictures_of_rows_that_are_no_files(tmp_path):
    """As of Parquet, which is what ``data build`` writes: small copies lie in the run's own folder."""
    from mixed_r1.data import save_samples
    from mixed_r1.report import build_report
    from mixed_r1.schema import Sample
    from mixed_r1.train import TrainConfig, train

    tiny_adapter("qwen2_5_vl", corpus=["Where is it?"]).save(tmp_path / "model")
    wide = Image.effect_noise((2000, 1000), 50).convert("RGB")
    rows = [
        Sample(
            id=str(i), task="grounding", question="Where is it?", images=(wide,), answer=[200, 100, 900, 700]
        )
        for i in range(2)
    ]
    save_samples(rows, tmp_path / "rows.parquet")
    values = {"model": tmp_path / "model", "data": tmp_path / "rows.parquet", "out": tmp_path / "run"}
    values |= {"steps": 1, "prompts_per_step": 2, "completions_per_prompt": 2, "max_new_tokens": 4}
    train(TrainConfig.from_mapping(values))
    (copy,) = (tmp_path / "run" / "images").iterdir()
    assert Image.open(copy).size == (1024, 512)
    (tmp_path / "rows.parquet").unlink()
    page = build_report(tmp_path / "run").read_text()
    assert "could not be opened" not in page
    assert 'viewBox="0 0 2000 1000"' in page  # boxes are in pixels of the original
