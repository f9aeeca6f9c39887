"""docs/data.md and docs/data_engine.md: settings run, recipes load, names exist, the source works."""

import csv
import json
import re
import shutil
from pathlib import Path

import datasets
import pytest
import yaml
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.data import read_samples
from mixed_r1.data.columns import CONVERTERS
from mixed_r1.data.filters import FILTERS
from mixed_r1.data.recipe import Difficulty, Recipe
from mixed_r1.data.sources import KINDS, ListSource
from mixed_r1.models import tiny_adapter
from mixed_r1.schema import Sample
from mixed_r1.train import TrainConfig, train
from tests.train.runs import lines

DOCS = Path(__file__).resolve().parents[2] / "docs"
TEXT = (DOCS / "data_engine.md").read_text(encoding="utf-8")
ROWS = (DOCS / "data.md").read_text(encoding="utf-8")


def blocks(language, text=TEXT):
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_the_recipes_load():
    recipe, part = (yaml.safe_load(block) for block in blocks("yaml"))
    assert {spec.kind for spec in Recipe.from_mapping(recipe).sources} <= set(KINDS)
    assert Difficulty.from_mapping(part["difficulty"]).k == 8


@pytest.mark.parametrize("names", [KINDS, FILTERS, CONVERTERS], ids=["sources", "filters", "converters"])
def test_every_name_is_documented(names):
    assert [name for name in names if f"`{name}`" not in TEXT] == []


def test_the_source_works():
    namespace = {}
    code = next(block for block in blocks("python") if "class Squares" in block)
    exec(compile(code, "docs/data_engine.md", "exec"), namespace)
    source = namespace["Squares"](upto=5)
    assert isinstance(source, ListSource)
    (partition,) = source.partitions(10)
    assert [row["answer"] for _, row in source.read(partition)] == [0, 1, 4, 9, 16]


# Six kinds of data sets as people have them, and the first row that a run makes of each.


def easy_vqa(folder, make_picture):
    package = Path(pytest.importorskip("easy_vqa").__file__).parent / "data" / "train"
    asked = json.loads((package / "questions.json").read_text())[:40]
    (folder / "images").mkdir(parents=True)
    (folder / "questions.json").write_text(json.dumps(asked))
    for number in {row[2] for row in asked}:
        shutil.copy(package / "images" / f"{number}.png", folder / "images")
    question, answer, number = asked[0]
    return {
        "task": "short_answer",
        "question": question,
        "answer": answer,
    }, folder / "images" / f"{number}.png"


def coco(folder, make_picture):
    (folder / "photos").mkdir(parents=True)
    for i in range(6):
        (folder / "photos" / f"{i}.png").write_bytes(make_picture(i))
    for split in ("train", "val"):
        content = {
            "images": [{"id": i, "file_name": f"{i}.png"} for i in range(6)],
            "categories": [{"id": 1, "name": "cup"}],
            "annotations": [{"image_id": i, "category_id": 1, "bbox": [5, 6, 20, 30]} for i in range(6)],
        }
        (folder / f"instances_{split}.json").write_text(json.dumps(content))
    row = {"task": "grounding", "question": "Where is the cup in the image?", "answer": [5, 6, 25, 36]}
    return row, folder / "photos" / "0.png"


def refcoco(folder, make_picture):
    (folder / "photos").mkdir(parents=True)
    entries = []
    for i in range(6):
        (folder / "photos" / f"{i}.png").write_bytes(make_picture(i))
        sentences = [{"sent": f"left cup {i}"}, {"sent": f"red cup {i}"}]
        entries.append({"file_name": f"{i}.png", "bbox": [5, 6, 20, 30], "sentences": sentences})
    (folder / "train.json").write_text(json.dumps(entries))
    question = "Where is this in the image: left cup 0?"
    return {"task": "grounding", "question": question, "answer": [5, 6, 25, 36]}, folder / "photos" / "0.png"


