"""The recipe of public sets, on repositories of the same layout and columns as those on the hub."""

import datasets
import pytest

from mixed_r1.data import load_samples
from mixed_r1.data.engine import build
from mixed_r1.data.mini import MINI_RECIPE
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.sources import open_source
from mixed_r1.rewards import MixedReward, RewardConfig

TEXT, NUMBER, IMAGE = datasets.Value("string"), datasets.Value("int64"), datasets.Image()
FLOATS = datasets.List(datasets.Value("float64"))
SENTENCES = datasets.List({"raw": TEXT, "sent": TEXT, "sent_id": NUMBER, "tokens": datasets.List(TEXT)})
NAMES = datasets.ClassLabel(names=["cat", "dog", "cup"])
BOXES = [[10.0, 10.0, 40.0, 50.0], [50.0, 10.0, 90.0, 50.0], [5.0, 60.0, 30.0, 88.0]]
REFCOCO = {
    "file_name": TEXT,
    "image_path": TEXT,
    "sentences": SENTENCES,
    "bbox": FLOATS,
    "captions": datasets.List(TEXT),
}


def refcoco(i, image):
    sentence = {"raw": f"the object on side {i}", "sent": "x", "sent_id": i, "tokens": ["x"]}
    return {
        "file_name": f"{i}.png",
        "image_path": f"coco/train2014/{i}.png",
        "sentences": [sentence],
        "bbox": [10.0, 10.0, 40.0 + i, 50.0],
        "captions": [f"A smooth picture of number {i}.", "Another one."],
    }


