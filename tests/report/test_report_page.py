"""The page itself: the right numbers, the right boxes, nothing that runs, something to show for any run."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from rich.console import Console
from tokenizers import Tokenizer

from mixed_r1.cli.console import show_summary
from mixed_r1.data.mini import sft_target
from mixed_r1.report import build_report
from mixed_r1.schema import Sample
from mixed_r1_kernels import EmbeddingTable

Record = Callable[..., list[dict[str, Any]]]
ALLOWED_TAGS = set(
    "html head meta title style body header div span nav a button main h1 h2 h3 p small dl dt dd section "
    "figure figcaption b i svg line text circle path g details summary table thead tbody tr th td ul ol li "
    "article image rect pre footer script".split()
)


class Elements(HTMLParser):
    """Every start tag with its attributes, and the text of the page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append(data)

    def of(self, tag: str, cls: str) -> list[dict[str, str]]:
        return [attrs for name, attrs in self.found if name == tag and cls in attrs.get("class", "").split()]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())


def page_of(run_dir: Path) -> Elements:
    return Elements(build_report(run_dir).read_text())


def grounded(samples: list[Sample]) -> list[Sample]:
    return [sample for sample in samples if sample.task == "grounding"]


def test_the_headline_is_the_greedy_reward_on_held_out_rows(run_dir: Path):
    text = page_of(run_dir).text
    assert "0.61 \u2192 0.62" in text or "0.61\u21920.62" in text.replace(" ", "")
    assert "+0.010 \u00b1 0.028" in text  # sqrt(2) * 0.02
    assert "0.610 \u00b1 0.020 before, 0.620 \u00b1 0.020 after" in text
    assert "Mean greedy reward on 250 held-out prompts" in text


def test_the_paired_error_of_the_summary_is_preferred(run_dir: Path):
    difference = {"mean": 0.125, "stderr": 0.006}
    (run_dir / "summary.json").write_text(json.dumps({"evaluation": {"sampled": {"difference": difference}}}))
    text = page_of(run_dir).text
    assert "+0.125 \u00b1 0.006" in text and "paired differences" in text


def test_a_summary_of_another_evaluation_is_not_used(run_dir: Path):
    difference = {"mean": 0.3, "stderr": 0.006}
    (run_dir / "summary.json").write_text(json.dumps({"evaluation": {"sampled": {"difference": difference}}}))
    assert "+0.125 \u00b1 0.014" in page_of(run_dir).text


def test_a_fall_is_marked_as_one_and_a_small_change_is_not(run_dir: Path):
    page = page_of(run_dir)
    classes = [attrs["class"].split()[-1] for attrs in page.of("td", "delta")]
    assert classes == ["even", "even", "up"]  # all greedy, chart sampled, all sampled
    assert "\u22120.020" in page.text


def test_time_is_split_between_the_parts_of_a_step(run_dir: Path):
    text = page_of(run_dir).text
    for part, share, seconds in (("Sampling", 50, "1.00"), ("Rewards", 12, "0.25"), ("Update", 38, "0.75")):
        assert f"{part} {share}% \u00b7 {seconds} s a step" in text


def test_reasons_compare_the_first_and_the_last_third(run_dir: Path):
    rows = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]

    def share(part: list[dict[str, Any]]) -> str:
        counts = {
            k: sum(r.get(k, 0) for r in part) for r in rows for k in r if k.startswith("reason/format/")
        }
        return f"{100 * counts['reason/format/OK'] / sum(counts.values()):.0f}%"

    text = page_of(run_dir).text
    part = text[text.index("Format", text.index("Why completions")) :]
    assert f"scored OK {share(rows[:3])} \u2192 {share(rows[-3:])}" in part
    assert "no answer tag NO_ANSWER_TAG" in part


def test_zero_metrics_are_named_and_not_drawn(run_dir: Path):
    page = page_of(run_dir)
    assert "Zero throughout, up to rounding: KL to the start." in page.text
    labels = [attrs["aria-label"] for attrs in page.of("svg", "chart")]
    assert "Entropy over steps" in labels and not any("KL" in label for label in labels)