def chartqa(folder, make_picture):
    for split in ("train", "val"):
        (folder / split / "png").mkdir(parents=True)
        entries = []
        for i in range(6):
            (folder / split / "png" / f"{i}.png").write_bytes(make_picture(i))
            entries.append({"imgname": f"{i}.png", "query": f"How much is bar {i}?", "label": [f"{i}.5"]})
        (folder / split / f"{split}_human.json").write_text(json.dumps(entries))
    row = {"task": "chart", "question": "How much is bar 0?", "answer": "0.5"}
    return row, folder / "train" / "png" / "0.png"


def saved(folder, make_picture):
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "prompt": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["cat", "dog"]),
        }
    )
    columns = {
        "image": [{"bytes": make_picture(i), "path": None} for i in range(6)],
        "prompt": ["What animal is this?"] * 6,
        "label": [i % 2 for i in range(6)],
    }
    data = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(str(folder))
    return {"task": "short_answer", "question": "What animal is this?", "answer": "cat"}, make_picture(0)


def table(folder, make_picture):
    (folder / "pictures").mkdir(parents=True)
    with (folder / "answers.csv").open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter=";")
        writer.writerow(["Nr", "Question", "Right answer", "Picture"])
        for i in range(6):
            (folder / "pictures" / f"{i}.png").write_bytes(make_picture(i))
            writer.writerow([i, f"What is in picture {i}?", "a red cup", f"{i}.png"])
        writer.writerow([6, "What is red and has an ear?", "a cup", ""])
    row = {"task": "short_answer", "question": "What is in picture 0?", "answer": "a red cup"}
    return row, folder / "pictures" / "0.png"


KINDS_OF_SETS = {
    "easy-vqa": ("easy-vqa/train", easy_vqa),
    "coco": ("coco", coco),
    "refcoco": ("refs", refcoco),
    "chartqa": ("chartqa", chartqa),
    "saved": ("saved", saved),
    "csv": (".", table),
}
SETTINGS = {yaml.safe_load(block)["out"].removeprefix("runs/"): block for block in blocks("yaml", ROWS)}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    tiny_adapter("qwen2_5_vl", corpus=["What is in the picture?"]).save(path)
    return path


def test_the_page_has_these_six():
    assert SETTINGS.keys() == KINDS_OF_SETS.keys()
    assert all(len(block.strip().splitlines()) <= 10 for block in SETTINGS.values())


@pytest.mark.parametrize("name", KINDS_OF_SETS)
def test_a_set_as_people_have_it_is_trained_on_by_ten_lines(name, tmp_path, monkeypatch, make_picture, model):
    """The settings of the page, on a set of that kind: rows, golds and pictures are right, and a run runs."""
    monkeypatch.chdir(tmp_path)
    folder, make = KINDS_OF_SETS[name]
    expected, image = make(Path(folder), make_picture)
    Path("run.yaml").write_text(SETTINGS[name])
    small = [
        f"model={model}",
        "steps=1",
        "prompts_per_step=2",
        "completions_per_prompt=2",
        "max_new_tokens=2",
    ]
    small += ["eval_samples=2", "eval_completions=1"]
    config = TrainConfig.load("run.yaml", small)
    loaded = read_samples(config.source())
    assert loaded.problems == [] and len(loaded.samples) >= 6
    first = loaded.samples[0]
    wanted = Sample(id="x", **expected)
    assert (first.task, first.question, first.answer) == (wanted.task, wanted.question, wanted.answer)
    payload = image if isinstance(image, bytes) else image.read_bytes()
    source = first.images[0]
    assert (source.read_bytes() if hasattr(source, "read_bytes") else Path(source).read_bytes()) == payload
    found = CliRunner().invoke(app, ["data", "check", "run.yaml", *small]).output.splitlines()
    harmless = (
        "must not be in data too",
        "columns that are not used",
        "problems",
    )  # we made both splits alike
    assert [line for line in found if not any(text in line for text in harmless)] == []
    train(config)
    assert [record["step"] for record in lines(config.out / "metrics.jsonl")] == [1]
