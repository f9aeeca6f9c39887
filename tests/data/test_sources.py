import json
import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixed_r1.config import ConfigError
from mixed_r1.data.columns import map_fields
from mixed_r1.data.reading import read_fields
from mixed_r1.data.recipe import SourceSpec
from mixed_r1.data.sources import KINDS, open_source
from mixed_r1.opened import Problem


def rows_of(source, size=3):
    """All rows, read partition by partition; locations must not repeat."""
    found = [item for partition in source.partitions(size) for item in source.read(partition)]
    assert len({place for place, _ in found}) == len(found)
    assert sum(partition.rows for partition in source.partitions(size)) >= len(found)
    return found


@pytest.mark.parametrize("size", [1, 2, 7, 100])
def test_jsonl_partitions_cover_every_line_once(tmp_path, size):
    for name, count in (("b", 5), ("a", 9)):
        lines = [json.dumps({"id": f"{name}{i}", "text": "\u00e9" * i}) for i in range(count)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines) + ("\n" if name == "a" else ""))
    found = rows_of(open_source("jsonl", {"path": "."}, tmp_path), size)
    assert [row["id"] for _, row in found] == [f"a{i}" for i in range(9)] + [f"b{i}" for i in range(5)]
    assert [place for place, _ in found][8:10] == ["a.jsonl:9", "b.jsonl:1"]


@pytest.mark.parametrize("size", [1, 4, 100])
def test_parquet_partitions_cover_every_row_once(tmp_path, size):
    pq.write_table(pa.table({"n": list(range(11))}), tmp_path / "x.parquet", row_group_size=3)
    found = rows_of(open_source("parquet", {"path": "x.parquet"}, tmp_path), size)
    assert [row["n"] for _, row in found] == list(range(11))
    assert [place for place, _ in found] == [f"x.parquet:{i + 1}" for i in range(11)]


def test_coco_modes(local_sources):
    def rows(mode, **options):
        base = {"annotations": "coco/instances.json", "images": "coco", "mode": mode}
        return {row["id"]: row for _, row in rows_of(open_source("coco", {**base, **options}, local_sources))}

    detection, grounding, counting = rows("detection"), rows("grounding"), rows("counting")
    annotations = json.loads((local_sources / "coco" / "instances.json").read_text())["annotations"]
    assert "0-2" not in detection, "a crowd hides how many there are"
    assert set(detection) == set(counting) > set(grounding)
    for name, row in detection.items():
        image, category = (int(part) for part in name.split("-"))
        boxes = [a["bbox"] for a in annotations if (a["image_id"], a["category_id"]) == (image, category)]
        assert row["answer"] == [[x, y, x + w, y + h] for x, y, w, h in boxes]
        assert counting[name]["answer"] == len(boxes)
        assert (name in grounding) == (len(boxes) == 1)
    assert detection["1-1"]["question"] == "Find every cup in the image."
    assert rows("counting", question="Count: {name}")["1-1"]["question"] == "Count: cup"
    assert not rows("detection", min_side=1000)


def test_refcoco_expressions(tmp_path):
    entries = [
        {
            "file_name": "a.png",
            "bbox": [1, 2, 3, 4],
            "sentences": [{"sent": "left cup"}, {"raw": "cup"}, "it"],
        },
        {"image": "b.png", "bbox": [1, 2, 3, 4], "expression": " the dog "},
        {"image": "c.png", "bbox": [1, 2, 3], "expression": "torn"},
        {"image": "d.png", "bbox": [1, 2, 3, 4]},
    ]
    (tmp_path / "refs.json").write_text(json.dumps(entries))
    options = {"annotations": "refs.json", "images": "img"}
    found = rows_of(open_source("refcoco", options, tmp_path))
    questions = [row["question"] for _, row in found if isinstance(row, dict)]
    assert questions == [
        f"Where is this in the image: {text}?" for text in ("left cup", "cup", "it", "the dog")
    ]
    assert found[0][1]["answer"] == [[1, 2, 4, 6]]
    assert found[3][1]["images"] == [str(tmp_path / "img" / "b.png")]
    assert isinstance(found[4][1], Problem) and isinstance(found[5][1], Problem)
    corners = rows_of(open_source("refcoco", {**options, "box_format": "xyxy"}, tmp_path))
    assert corners[0][1]["answer"] == [[1, 2, 3, 4]]