def test_boxes_are_drawn_in_pixels_of_the_original_image(run_dir: Path, samples: list[Sample]):
    """The model sees twice the size: what it says is halved."""
    page = page_of(run_dir)
    drawn = {
        tuple(float(attrs[k]) for k in ("x", "y", "width", "height")) for attrs in page.of("rect", "gold")
    }
    expected = {(x1, y1, x2 - x1, y2 - y1) for s in grounded(samples) for x1, y1, x2, y2 in s.answer}
    assert expected and drawn == expected
    guesses = {
        tuple(float(attrs[k]) for k in ("x", "y", "width", "height")) for attrs in page.of("rect", "guess")
    }
    assert expected < guesses and (12.0, 12.0, 24.0, 24.0) in guesses


@pytest.mark.parametrize("frame", ["resized", "norm1000"])
def test_the_frame_is_the_one_that_the_run_recorded(
    run_dir: Path, samples: list[Sample], record: Record, frame: str
):
    """Qwen2.5-VL speaks pixels of the image as it sees it, InternVL thousandths."""
    config = yaml.safe_load((run_dir / "config.yaml").read_text())
    (run_dir / "config.yaml").write_text(yaml.safe_dump({**config, "reward": {"box_frame": frame}}))
    sample = grounded(samples)[0]
    texts = ["<think></think><answer>[0, 0, 48, 96]</answer>"] * 2
    record(9, [sample], [texts])
    guesses = page_of(run_dir).of("rect", "guess")
    assert sample.image_size == (48, 48)
    expected = {"resized": (24.0, 48.0), "norm1000": (48 * 0.048, 48 * 0.096)}[frame]
    assert (pytest.approx(expected[0]), pytest.approx(expected[1])) in [
        (float(attrs["width"]), float(attrs["height"])) for attrs in guesses
    ]


def test_images_are_embedded_as_they_are(run_dir: Path, samples: list[Sample]):
    uris = [attrs["href"] for tag, attrs in page_of(run_dir).found if tag == "image"]
    pixels = {
        Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB").tobytes() for uri in uris
    }
    expected = {Image.open(s.images[0]).convert("RGB").tobytes() for s in samples if s.images}
    assert pixels == expected


def test_a_large_image_is_made_smaller(run_dir: Path, samples: list[Sample], record: Record, tmp_path: Path):
    Image.effect_noise((2000, 1000), 60).save(tmp_path / "large.png")
    sample = grounded(samples)[0].model_copy(
        update={
            "images": (str(tmp_path / "large.png"),),
            "image_size": (2000, 1000),
            "resized_size": (1000, 500),
        }
    )
    texts = ["<think></think><answer>[100, 50, 500, 250]</answer>"]
    record(9, [sample], [texts])
    page = page_of(run_dir)
    uri = next(attrs["href"] for tag, attrs in page.found if tag == "image" and attrs["width"] == "2000")
    assert Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).size == (640, 320)
    assert any(
        (attrs["x"], attrs["width"], attrs["height"]) == ("200.0", "800.0", "400.0")
        for attrs in page.of("rect", "guess")
    )


def test_an_image_that_is_gone_is_said(run_dir: Path, samples: list[Sample], record: Record):
    sample = grounded(samples)[0].model_copy(update={"images": ("images/gone.png",)})
    for step in (1, 9):
        record(step, [sample])
    page = page_of(run_dir)
    assert "1 image could not be opened" in page.text
    assert not [tag for tag, _ in page.found if tag == "image"]


def test_a_moved_run_still_finds_its_images(run_dir: Path, samples: list[Sample], record: Record):
    """Paths relative to where training was started, two folders above the run."""
    sample = grounded(samples)[0]
    moved = run_dir.parents[1] / "data" / "images" / "moved.png"
    moved.parent.mkdir(parents=True)
    moved.write_bytes(Path(sample.images[0]).read_bytes())
    sample = sample.model_copy(update={"images": ("data/images/moved.png",)})
    record(9, [sample])
    assert "could not be opened" not in page_of(run_dir).text


def test_equal_completions_are_shown_once_with_their_number(run_dir: Path, samples: list[Sample]):
    page = page_of(run_dir)
    right = sft_target(next(sample for sample in samples if sample.task == "yes_no"))
    pieces = [piece for piece in re.split(r"(</?\w+>)", right) if piece]
    assert page.text.count(" ".join(" ".join(pieces).split())) == 2  # once in each of two steps
    assert page.text.count("2 equal") == 2 * len(samples)  # the first and the last step


