"""A thousand broken rows: each is trained on or named by ``data check``; none ends a run, build or eval."""

from __future__ import annotations

import io
import json
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from rich.console import Console

from mixed_r1.checking import check_run
from mixed_r1.cli.evaluation import run_evaluation
from mixed_r1.cli.masked import masked_problems
from mixed_r1.data import read_samples
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
from mixed_r1.models import tiny_adapter
from mixed_r1.train import TrainConfig, train
from mixed_r1.train.scoring import effective_config

COUNT = 1000
BOX = [4, 6, 30, 40]


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def noise(seed: int, size: tuple[int, int] = (48, 48), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    return Image.fromarray(pixels, "RGBA").convert(mode)


def turns(*texts: Any) -> list[dict[str, Any]]:
    return [{"from": ("human", "gpt")[i % 2], "value": text} for i, text in enumerate(texts)]


def good_rows() -> list[dict[str, Any]]:
    """Twenty rows of every task and layout."""
    part = {"type": "text", "text": "How many are there?"}
    pictured = [{"type": "image_url", "image_url": {"url": "1.png"}}, part]
    return [
        {"task": "yes_no", "question": "Is it bright?", "answer": True, "images": ["0.png"]},
        {"task": "yes_no", "question": "Is it dark?", "answer": "No.", "images": "1.png"},
        {"task": "multiple_choice", "question": "Which?", "options": ["red", "blue"], "answer": "B"},
        {"task": "multiple_choice", "question": "Which?", "options": {"A": "x", "B": "y"}, "answer": "x"},
        {"task": "chart", "question": "How much?", "answer": 12.5, "images": ["2.png"]},
        {"task": "chart", "question": "Which two?", "answer": ["a", "b"], "images": ["3.png"]},
        {"task": "math", "question": "What is 2 + 2?", "answer": "4"},
        {"task": "math", "question": "A half?", "answer": "\\frac{1}{2}", "reward": {"list_order": "any"}},
        {"task": "grounding", "question": "Where?", "answer": BOX, "images": ["4.png"]},
        {
            "task": "grounding",
            "question": "Where?",
            "answer": [[0.1, 0.1, 0.5, 0.9]],
            "frame": "norm1",
            "images": "5.png",
        },
        {
            "task": "grounding",
            "question": "<image> or <image>?",
            "answer": [BOX],
            "images": ["0.png", "1.png"],
            "image_of": 1,
        },
        {"task": "open_ended", "question": "Describe it.", "answer": "A red cup.", "images": ["2.png"]},
        {"task": "short_answer", "question": "What?", "answer": ["a cup", "mug"], "images": ["3.png"]},
        {"task": "short_answer", "question": "What?", "answer": "teal", "alternatives": ["blue green"]},
        {"task": "math", "conversations": turns("<image>\nHow many?", "3"), "image": "4.png"},
        {"task": "math", "conversations": turns("How many?", "<answer> 3 </answer>")},
        {"task": "math", "messages": [{"role": "user", "content": pictured}], "answer": "3"},
        {
            "task": "chart",
            "messages": [{"role": "system", "content": "Short."}, {"role": "user", "content": "?"}],
            "answer": "x",
        },
        {
            "task": "math",
            "problem": "<image>How many?",
            "solution": "<answer>3</answer>",
            "images": ["5.png"],
        },
        {
            "task": "math",
            "prompt": [{"role": "user", "content": "How many?"}],
            "reward_model": {"ground_truth": "3"},
        },
    ]


GARBAGE: list[Any] = [
    *(
        None,
        "",
        " ",
        0,
        -1,
        1e308,
        True,
        [],
        {},
        [None],
        [[]],
        {"a": {"b": [1]}},
        "x" * 3000,
        "\ud800",
        "\x00",
    ),
    *(
        "<image>",
        "<|image_pad|>",
        "<image><image><image>",
        "https://a.example/x.png",
        "data:image/png;base64,AAAA",
    ),
    *(
        "absent.png",
        "torn.png",
        "wide.png",
        "float.tiff",
        "deep.png",
        "alpha.png",
        "turned.jpg",
        "page.svg",
        "..",
        "/",
    ),
    *(
        [[1, 2, 3]],
        [[0, 0, 1e9, 5]],
        [[5, 5, 1, 1]],
        [[0.1, 0.2, 0.3, 0.4]],
        [[0, 0, 48.5, 48]],
        "[[1, 2, 3, 4]]",
    ),
    *(["0.png", "1.png"], ["0.png", None], [3], {"path": "0.png"}, {"bytes": "x"}, "pixels", "norm7", 99),
    *(
        [{"role": "robot", "content": "x"}],
        [{"role": "user"}],
        turns("a", "b", "c"),
        turns("a"),
        "not json {",
    ),
]
FIELDS = (
    *("task", "question", "answer", "images", "options", "messages", "conversations", "frame", "image_of"),
    *("image_size", "boxes_in", "reward", "metadata", "difficulty", "alternatives", "id", "source", "image"),
    *("problem", "solution", "prompt", "reward_model", "colour", "resized_size"),
)
TEXTS = ['{"id": NaN}', "{", "3", "[1, 2]", "\xff", "null", '"text"', "{} {}", '{"a": ' + "[" * 2000, "{}"]


def mutated(rng: np.random.Generator, rows: list[dict[str, Any]], number: int) -> str:
    """One line: a good row with one to three changes, or a line that is no row."""
    if number % 40 == 39:
        return TEXTS[int(rng.integers(len(TEXTS)))]
    row = {"id": f"m{number}", **json.loads(json.dumps(rows[number % len(rows)]))}
    for _ in range(int(rng.integers(1, 4))):
        field = FIELDS[int(rng.integers(len(FIELDS)))] if rng.random() < 0.5 else str(rng.choice(list(row)))
        kind = rng.random()
        if kind < 0.2:
            row.pop(field, None)
        elif kind < 0.3 and isinstance(row.get(field), (list, str)):
            row[field] = row[field] * 2
        else:
            row[field] = GARBAGE[int(rng.integers(len(GARBAGE)))]
    return json.dumps(row)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("mutated")
    for i in range(6):
        (path / f"{i}.png").write_bytes(encoded(noise(i)))
    (path / "torn.png").write_bytes(encoded(noise(0))[:90])
    (path / "wide.png").write_bytes(encoded(noise(0, (900, 3))))
    (path / "float.tiff").write_bytes(encoded(Image.fromarray(np.zeros((9, 9), np.float32)), "TIFF"))
    (path / "deep.png").write_bytes(
        encoded(Image.fromarray(np.arange(81, dtype=np.uint16).reshape(9, 9) * 700))
    )
    (path / "alpha.png").write_bytes(encoded(noise(1, mode="RGBA")))
    exif = Image.Exif()
    exif[0x112] = 6
    (path / "turned.jpg").write_bytes(encoded(noise(2, (40, 60)), "JPEG", exif=exif))
    (path / "page.svg").write_text("<svg/>")
    rng = np.random.default_rng(0)
    lines = [mutated(rng, good_rows(), number) for number in range(COUNT)]
    (path / "rows.jsonl").write_text("".join(line + "\n" for line in lines), encoding="latin-1")
    corpus = [json.dumps(row) for row in good_rows()]
    tiny_adapter("qwen2_5_vl", corpus=corpus, seed=0).save(path / "model")
    return path


@pytest.fixture(scope="module")
def config(folder: Path) -> TrainConfig:
    values = {
        **{"model": folder / "model", "data": folder / "rows.jsonl", "out": folder / "run"},
        **{"validation": folder / "rows.jsonl", "eval_samples": 60, "eval_completions": 1},
        **{"steps": 8, "prompts_per_step": 100, "completions_per_prompt": 2, "max_new_tokens": 2},
        **{"max_prompt_tokens": 500, "completions_every": 1},
    }
    return TrainConfig.from_mapping(values)


def test_twenty_good_rows_are_good(folder, config, tmp_path):
    lines = "".join(json.dumps(row) + "\n" for row in good_rows())
    (folder / "good.jsonl").write_text(lines)
    good = config.model_copy(update={"data": folder / "good.jsonl", "validation": None})
    settings = effective_config(good)
    with masked_problems(settings.reward) as judge:
        assert check_run(settings, judge).problems == []


def test_each_is_trained_on_or_named(folder, config):
    settings = effective_config(config)
    with masked_problems(settings.reward) as judge:
        problems = check_run(settings, judge).problems
    named = {p.line for p in problems if p.line and p.file == str(folder / "rows.jsonl")}
    loaded = read_samples(config.source())
    assert 300 < len(named) < COUNT - 100, "some of both"

    printed = io.StringIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of masked rows: data check named them
        train(config, console=Console(file=printed, width=10_000))
    files = sorted((folder / "run" / "completions").glob("*.parquet"))
    assert len(files) == config.steps
    trained = {
        row["sample_id"] for file in files for row in pq.read_table(file, columns=["sample_id"]).to_pylist()
    }
    skipped = set(re.findall(r"^row (.*?) skipped: ", printed.getvalue(), re.MULTILINE))

    left_out = {problem.line for problem in loaded.problems}
    read = [line for line in range(1, COUNT + 1) if line not in left_out]
    for line, sample in zip(read, loaded.samples, strict=True):
        assert sample.id in trained or line in named, f"line {line} is neither trained on nor named"
        assert sample.id not in skipped or line in named, f"line {line} was skipped and not named"
    assert left_out <= named


def test_an_evaluation_and_a_build_go_on(folder, config):
    console = Console(file=io.StringIO())
    model, rows = folder / "model", folder / "rows.jsonl"
    overrides = ["eval_samples=200", "eval_completions=1", "max_new_tokens=2", "max_prompt_tokens=500"]
    records = run_evaluation(model, rows, config=None, overrides=overrides, out=None, console=console)
    assert {record["mode"] for record in records} == {"greedy", "sampled"}
    recipe = {"name": "m", "sources": [{"name": "s", "path": "rows.jsonl"}], "base": str(folder)}
    result = build(Recipe.from_mapping(recipe), folder / "built")
    rejects = (result.out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()
    assert sum(result.rows.values()) + len(rejects) == COUNT
