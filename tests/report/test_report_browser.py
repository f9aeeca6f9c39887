"""The page in a real browser: light and dark, desk and phone, hover and filter, and no script but its own.

Runs where Chromium and playwright are found (``apt-get install chromium``, ``pip install playwright``).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from mixed_r1.report import build_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("Chromium is not installed", allow_module_level=True)
sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")

Open = Callable[..., Any]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@contextmanager
def opened(browser: Any, path: Path, *, scheme: str = "light") -> Iterator[tuple[Any, list[str]]]:
    """The page, and everything that must not happen: requests, console messages, errors, dialogs."""
    context = browser.new_context(viewport={"width": 1280, "height": 900}, color_scheme=scheme)
    page, incidents = context.new_page(), []
    page.on("console", lambda message: incidents.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: incidents.append(f"error: {error}"))
    page.on("dialog", lambda dialog: (incidents.append(f"dialog: {dialog.message}"), dialog.dismiss()))
    page.on("request", lambda request: incidents.append(request.url) if foreign(request.url, path) else None)
    page.goto(path.as_uri())
    yield page, incidents
    context.close()


def foreign(url: str, path: Path) -> bool:
    return not url.startswith("data:image/") and url != path.as_uri()


@pytest.mark.parametrize(
    ("scheme", "background"), [("light", "rgb(252, 252, 251)"), ("dark", "rgb(18, 20, 22)")]
)
def test_it_fits_and_nothing_goes_wrong(run_dir: Path, browser: Any, scheme: str, background: str):
    with opened(browser, build_report(run_dir), scheme=scheme) as (page, incidents):
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == background
        for width in (1280, 820, 360):
            page.set_viewport_size({"width": width, "height": 900})
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert page.locator("figure svg.chart:visible").count() > 6
        assert incidents == []


def test_every_image_is_shown(run_dir: Path, browser: Any):
    with opened(browser, build_report(run_dir)) as (page, incidents):
        loaded = page.evaluate(
            "Promise.all([...document.querySelectorAll('image')].map((shown) => {"
            "  const copy = new Image(); copy.src = shown.href.baseVal;"
            "  return copy.decode().then(() => copy.naturalWidth);"
            "}))"
        )
        assert loaded and all(width > 0 for width in loaded)
        assert incidents == []


def test_moving_over_a_chart_reads_a_step(run_dir: Path, browser: Any):
    with opened(browser, build_report(run_dir)) as (page, _):
        figure = page.locator("figure", has=page.locator("svg.chart[aria-label='Entropy over steps']"))
        before = figure.locator(".now").inner_text()
        figure.scroll_into_view_if_needed()
        box = figure.locator("svg").bounding_box()
        page.mouse.move(box["x"] + box["width"] - 12, box["y"] + 40)
        assert figure.locator(".now").inner_text().split() == ["step", "9", "0.056"]  # 0.5 / 9
        page.mouse.move(0, 0)
        assert figure.locator(".now").inner_text() == before


def test_steps_and_tasks_are_chosen_by_button(run_dir: Path, browser: Any):
    with opened(browser, build_report(run_dir)) as (page, _):
        assert page.locator(".album:visible").get_attribute("data-step") == "9"
        assert page.locator(".card:visible").count() == 6  # the first of each task
        page.get_by_role("button", name="Grounding").click()
        assert page.locator(".card:visible").count() == 2
        page.get_by_role("button", name="Step 1", exact=True).click()
        assert page.locator(".album:visible").get_attribute("data-step") == "1"
        assert page.locator(".card:visible").count() == 2


def test_a_completion_points_at_its_boxes(run_dir: Path, browser: Any):
    with opened(browser, build_report(run_dir)) as (page, _):
        page.get_by_role("button", name="Grounding").click()
        card = page.locator(".card:visible").first
        completion = card.locator(".completion[data-boxes]").last
        number = completion.get_attribute("data-boxes")
        assert card.locator(".box.on").count() == 0
        completion.hover()
        marked = card.locator(".box.on")
        assert marked.count() == 1 and marked.first.get_attribute("data-of") == number


def test_the_theme_can_be_switched(run_dir: Path, browser: Any):
    with opened(browser, build_report(run_dir)) as (page, _):
        colors = []
        for _ in range(3):
            colors.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
            page.get_by_role("button", name="Switch between light and dark").click()
        assert colors[0] == colors[2] != colors[1]


def test_texts_of_the_run_do_not_run(run_dir: Path, browser: Any, record: Any, samples: list[Any]):
    attacks = (
        "<script>alert(1)</script>",
        "</script><script>alert(2)</script>",
        "<img src=x onerror=alert(3)>",
        '"><svg/onload=alert(4)>',
        "<a href=javascript:alert(5)>x</a><iframe src=https://evil.example></iframe>",
    )
    everything = "".join(attacks)
    rows = [
        s.model_copy(update={"question": everything, "source": everything, "id": s.id + everything})
        for s in samples
    ]
    record(9, rows, [[f"<think>{text}</think><answer>{text}</answer>" for text in attacks]] * len(rows))
    with opened(browser, build_report(run_dir)) as (page, incidents):
        page.wait_for_timeout(200)
        assert incidents == []
        assert page.locator("iframe, main script, img").count() == 0
        assert everything in page.locator(".card:visible .question").first.inner_text()


def test_the_policy_stops_a_script_that_got_in(run_dir: Path, browser: Any):
    """The second wall: were escaping ever to fail, the browser still refuses."""
    report = build_report(run_dir)
    report.write_text(report.read_text().replace("<main>", "<main><script>document.title = 'owned'</script>"))
    with opened(browser, report) as (page, incidents):
        assert page.title() != "owned"
        assert any("Content Security Policy" in incident for incident in incidents)
