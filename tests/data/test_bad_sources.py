"""Sources with broken entries: each is a reject with its rule, and the rows beside it are kept."""

from __future__ import annotations

import json

import datasets
import pytest
from typer.testing import CliRunner

from mixed_r1.cli import app
from mixed_r1.data import load_samples, read_samples
from mixed_r1.data.engine import build
from mixed_r1.data.engine.workdir import BuildError
from mixed_r1.data.recipe import Recipe


def built(folder, **source):
    recipe = {"name": "t", "sources": [{"name": "s", **source}], "dedup": None, "base": str(folder)}
    result = build(Recipe.from_mapping(recipe), folder / "out")
    lines = [json.loads(line) for line in (result.out / "rejects.jsonl").read_text().splitlines()]
    return load_samples(result.out / "train"), lines


@pytest.fixture
def folder(tmp_path, make_picture):
    for i in range(4):
        (tmp_path / f"{i}.png").write_bytes(make_picture(i))
    return tmp_path


BOX = [5, 5, 12, 9]
BAD_BOXES = [None, [], "5 5 12 9", [1, 2, 3], [1, 2, "3", 4], [1, 2, -3, 4], [1, 2, float("inf"), 4]]


def coco(folder, annotations, image_id=int):
    content = {
        "images": [{"id": image_id(i), "file_name": f"{i}.png"} for i in range(4)],
        "categories": [{"id": 1, "name": "cup"}, {"id": 2, "name": "dog"}, {"name": "no id"}],
        "annotations": annotations,
    }
    (folder / "boxes.json").write_text("\ufeff" + json.dumps(content), encoding="utf-8")


@pytest.mark.parametrize("bad", BAD_BOXES)
def test_a_bad_box_of_coco_costs_its_own_row(folder, bad):
    """The row with it is no row: its gold would lack an object. All others are built."""
    annotations = [{"image_id": i, "category_id": c, "bbox": BOX} for i in range(4) for c in (1, 2)]
    annotations += [{"image_id": 2, "category_id": 1, "bbox": bad}, {"image_id": 3, "category_id": 1}]
    coco(folder, annotations)
    options = {"annotations": "boxes.json", "images": "."}
    rows, lost = built(folder, kind="coco", **options)
    assert [row.id for row in rows] == [
        f"s/{i}-{c}" for i in range(4) for c in (1, 2) if (i, c) not in ((2, 1), (3, 1))
    ]
    assert [line["reason"] for line in lost] == ["annotations.8.bbox", "annotations.9.bbox"]
    assert all("must be [x, y, width, height], got" in line["detail"] for line in lost)


def test_ids_of_coco_may_be_texts_and_strangers_are_named(folder):
    annotations = [{"image_id": str(i), "category_id": "1", "bbox": BOX} for i in range(4)]
    annotations += [
        {"image_id": 9, "category_id": 1, "bbox": BOX},
        {"image_id": 0, "category_id": 7, "bbox": BOX},
        3,
    ]
    for image_id in (int, str):
        coco(folder, annotations, image_id)
        rows, lost = built(folder, kind="coco", annotations="boxes.json", images=".")
        assert [row.id for row in rows] == [f"s/{i}-1" for i in range(4)]
        assert [line["detail"].split(",")[0] for line in lost] == [
            "must name an image of the file",
            "must name a category of the file",
            "must be an object",
        ]


@pytest.mark.parametrize("form", ["list", "object", "lines"])
def test_refcoco_as_list_object_and_lines(folder, form):
    entries = [{"image": f"{i}.png", "bbox": BOX, "expression": f"cup {i}"} for i in range(4)]
    entries[1]["bbox"], entries[2]["expression"] = [1, 2], None
    text = {
        "list": json.dumps([*entries, 7]),
        "object": json.dumps({"refs": [*entries, 7]}),
        "lines": "\n".join(map(json.dumps, [*entries, 7])),
    }[form]
    (folder / "refs.json").write_text(text)
    rows, lost = built(folder, kind="refcoco", annotations="refs.json", images=".")
    assert [row.id for row in rows] == ["s/0-0", "s/3-0"]
    assert [line["detail"].split(",")[0] for line in lost] == [
        "must be complete",
        "must be complete",
        "must be an object of fields",
    ]


def test_captions_with_a_mark_a_separator_and_no_text(folder):
    lines = [
        '\ufeff{"file_name": "0.png", "text": "one\u2028line"}',
        '{"file_name": "1.png"}',
        "{",
        '{"file_name": "2.png", "text": "two"}',
    ]
    (folder / "metadata.jsonl").write_text("\n".join(lines), encoding="utf-8")
    rows, lost = built(folder, kind="captions", path=".")
    assert [row.answer for row in rows] == ["one\u2028line", "two"]
    assert [line["reason"] for line in lost] == ["text", "row"]
    (folder / "metadata.jsonl").unlink()
    for i, text in enumerate((b"\xef\xbb\xbfa cup", b"\xff\xfe", b"", b"a dog")):
        (folder / f"{i}.txt").write_bytes(text)
    rows, lost = built(folder, kind="captions", path=".")
    assert [row.answer for row in rows] == ["a cup", "a dog"] and len(lost) == 2


