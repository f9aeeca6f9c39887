"""The recipe of public sets, on small data sets that have the columns of their published cards."""

import datasets
import pytest

from mixed_r1.data import load_samples
from mixed_r1.data.engine import build
from mixed_r1.data.mini import MINI_RECIPE
from mixed_r1.data.recipe import Recipe

TEXT, NUMBER, IMAGE = datasets.Value("string"), datasets.Value("int64"), datasets.Image()
SENTENCES = datasets.List({"raw": TEXT, "sent": TEXT, "sent_id": NUMBER, "tokens": datasets.List(TEXT)})


def refcoco(i, root, make_picture):
    path = root / "coco" / "train2014" / f"{i}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(make_picture(700 + i, size=(120, 90)))
    sentence = {"raw": f"the object on side {i}", "sent": "x", "sent_id": i, "tokens": ["x"]}
    return {
        "file_name": f"{i}.png",
        "image_path": f"coco/train2014/{i}.png",
        "sentences": [sentence],
        "bbox": [10.0, 10.0, 40.0 + i, 50.0],
        "captions": [f"A smooth picture of number {i}.", "Another one."],
    }


REFCOCO = {
    "file_name": TEXT,
    "image_path": TEXT,
    "sentences": SENTENCES,
    "bbox": datasets.List(datasets.Value("float64")),
    "captions": datasets.List(TEXT),
}

COLUMNS = {
    "chartqa": (
        {"image": IMAGE, "query": TEXT, "label": datasets.List(TEXT), "human_or_machine": NUMBER},
        lambda i, image: {
            "image": image,
            "query": f"How much is bar {i}?",
            "label": [str(i)],
            "human_or_machine": 0,
        },
    ),
    "geometry3k": (
        {"images": datasets.List(IMAGE), "problem": TEXT, "answer": TEXT},
        lambda i, image: {"images": [image], "problem": f"<image>Find angle {i}.", "answer": f"{i}"},
    ),
    "scienceqa": (
        {
            "image": IMAGE,
            "question": TEXT,
            "choices": datasets.List(TEXT),
            "answer": datasets.Value("int8"),
            "hint": TEXT,
            "subject": TEXT,
        },
        lambda i, image: {
            "image": image,
            "question": f"Which of these is number {i}?",
            "choices": ["this", "that"],
            "answer": i % 2,
            "hint": "Look closely." if i else "",
            "subject": "natural science",
        },
    ),
    "clevr_count": (
        {"image": IMAGE, "problem": TEXT, "solution": TEXT},
        lambda i, image: {
            "image": image,
            "problem": f"How many items are there in the image {i}?",
            "solution": f"<answer> {i} </answer>",
        },
    ),
}


@pytest.fixture(scope="module")
def hub(tmp_path_factory, make_picture):
    """The recipe with each hub id replaced by a saved data set of the same columns, four rows each."""
    root = tmp_path_factory.mktemp("hub")
    recipe = Recipe.read(MINI_RECIPE.with_name("mixed_hub.yaml"))
    sources = []
    for number, spec in enumerate(recipe.sources):
        if spec.name in COLUMNS:
            features, make = COLUMNS[spec.name]
            images = [
                {"bytes": make_picture(10 * number + i, size=(120, 90)), "path": None} for i in range(4)
            ]
            rows = [make(i, image) for i, image in enumerate(images)]
        else:
            features, rows = REFCOCO, [refcoco(i, root, make_picture) for i in range(4)]
        data = datasets.Dataset.from_list(rows, features=datasets.Features(features))
        data.save_to_disk(str(root / spec.name))
        sources.append(spec.model_copy(update={"options": {"path": spec.name}}))
    return recipe.model_copy(update={"sources": tuple(sources), "base": root})


def test_every_source_of_the_recipe_gives_usable_rows(hub, tmp_path):
    result = build(hub, tmp_path / "out")
    samples = {s.id: s for split in result.rows for s in load_samples(result.out / split)}
    by_source = {spec.name: [s for s in samples.values() if s.source == spec.name] for spec in hub.sources}
    # refcocog repeats refcoco here, row for row: deduplication drops it.
    assert {name: len(rows) for name, rows in by_source.items()} == {
        **{spec.name: 4 for spec in hub.sources},
        "refcocog": 0,
    }
    assert result.dropped.get("dedup") == {"duplicate": 4}
    assert samples["geometry3k/1"].question == "Find angle 1."
    assert samples["scienceqa/1"].answer == "B" and samples["scienceqa/1"].question.startswith(
        "Look closely.\n"
    )
    assert samples["scienceqa/0"].question == "Which of these is number 0?"
    assert samples["clevr_count/3"].answer == "3"
    assert samples["refcoco/2"].answer == ((10.0, 10.0, 42.0, 50.0),)
    assert samples["refcoco/2"].question == "Where is this in the image: the object on side 2?"
    assert samples["coco_captions/1"].answer == "A smooth picture of number 1."


def test_the_shares_add_up_to_the_size_of_the_set():
    recipe = Recipe.read(MINI_RECIPE.with_name("mixed_hub.yaml"))
    assert recipe.balance.total == 45000
    assert set(recipe.balance.weights) == {spec.name for spec in recipe.sources}
    assert sum(recipe.balance.weights.values()) == 45