def test_choice_csv(local_sources, tmp_path):
    found = rows_of(open_source("choice_csv", {"path": "choice/table.tsv"}, local_sources))
    assert found[1][1]["options"] == ["red", "green", "blue"] and found[1][1]["answer"] == "B"
    assert found[1][1]["images"][0].startswith(b"\x89PNG")
    (tmp_path / "q.csv").write_text(
        "question,hint,A,B,C,answer,image\n"
        '"Which, then?",Think.,x,y,,y,\n'
        "Which?,,x,y,z,C,one.png\n"
        "Which?,,x,y,z,C,***\n"
    )
    (tmp_path / "one.png").write_bytes(b"an image")
    first, second, third = (row for _, row in rows_of(open_source("choice_csv", {"path": "q.csv"}, tmp_path)))
    assert (first["question"], first["options"], first["answer"]) == ("Think.\nWhich, then?", ["x", "y"], "y")
    assert second["images"] == [str(tmp_path / "one.png")] and second["options"] == ["x", "y", "z"]
    assert isinstance(third, Problem) and "base64" in third.rule


def test_captions_by_metadata(tmp_path):
    lines = [{"file_name": "b.png", "text": "second"}, {"file_name": "a.png", "text": "first"}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    found = rows_of(open_source("captions", {"path": ".", "question": "Say."}, tmp_path))
    assert [(row["id"], row["answer"]) for _, row in found] == [("b.png", "second"), ("a.png", "first")]
    assert found[0][1]["question"] == "Say."


def test_datasets_saved_to_disk(tmp_path, make_picture):
    import datasets

    features = datasets.Features(
        {
            "picture": datasets.Image(),
            "more": datasets.List(datasets.Image()),
            "choices": datasets.List(datasets.Value("string")),
            "label": datasets.Value("int64"),
        }
    )
    images = [{"bytes": make_picture(i), "path": None} for i in range(4)]
    columns = {
        "picture": images,
        "more": [[image] for image in images],
        "choices": [["p", "q"]] * 4,
        "label": [0, 1, 1, 0],
    }
    data = datasets.Dataset.from_dict(columns, features=features)
    datasets.DatasetDict({"train": data}).save_to_disk(str(tmp_path / "saved"))
    source = open_source("hub", {"path": "saved", "split": "train"}, tmp_path)
    found = rows_of(source)
    spec = SourceSpec(
        name="s",
        kind="hub",
        fields={
            "options": "choices",
            "answer": "label",
            "images": ("picture", "more"),
            "question": "Which of {label}?",
        },
        convert={"answer": "index_to_letter"},
    )
    row = read_fields(found[2][1], spec, tmp_path)[0]
    assert row["images"] == [make_picture(2), make_picture(2)], "the stored bytes, not decoded ones"
    assert (row["options"], row["answer"], row["question"]) == (["p", "q"], "B", "Which of 1?")
    with pytest.raises(ValueError, match=r"split must be one of \['train'\], got None"):
        open_source("hub", {"path": "saved"}, tmp_path).partitions(1)
    with pytest.raises(ValueError, match="id or path must be given"):
        open_source("hub", {}, tmp_path).partitions(1)


def mapped(row, **spec):
    return map_fields(row, SourceSpec(name="s", kind="jsonl", **spec))


@pytest.mark.parametrize(
    ("value", "steps", "expected"),
    [
        ("<think>x</think><answer> 3 </answer>", "answer_tag", "3"),
        ("3", "answer_tag", "3"),
        ("<answer>3", "answer_tag", "<answer>3"),
        ("x <answer>1</answer><answer>2</answer>", "answer_tag", "1"),
        ('["a", "b"]', "list", ["a", "b"]),
        ("['a', \"it's\"]", "list", ["a", "it's"]),
        (["a"], "list", ["a"]),
        (["a", "b", "b", "c", "a"], "most_common", "a"),
        (["a", "b", "b"], "most_common", "b"),
        (["a", "b"], "first", "a"),
        (0, "index_to_letter", "A"),
        ("2", "index_to_letter", "C"),
        ('{"boxes": [[1, 2, 3, 4]]}', "json", {"boxes": [[1, 2, 3, 4]]}),
        ([1, 2, 3, 4], "xywh", [[1, 2, 4, 6]]),
        ([[1, 2, 3, 4], [0, 0, 1, 1]], "xywh", [[1, 2, 4, 6], [0, 0, 1, 1]]),
        ("<image>\nWhat is it?", "no_placeholder", "What is it?"),
        ("See <image> and <image>.", "no_placeholder", "See and ."),
        (["<answer>B</answer>"], ("first", "answer_tag"), "B"),
    ],
)
def test_converters(value, steps, expected):
    assert mapped({"v": value}, fields={"answer": "v"}, convert={"answer": steps})["answer"] == expected


def test_columns_paths_templates_and_constants():
    row = {"a": {"b": [{"c": 5}]}, "q": "Where?", "A": "x", "B": "y", "C": "", "empty": None}
    fields = {
        "answer": "a.b.0.c",
        "question": "{q} Be {a.b.0.c}{empty}.",
        "options": ("A", "B", "C"),
        "metadata.kind": "q",
        "difficulty": "empty",
    }
    assert mapped(row, fields=fields, constants={"task": "math"}) == {
        "answer": 5,
        "question": "Where? Be 5.",
        "options": ["x", "y"],
        "metadata": {"kind": "Where?"},
        "task": "math",
    }
    for path in ("a.x", "a.b.7", "a.b.c", "q.0.z"):
        with pytest.raises(ValueError, match=f"column {path} must exist"):
            mapped(row, fields={"answer": path})
    with pytest.raises(ValueError, match="column nothing must exist"):
        mapped(row, fields={"question": "{nothing}"})
    with pytest.raises(ValueError, match="convert.answer must be one of answer_tag"):
        mapped(row, fields={"answer": "q"}, convert={"answer": "shout"})
    with pytest.raises(ValueError, match="index_to_letter must be given 0 to 25, got 26"):
        mapped({"v": 26}, fields={"answer": "v"}, convert={"answer": "index_to_letter"})


def test_the_text_of_an_option_becomes_its_letter():
    row = {"choices": "['red', 'Blue ']", "right": " blue"}
    spec = {
        "fields": {"options": "choices", "answer": "right"},
        "convert": {"options": "list", "answer": "option_to_letter"},
    }
    assert mapped(row, **spec) == {"options": ["red", "Blue "], "answer": "B"}
    for choices, right in (("['red', 'red']", "red"), ("['red']", "blue")):
        with pytest.raises(ValueError, match="option_to_letter must be given one of the options"):
            mapped({"choices": choices, "right": right}, **spec)
    for text in ("red", "{'a': 1}", "[1, 2", "[" * 10**5, "__import__('os')", "[" + "1," * 40000 + "1"):
        with pytest.raises(ValueError, match="list must be given a text such as"):
            mapped({"choices": text, "right": "x"}, **spec)


def test_a_flood_of_tags_takes_no_time():
    began = time.process_time()
    flood = "<answer>" * 131072
    assert mapped({"a": flood}, fields={"answer": "a"}, convert={"answer": "answer_tag"})["answer"] == flood
    assert time.process_time() - began < 0.5


def test_every_kind_opens_and_checks_its_options(tmp_path):
    for kind in KINDS:
        with pytest.raises(ConfigError, match="got 'colour'"):
            open_source(kind, {"colour": 1}, tmp_path)