def test_chartqa_with_a_torn_file(folder):
    (folder / "png").mkdir()
    for i in range(4):
        (folder / f"{i}.png").rename(folder / "png" / f"{i}.png")
    entries = [{"imgname": f"{i}.png", "query": "How much?", "label": [str(i)]} for i in range(4)]
    del entries[2]["label"]
    (folder / "train_human.json").write_text(json.dumps([*entries, None]))
    (folder / "train_torn.json").write_text("[{")
    rows, lost = built(folder, kind="chartqa", path=".")
    assert [row.answer for row in rows] == ["0", "1", "3"]
    assert len(lost) == 3 and lost[-1]["reason"] == "train_torn.json"


@pytest.mark.parametrize(
    ("answers", "given", "expected"),
    [
        ("auto", ["2", "4", "B"], ["B", "D", "B"]),
        ("index0", ["0", "3"], ["A", "D"]),
        ("index1", ["1", "4"], ["A", "D"]),
    ],
)
def test_the_base_of_places_is_said(folder, answers, given, expected):
    text = "question,A,B,C,D,answer\n" + "".join(f"Which?,1,2,3,4,{answer}\n" for answer in given)
    (folder / "q.csv").write_text(text)
    loaded = read_samples({"kind": "choice_csv", "path": str(folder / "q.csv"), "answers": answers})
    assert [sample.answer for sample in loaded.samples] == expected
    (folder / "q.csv").write_text("question,A,B,answer\nWhich?,x,y,1\nWhich?,x,y,A\n")
    loaded = read_samples({"kind": "choice_csv", "path": str(folder / "q.csv")})
    assert len(loaded.samples) == 1 and "set answers: index0 or index1" in loaded.problems[0].rule


def test_objects_of_saved_sets_that_do_not_fit(folder, make_picture):
    objects = [{"bbox": [BOX], "category": ["cup"]}, {"bbox": [BOX], "category": []}, None]
    image = [{"bytes": make_picture(i), "path": None} for i in range(3)]
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "objects": {
                "bbox": datasets.List(datasets.List(datasets.Value("int64"))),
                "category": datasets.List(datasets.Value("string")),
            },
        }
    )
    data = datasets.Dataset.from_dict({"image": image, "objects": objects}, features=features)
    data.save_to_disk(str(folder / "saved"))
    rows, lost = built(folder, kind="hub_objects", options={"path": "saved"})
    assert [row.id for row in rows] == ["s/0-cup"] and {line["reason"] for line in lost} == {"objects"}


def sum_row(i, image):
    return {"id": i, "task": "math", "question": "?", "answer": "1", "images": [image]}


def test_a_build_without_a_row_says_why_and_is_in_nobodys_way(folder):
    rows = [
        {"id": i, "task": "math", "question": "?", "answer": "1", "images": ["gone.png"]} for i in range(5)
    ]
    rows.append({"id": 9, "task": "math", "question": "?"})
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    says = r"must keep at least one row, got none of 6; 5 by check: image, such as s rows.jsonl:1: .*gone.png"
    with pytest.raises(BuildError, match=says):
        built(folder, kind="jsonl", path="rows.jsonl")
    lines = (folder / "out" / "rejects.jsonl").read_text().splitlines()
    assert len(lines) == 6
    (folder / "recipe.yaml").write_text("name: t\ndedup: null\nsources:\n- {name: s, path: rows.jsonl}\n")
    command = ["data", "build", str(folder / "recipe.yaml"), "--out", str(folder / "out")]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 2 and "got none of 6" in result.output and len(result.output.splitlines()) < 12
    (folder / "gone.png").write_bytes((folder / "0.png").read_bytes())
    assert CliRunner().invoke(app, command).exit_code == 0
    assert len(load_samples(folder / "out" / "train")) == 5


def test_a_source_that_cannot_be_read_is_one_line(folder):
    (folder / "boxes.json").write_text("[1, 2]")
    with pytest.raises(
        BuildError, match="source s must be readable, got ValueError: must hold the lists images"
    ):
        built(folder, kind="coco", annotations="boxes.json", images=".")


def test_a_bad_row_of_an_evaluation_set_does_not_end_the_build(folder, make_picture):
    rows = [
        {"id": i, "task": "math", "question": "?", "answer": "1", "images": [f"{i}.png"]} for i in range(4)
    ]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "eval.jsonl").write_text(
        "{\n" + "".join(json.dumps({**rows[i], "images": [f"{i}.png"]}) + "\n" for i in (1, 2))
    )
    (folder / "2.png").write_bytes(b"torn")
    recipe = {"name": "t", "sources": [{"name": "s", "path": "rows.jsonl"}], "dedup": None}
    recipe |= {"contamination": {"against": ["eval.jsonl"]}, "base": str(folder)}
    result = build(Recipe.from_mapping(recipe), folder / "out")
    assert [row.id for row in load_samples(result.out / "train")] == ["s/0", "s/3"]