# Hub id -> columns, and row i with its image
SETS = {
    "HuggingFaceM4/ChartQA": (
        {"image": IMAGE, "query": TEXT, "label": datasets.List(TEXT), "human_or_machine": NUMBER},
        lambda i, image: {"image": image, "query": f"How much is bar {i}?", "label": [str(i)]},
    ),
    "hiyouga/geometry3k": (
        {"images": datasets.List(IMAGE), "problem": TEXT, "answer": TEXT},
        lambda i, image: {"images": [image], "problem": f"<image>Find angle {i}.", "answer": f"{i}"},
    ),
    "lmms-lab/multimodal-open-r1-8k-verified": (
        {"image": IMAGE, "problem": TEXT, "solution": TEXT},
        lambda i, image: {
            "image": image,
            "problem": f"What is the area of shape number {i}?",
            "solution": f"<think>Easy.</think>\n\n<answer>{'B' if i == 3 else 10 * i}</answer>",
        },
    ),
    "declare-lab/PuzzleVQA": (
        {"image": IMAGE, "category": TEXT, "question": TEXT, "options": TEXT, "answer": TEXT},
        lambda i, image: {
            "image": image,
            "category": "colors",
            "question": f"Which colour is missing in picture {i}?",
            "options": ["['red', 'pale blue']", '["red", "pale blue"]', "['red', 'green']", "red"][i],
            "answer": "pale blue",
        },
    ),
    "lmms-lab/ScienceQA": (
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
    "leonardPKU/clevr_cogen_a_train": (
        {"image": IMAGE, "problem": TEXT, "solution": TEXT},
        lambda i, image: {
            "image": image,
            "problem": f"How many items are there in the image {i}?",
            "solution": f"<answer> {i} </answer>",
        },
    ),
    "lmms-lab/textvqa": (
        {"image": IMAGE, "question": TEXT, "answers": datasets.List(TEXT), "ocr_tokens": datasets.List(TEXT)},
        lambda i, image: {
            "image": image,
            "question": f"What is written on sign number {i}?",
            "answers": ["stop", "exit", "exit"],
        },
    ),
    "merve/vqav2-small": (
        {"multiple_choice_answer": TEXT, "question": TEXT, "image": IMAGE},
        lambda i, image: {
            "image": image,
            "question": f"Is there a dog in picture {i}?",
            "multiple_choice_answer": ["yes", "no", "2", "brown"][i],
        },
    ),
    "detection-datasets/coco": (
        {
            "image_id": NUMBER,
            "image": IMAGE,
            "objects": {"bbox_id": datasets.List(NUMBER), "category": datasets.List(NAMES)}
            | {"bbox": datasets.List(FLOATS), "area": FLOATS},
        },
        lambda i, image: {
            "image_id": i,
            "image": image,
            "objects": {"bbox_id": [1, 2, 3], "category": [2, 0, 2], "bbox": BOXES, "area": [1.0, 2.0, 3.0]},
        },
    ),
    "jxu124/refcoco": (REFCOCO, refcoco),
    "jxu124/refcocog": (REFCOCO, refcoco),
}


def write_repository(folder, features, rows, *, split, config):
    """Parquet files and the card's ``configs`` as ``push_to_hub`` leaves them."""
    (folder / "data").mkdir(parents=True)
    filled = [{name: row.get(name) for name in features} for row in rows]
    data = datasets.Dataset.from_list(filled, features=datasets.Features(features))
    data.to_parquet(str(folder / "data" / f"{split}-00000-of-00001.parquet"))
    files = f"[{{split: {split}, path: data/{split}-*}}]"
    (folder / "README.md").write_text(f"---\nconfigs:\n- config_name: {config}\n  data_files: {files}\n---\n")


@pytest.fixture(scope="module")
def hub(tmp_path_factory, make_picture):
    """The recipe with each hub id replaced by the folder of such a repository, four rows each."""
    root = tmp_path_factory.mktemp("hub")
    (root / "coco" / "train2014").mkdir(parents=True)
    for i in range(4):
        (root / "coco" / "train2014" / f"{i}.png").write_bytes(make_picture(700 + i, size=(120, 90)))
    recipe = Recipe.read(MINI_RECIPE.with_name("mixed_hub.yaml"))
    sources = []
    for number, spec in enumerate(recipe.sources):
        features, make = SETS[spec.options["id"]]
        images = [{"bytes": make_picture(10 * number + i, size=(120, 90)), "path": None} for i in range(4)]
        rows = [make(i, image) for i, image in enumerate(images)]
        config = spec.options.get("config", "default")
        write_repository(root / spec.name, features, rows, split=spec.options["split"], config=config)
        options = {**spec.options, "id": str(root / spec.name)}
        sources.append(spec.model_copy(update={"options": options}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", str(root / "cache"))
        yield recipe.model_copy(update={"sources": tuple(sources), "base": root})


def test_every_source_of_the_recipe_gives_usable_rows(hub, tmp_path):
    result = build(hub.model_copy(update={"difficulty": None}), tmp_path / "out")
    samples = {s.id: s for split in result.rows for s in load_samples(result.out / split)}
    by_source = {spec.name: [s for s in samples.values() if s.source == spec.name] for spec in hub.sources}
    assert {name: len(rows) for name, rows in by_source.items()} == {
        **{spec.name: 4 for spec in hub.sources},
        "refcocog": 0,  # repeats refcoco here, row for row
        "open_r1": 3,  # one answer is no number
        "puzzlevqa": 2,  # one answer is no option, one list is none
        "vqav2": 2,  # two answers are not yes or no
        "coco": 8,  # two categories an image
    }
    assert result.dropped == {
        "normalise": {"answer": 2, "fields": 2},
        "filter": {"answer_form": 1},
        "dedup": {"duplicate": 4},
        "balance": {},
    }
    assert samples["geometry3k/1"].question == "Find angle 1."
    assert samples["open_r1/2"].answer == "20"
    assert samples["puzzlevqa/0"].options == samples["puzzlevqa/1"].options == ("red", "pale blue")
    assert samples["puzzlevqa/1"].answer == "B" and samples["puzzlevqa/1"].metadata == {"category": "colors"}
    assert samples["scienceqa/1"].answer == "B"
    assert samples["scienceqa/1"].question.startswith("Look closely.\n")
    assert samples["scienceqa/0"].question == "Which of these is number 0?"
    assert samples["clevr_count/3"].answer == "3"
    assert samples["textvqa/0"].answer == "exit"
    assert samples["refcoco/2"].answer == ((10.0, 10.0, 42.0, 50.0),)
    assert samples["refcoco/2"].question == "Where is this in the image: the object on side 2?"
    assert samples["coco_captions/1"].answer == "A smooth picture of number 1."
    cups, cats = samples["coco/1-cup"], samples["coco/1-cat"]
    assert cups.answer == (tuple(BOXES[0]), tuple(BOXES[2])) and cats.answer == (tuple(BOXES[1]),)
    assert cups.question == "Find every cup in the image." and cups.images == cats.images


def test_difficulty_windows_are_v_triunes(hub, tmp_path):
    """8 answers a row for reasoning, kept if some are right; 16 for boxes, kept if 2 to 10 are."""
    names = ("chartqa", "refcoco")
    specs = tuple(spec for spec in hub.sources if spec.name in names)
    recipe = hub.model_copy(update={"sources": specs, "balance": None})

    def sampler(samples, k):
        counts = {"chartqa/0": 0, "chartqa/1": 1, "chartqa/2": 7, "chartqa/3": 8}
        counts |= {"refcoco/0": 1, "refcoco/1": 2, "refcoco/2": 10, "refcoco/3": 11}
        assert {(sample.task, k) for sample in samples} <= {("chart", 8), ("grounding", 16)}
        answers = [s.answer if s.task == "chart" else [list(box) for box in s.answer] for s in samples]
        return [
            [f"<answer>{answer}</answer>"] * counts[s.id] + ["<answer>?</answer>"] * (k - counts[s.id])
            for s, answer in zip(samples, answers, strict=True)
        ]

    reward = MixedReward(config=RewardConfig(task_weight=1.0, format_weight=0.0))
    result = build(recipe, tmp_path / "out", sampler=sampler, scorer=lambda c, s: reward(c, s).total.tolist())
    kept = {s.id for split in result.rows for s in load_samples(result.out / split)}
    assert kept == {"chartqa/1", "chartqa/2", "refcoco/1", "refcoco/2"}


def test_the_shares_add_up_to_the_size_of_the_set():
    recipe = Recipe.read(MINI_RECIPE.with_name("mixed_hub.yaml"))
    assert recipe.balance.total == 45000
    assert set(recipe.balance.weights) == {spec.name for spec in recipe.sources}
    assert sum(recipe.balance.weights.values()) == pytest.approx(45)
    assert {spec.options["id"] for spec in recipe.sources} == set(SETS)


@pytest.mark.parametrize("new_layout", [False, True])
def test_objects_of_either_layout_and_in_every_mode(tmp_path, make_picture, new_layout):
    """A struct of lists, as ``datasets`` made of Sequence, or a list of structs, as it does now."""
    lists = {"label": [0, 1, 0], "box": [[1, 2, 30, 40], [5, 5, 10, 10], [50, 60, 8, 9]]}
    structs = [{"label": c, "box": b} for c, b in zip(lists["label"], lists["box"], strict=True)]
    one, none = ({"label": [1], "box": [[0, 0, 9, 9]]}, {"label": [], "box": []})
    field = {"label": NUMBER, "box": FLOATS}
    if new_layout:
        rows, feature = [structs, [{"label": 1, "box": [0, 0, 9, 9]}], []], datasets.List(field)
    else:
        rows, feature = [lists, one, none], {name: datasets.List(f) for name, f in field.items()}
    pictures = [{"bytes": make_picture(i), "path": None} for i in range(3)]
    features = datasets.Features({"photo": IMAGE, "things": feature})
    columns = {"photo": pictures, "things": rows}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(str(tmp_path / "saved"))
    options = {"path": "saved", "image": "photo", "objects": "things", "boxes": "box", "categories": "label"}

    def read(**more):
        source = open_source("hub_objects", {**options, "names": ["cup", "dog"], **more}, tmp_path)
        assert sum(part.rows for part in source.partitions(2)) == len(list(source.partitions(1)))
        return dict(item for part in source.partitions(2) for item in source.read(part))

    found = read()
    assert list(found) == ["0-cup", "0-dog", "1-dog"]
    assert found["0-cup"]["answer"] == [[1, 2, 31, 42], [50, 60, 58, 69]]
    assert found["0-dog"]["images"] == found["0-cup"]["images"] != found["1-dog"]["images"]
    assert read(box_format="xyxy")["1-dog"]["answer"] == [[0, 0, 9, 9]]
    assert {name: row["answer"] for name, row in read(mode="counting").items()} == {
        "0-cup": 2,
        "0-dog": 1,
        "1-dog": 1,
    }
    assert set(read(mode="grounding", question="Box {name}.")) == {"0-dog", "1-dog"}