def test_the_heat_map_shows_what_bmas_averages(run_dir: Path, model_dir: Path, samples: list[Sample]):
    sample = next(s for s in samples if s.task == "open_ended")
    tokenizer = Tokenizer.from_file(str(model_dir / "tokenizer.json"))
    table = EmbeddingTable.from_pretrained(model_dir)
    rows = [
        table.float64_rows(np.array(tokenizer.encode(text).ids))
        for text in (f"A photo of {sample.answer}", sample.answer)
    ]
    units = [row / np.linalg.norm(row, axis=1, keepdims=True) for row in rows]
    cosines = units[0] @ units[1].T
    precision, recall = cosines.max(axis=1).mean(), cosines.max(axis=0).mean()
    text = page_of(run_dir).text
    assert f"\u201cA photo of {sample.answer}\u201d against the gold text" in text
    assert f"average to {(precision + recall) / 2:.3f}" in text
    assert f"best: precision {precision:.3f}" in text and f"best: recall {recall:.3f}" in text


def test_the_newest_checkpoint_stands_in_for_a_starting_model_that_is_gone(run_dir: Path, model_dir: Path):
    (run_dir / "checkpoints").mkdir()
    (run_dir / "checkpoints" / "latest").symlink_to(model_dir)
    config = (run_dir / "config.yaml").read_text().replace(str(model_dir), "gone/model")
    (run_dir / "config.yaml").write_text(config)
    text = page_of(run_dir).text
    assert "Embeddings of the newest checkpoint, not of the starting model." in text
    (run_dir / "checkpoints" / "latest").unlink()
    assert "Token similarity" not in page_of(run_dir).text


PAYLOADS = (
    "<script>window.pwned = 1</script>",
    "</script><img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% include 'x' %}",
    "<iframe src=//evil.example></iframe><style>*{display:none}</style>",
    "\u202e\x1b[31m &lt;b&gt; \ufffe",
)


def poisoned(run_dir: Path, samples: list[Sample], record: Record) -> None:
    """Every text of a run that comes from outside holds a payload."""
    everything = "".join(PAYLOADS)
    rows = []
    for sample in samples:
        changes: dict[str, Any] = {"question": everything, "source": everything, "id": sample.id + everything}
        if sample.task == "open_ended":
            changes["answer"] = everything
        if sample.options:
            changes["options"] = tuple(f"{option}{everything}" for option in sample.options)
        rows.append(sample.model_copy(update=changes))
    texts = [[f"<think>{payload}</think><answer>{payload}</answer>" for payload in PAYLOADS] for _ in rows]
    for step in (1, 9):
        record(step, rows, texts)
    metrics = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    for row in metrics:
        row[f"reward/source/{everything}"] = 0.5
        row[f"reward/task/{everything}"] = 0.5
        row[f"reason/{everything}/{everything}"] = 3
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in metrics))
    evaluation = {"step": 9, "mode": "sampled", "task": everything, "mean": 0.5, "stderr": 0.1, "n": 3}
    with (run_dir / "evaluation.jsonl").open("a") as stream:
        stream.write(json.dumps(evaluation) + "\n")
    with (run_dir / "config.yaml").open("a") as stream:
        stream.write(f"system_prompt: {json.dumps(everything)}\n")


def test_texts_of_the_run_stay_texts(run_dir: Path, samples: list[Sample], record: Record):
    poisoned(run_dir, samples, record)
    text = build_report(run_dir).read_text()
    page = Elements(text)
    assert {tag for tag, _ in page.found} <= ALLOWED_TAGS
    assert (
        sum(tag == "script" for tag, _ in page.found) == 1
        and sum(tag == "style" for tag, _ in page.found) == 1
    )
    assert not [name for _, attrs in page.found for name in attrs if name.startswith("on")]
    for payload in PAYLOADS[:3]:
        assert payload not in text
    assert "{{ 7 * 7 }}" in page.text


def test_the_page_is_self_contained_and_runs_its_own_script_only(run_dir: Path):
    text = build_report(run_dir).read_text()
    page = Elements(text)
    references = [
        value
        for _, attrs in page.found
        for name, value in attrs.items()
        if name in ("href", "src", "action", "data")
    ]
    assert references and all(value.startswith(("#", "data:image/")) for value in references)
    assert not re.search(r"url\(|@import", text)
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)
    policy = next(
        attrs["content"]
        for tag, attrs in page.found
        if tag == "meta" and "content" in attrs and "http-equiv" in attrs
    )
    assert script is not None
    digest = base64.b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy


@pytest.mark.parametrize("missing", ["metrics.jsonl", "evaluation.jsonl", "completions", "config.yaml"])
def test_what_is_missing_is_left_out(run_dir: Path, missing: str):
    if missing == "completions":
        for file in (run_dir / missing).iterdir():
            file.unlink()
    else:
        (run_dir / missing).unlink()
    ids = {attrs["id"] for tag, attrs in page_of(run_dir).found if tag == "section" and "id" in attrs}
    gone = {
        "metrics.jsonl": {"rewards", "time", "reasons", "health"},
        "evaluation.jsonl": {"evaluation"},
        "completions": {"rollouts"},
        "config.yaml": set(),
    }[missing]
    assert ids == {"rewards", "evaluation", "time", "reasons", "health", "rollouts"} - gone


def test_a_run_that_has_just_begun_says_so(tmp_path: Path):
    (tmp_path / "config.yaml").write_text("steps: 100\n")
    (tmp_path / "metrics.jsonl").write_text("")
    assert "Just started" in page_of(tmp_path).text


def test_one_step_and_one_evaluation_are_enough(run_dir: Path):
    for name in ("metrics.jsonl", "evaluation.jsonl"):
        lines = (run_dir / name).read_text().splitlines(keepends=True)
        (run_dir / name).write_text("".join(lines[:1]))
    page = page_of(run_dir)
    assert "held-out prompts before training" in page.text and "0.500 \u00b1 0.010" in page.text
    assert "\u2192 0." not in page.text.split("Reward during")[0]
    assert not page.of("td", "delta")


def test_a_task_that_a_step_lacks_is_shown_from_the_nearest_step(
    run_dir: Path, samples: list[Sample], record: Record
):
    captions = [sample for sample in samples if sample.task == "open_ended"]
    others = [sample for sample in samples if sample.task != "open_ended"]
    record(7, captions[:1])
    record(8, [*captions[1:], *others])
    record(9, others)
    page = page_of(run_dir)
    last = page.text[page.text.index("Step 9", page.text.index("All tasks")) :]
    assert last.count("step 8") == 1 and "step 7" not in last and captions[1].id in last
    assert len(page.of("article", "card")) == len(samples) + len(others) + 1


def test_a_row_that_is_no_sample_still_shows_its_completions(
    run_dir: Path, samples: list[Sample], record: Record
):
    rows = record(9, samples[:1], sample='{"id": "x"}')
    assert rows[0]["prompt"] in page_of(run_dir).text


def test_the_report_goes_where_it_is_asked_to(run_dir: Path):
    assert build_report(run_dir) == run_dir / "report.html"
    target = run_dir / "new" / "page.html"
    assert build_report(run_dir, target) == target and target.is_file()
    assert not list(target.parent.glob(".*"))


# Of a task: reward before and after, what the best constant earns, and whether that shows ability.
STAGED = {
    "learning": (0.40, 0.70, 0.50, True),
    "learning nothing": (0.40, 0.41, 0.30, False),
    "collapsing to a constant": (0.30, 0.51, 0.50, False),
}


@pytest.mark.parametrize("stage", STAGED)
def test_the_headline_is_green_only_where_a_task_beats_its_start_and_the_best_constant(run_dir, stage):
    before, after, constant, learnt = STAGED[stage]
    records = []
    for step, mean in ((0, before), (20, after)):
        shared = {
            "step": step,
            "split": "validation",
            "mode": "greedy",
            "mean": mean,
            "stderr": 0.02,
            "n": 300,
        }
        records.append({**shared, "task": "all"})
        records.append({**shared, "task": "yes_no", "constant": ["no", constant]})
    (run_dir / "evaluation.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    page = build_report(run_dir).read_text(encoding="utf-8")
    (pill,) = re.findall(r'<span class="pill ([a-z]*)">', page)
    assert pill == ("" if learnt else "flat")
    said = "by two standard errors: Yes / no." if learnt else "No task is better than both its start and"
    assert said in page.replace("Yes/no", "Yes / no")

    summary = {
        "evaluation": {
            "greedy": {
                "before": [r for r in records if r["step"] == 0],
                "after": [r for r in records if r["step"] == 20],
                "difference": {"mean": after - before, "stderr": 0.03},
                "by_task": {"yes_no": {"mean": after - before, "stderr": 0.03}},
            }
        }
    }
    console = Console(record=True, width=160, file=io.StringIO())
    show_summary(console, summary)
    said = "by two standard errors: yes_no." if learnt else "No task is better than both its start and"
    assert said in console.export_text()
