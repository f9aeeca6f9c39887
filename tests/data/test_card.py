"""The data card: its figures against the rows, and the page in a real browser."""

import json
import re
import shutil
from collections import Counter

import pytest

from mixed_r1.data import load_samples, save_samples
from mixed_r1.data.card import card_of_files
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
from mixed_r1.schema import Sample

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@pytest.fixture(scope="module")
def built(local_sources, tmp_path_factory):
    """Every local layout, with measured difficulty."""
    settings = Recipe.read(local_sources / "recipe.yaml").model_dump()
    settings["difficulty"] = {"k": 2, "windows": {"math": {}, "grounding": {}}}
    return build(
        Recipe.from_mapping(settings),
        tmp_path_factory.mktemp("card") / "set",
        sampler=lambda samples, k: [["x"] * k for _ in samples],
        scorer=lambda completions, samples: [(len(sample.id) % 4) / 4 for sample in samples],
    )


@pytest.fixture(scope="module")
def browser():
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed")
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


def tables(page):
    """The rows of each table, as texts of their cells."""
    return page.evaluate(
        "[...document.querySelectorAll('table')].map((table) =>"
        " [...table.rows].map((row) => [...row.cells].map((cell) => cell.innerText)))"
    )


def test_what_the_page_shows_is_what_the_set_holds(built, browser):
    rows = {split: load_samples(built.out / split) for split in built.rows}
    page = browser.new_page()
    page.goto((built.out / "card.html").as_uri())
    kept, constants, stages, dropped = tables(page)
    figures = json.loads((built.out / "stats.json").read_text())
    steps = [(line, step) for line in figures["golds by stage"] for step in line["stages"]]
    shown = [line for line in stages[1:] if line[2] == "rows"]
    assert len(shown) <= len(figures["golds by stage"]) and steps[-1][1]["stage"] != "rows"
    for line in stages[1:]:
        assert any(
            (line[2], int(line[3].replace(",", "")), line[4], line[5])
            == (step["stage"], step["rows"], step["gold"], f"{100 * step['share']:.1f}%")
            for _, step in steps
        )
    assert "contamination" not in figures["rules"] or "image_distance" in page.inner_text("body")
    for task, gold, share, _ in constants[1:]:
        golds = Counter(s.answer for samples in rows.values() for s in samples if s.task == task)
        assert share == f"{100 * golds[gold] / golds.total():.1f}%" and golds[gold] == max(golds.values())
    assert kept[0][:6] == ["task", "source", "train", "validation", "test", "all"]
    counts = Counter((s.task, s.source, split) for split, samples in rows.items() for s in samples)
    for task, source, *numbers in (line[:6] for line in kept[1:]):
        expected = [counts[task, source, split] for split in ("train", "validation", "test")]
        assert [int(n) for n in numbers] == [*expected, sum(expected)]
    assert len(kept) - 1 == len({key[:2] for key in counts})
    assert {(line[0], line[1]): int(line[2]) for line in dropped[1:]} == {
        (stage, reason): count
        for stage, reasons in built.dropped.items()
        for reason, count in reasons.items()
    }
    histograms = page.evaluate(
        "Object.fromEntries([...document.querySelectorAll('.wide .panel')].map((panel) => ["
        " panel.querySelector('h3').innerText,"
        " [...panel.querySelectorAll('.bars div')].map((bar) => Number(bar.innerText))]))"
    )
    figures = json.loads((built.out / "stats.json").read_text())["histograms"]
    assert set(histograms) == set(figures) and "difficulty" in figures
    for name, bars in histograms.items():
        assert sum(bars) == sum(figures[name]["counts"]), name
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_every_screen_and_asks_nobody_for_anything(built, browser, scheme):
    context = browser.new_context(color_scheme=scheme)
    page, incidents = context.new_page(), []
    page.on("console", lambda message: incidents.append(message.text))
    page.on("request", lambda request: incidents.append(request.url[:60]))
    page.goto((built.out / "card.html").as_uri())
    for width in (1280, 820, 360):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert [url for url in incidents if not url.startswith(("data:image/", "file:"))] == []
    assert sum(url.startswith("file:") for url in incidents) == 1
    context.close()


def test_boxes_are_drawn_where_they_are(built, browser):
    """Every thumbnail decodes, and a box covers the share of its image that the answer says."""
    samples = {s.id: s for split in built.rows for s in load_samples(built.out / split)}
    page = browser.new_page()
    page.goto((built.out / "card.html").as_uri())
    widths = page.evaluate(
        "Promise.all([...document.querySelectorAll('image')].map((shown) => {"
        " const copy = new Image(); copy.src = shown.href.baseVal;"
        " return copy.decode().then(() => copy.naturalWidth); }))"
    )
    assert len(widths) > 15 and min(widths) > 0
    boxes = page.evaluate(
        "[...document.querySelectorAll('svg')].filter((svg) => svg.querySelector('rect')).map((svg) => {"
        " const image = svg.querySelector('image').getBoundingClientRect();"
        " return [svg.getAttribute('aria-label'), [...svg.querySelectorAll('rect')].map((rect) => {"
        " const box = rect.getBoundingClientRect(); return [(box.left - image.left) / image.width,"
        " (box.top - image.top) / image.height, (box.right - image.left) / image.width,"
        " (box.bottom - image.top) / image.height]; })]; })"
    )
    assert len(boxes) == 6
    for label, drawn in boxes:
        sample = samples[label.removeprefix("image of ")]
        width, height = sample.image_size
        for found, (x1, y1, x2, y2) in zip(drawn, sample.answer, strict=True):
            expected = (x1 / width, y1 / height, x2 / width, y2 / height)
            assert found == pytest.approx(expected, abs=0.03), "the line has a width"
    page.close()


def test_texts_are_escaped_and_long_ones_fit(tmp_path, browser):
    bad = "<script>alert(1)</script>" + "x" * 400
    rows = [
        Sample(id=f"{i}{bad}", task="open_ended", question=bad, answer=bad, source="s<b>") for i in range(3)
    ]
    save_samples(rows, tmp_path / "rows.jsonl")
    card_of_files({"train": tmp_path / "rows.jsonl"}, tmp_path / "card.html", title="<i>mine</i>")
    text = (tmp_path / "card.html").read_text()
    assert "<script" not in text and "<i>mine" not in text and len(re.findall("&lt;script&gt;", text)) >= 9
    page = browser.new_page(viewport={"width": 700, "height": 500})
    page.goto((tmp_path / "card.html").as_uri())
    assert page.title() == "<i>mine</i>: data card"
    assert page.evaluate("document.documentElement.scrollWidth") <= 700
    page.close()
