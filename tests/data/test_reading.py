"""Rows as people have them: every file and layout is read by one reader, with what its types say."""

from __future__ import annotations

import base64
import csv
import json

import datasets
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixed_r1.chat import chat_messages
from mixed_r1.config import ConfigError
from mixed_r1.data import DataError, check_samples, load_samples, read_samples
from mixed_r1.data.spec import SourceSpec
from mixed_r1.images import open_image, stored_orientation
from mixed_r1.schema import Sample

ROWS = [
    {"id": "a", "question": "How many?", "answer": "3", "images": ["a.png"]},
    {"id": "b", "question": "How much?", "answer": "4.5", "images": ["b.png"]},
]


@pytest.fixture
def folder(tmp_path, make_picture):
    for seed, name in enumerate(("a.png", "b.png")):
        (tmp_path / name).write_bytes(make_picture(seed))
    return tmp_path


def jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def table(path, rows, **options):
    cells = [{k: v if isinstance(v, str) else json.dumps(v) for k, v in row.items()} for row in rows]
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, list(cells[0]), **options)
        writer.writeheader()
        writer.writerows(cells)


def parquet(path, rows):
    pq.write_table(pa.Table.from_pylist(rows), path)


def saved(path, rows):
    datasets.Dataset.from_list(rows).save_to_disk(str(path))


WRITERS = {
    "rows.jsonl": jsonl,
    "lines.json": jsonl,
    "rows.json": lambda path, rows: path.write_text(json.dumps(rows, indent=1)),
    "mark.json": lambda path, rows: path.write_bytes(b"\xef\xbb\xbf" + json.dumps({"data": rows}).encode()),
    "rows.csv": table,
    "excel.csv": lambda path, rows: table(path, rows, delimiter=";"),
    "rows.tsv": lambda path, rows: table(path, rows, delimiter="\t"),
    "rows.parquet": parquet,
    "folder": saved,
}


@pytest.mark.parametrize("name", WRITERS)
def test_every_kind_of_file_is_the_same_rows(folder, name):
    images = [[str(folder / "a.png")], [str(folder / "b.png")]]
    rows = [{**row, "images": image} for row, image in zip(ROWS, images, strict=True)]
    WRITERS[name](folder / name, rows)
    given = {"path": str(folder / name), "task": "math"}
    expected = [Sample(task="math", **row) for row in rows]
    assert load_samples(given) == expected
    loaded = read_samples(given)
    assert loaded.samples == expected and loaded.problems == [] and loaded.ignored == {}
    assert check_samples(given) == []


def test_paths_start_beside_the_file_in_any_column(folder, monkeypatch, make_picture):
    """Another picture of that name lies where the run is started."""
    (folder / "deep").mkdir()
    (folder / "a.png").rename(folder / "deep" / "a.png")
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "a.png").write_bytes(make_picture(9))
    monkeypatch.chdir(folder / "elsewhere")
    base = {"id": "a", "task": "math", "question": "?", "answer": "1"}
    forms = [
        ({"images": ["a.png"]}, {}),
        ({"images": "a.png"}, {}),
        ({"image": "a.png"}, {}),
        ({"picture": "a.png"}, {"columns": {"images": "picture"}}),
        ({"picture": {"path": "a.png", "bytes": None}}, {"columns": {"images": "picture"}}),
        ({"pictures": [{"path": "a.png"}]}, {"fields": {"images": "pictures", **{n: n for n in base}}}),
    ]
    for row, spec in forms:
        jsonl(folder / "deep" / "rows.jsonl", [{**base, **row}])
        (sample,) = load_samples({"path": "../deep/rows.jsonl", **spec})
        assert open_image(sample.images[0]).tobytes() == open_image(make_picture(0)).tobytes(), row
    (sample,) = load_samples({"path": "../deep/rows.jsonl", "image_folder": ".", **spec})
    assert open_image(sample.images[0]).tobytes() == open_image(make_picture(9)).tobytes()


BOX = [1, 2, 30, 40]
LAYOUTS = {
    "llava": (
        {
            "id": 7,
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>\nHow many?"},
                {"from": "gpt", "value": "3"},
            ],
        },
        "3",
    ),
    "vlm-r1": (
        {
            "id": 8,
            "image": "a.png",
            "conversations": [
                {"from": "human", "value": "<image>How many?"},
                {"from": "gpt", "value": "<think>I see.</think><answer> 3 </answer>"},
            ],
            "accu_reward_method": "math",
        },
        "3",
    ),
    "vlm-r1 number": (
        {
            "image": "a.png",
            "conversations": [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": 3}],
        },
        "3",
    ),
    "easyr1": ({"images": ["a.png"], "problem": "<image>How many?", "answer": "3"}, "3"),
    "open-r1": ({"image": "a.png", "problem": "How many?", "solution": "<answer>3</answer>"}, "3"),
    "verl": (
        {
            "data_source": "x",
            "prompt": [{"role": "user", "content": "<image>How many?"}],
            "images": ["a.png"],
            "reward_model": {"style": "rule", "ground_truth": "3"},
        },
        "3",
    ),
    "image folder": ({"file_name": "a.png", "question": "How many?", "answer": 3}, "3"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_layouts_of_others_are_read_as_they_are(folder, name, form):
    row, answer = LAYOUTS[name]
    if form == "parquet" and name == "vlm-r1 number":
        pytest.skip("a column of Parquet holds texts or numbers")
    (jsonl if form == "jsonl" else parquet)(folder / f"rows.{form}", [row])
    (sample,) = load_samples({"path": str(folder / f"rows.{form}"), "task": "math"})
    assert sample.answer == answer
    assert open_image(sample.images[0]).size == (64, 48)
    (message,) = chat_messages(sample)
    assert message["role"] == "user" and message["content"][0] == {"type": "image"}
    assert message["content"][1]["text"].strip() == "How many?"


def test_openai_messages_bring_their_images_and_their_gold(folder, make_picture):
    uri = f"data:image/png;base64,{base64.b64encode(make_picture(1)).decode()}"
    content = [
        {"type": "text", "text": "Here "},
        {"type": "image_url", "image_url": {"url": "a.png"}},
        {"type": "image_url", "image_url": {"url": uri}},
        {"type": "text", "text": " how many?"},
    ]
    spoken = [
        {"role": "system", "content": "Count."},
        {"role": "user", "content": content},
        {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
    ]
    for form, write in (("jsonl", jsonl), ("json", WRITERS["rows.json"])):
        write(folder / f"rows.{form}", [{"messages": spoken}])
        (sample,) = load_samples({"path": str(folder / f"rows.{form}"), "task": "math"})
        assert sample.answer == "3" and len(sample.images) == 2
        assert open_image(sample.images[1]).tobytes() == open_image(make_picture(1)).tobytes()
        kinds = [part["type"] for part in chat_messages(sample)[1]["content"]]
        assert kinds == ["text", "image", "image", "text"]


def test_a_gold_beside_a_finished_conversation_is_refused(folder):
    """Which of the two is meant nobody knows."""
    spoken = [{"from": "human", "value": "How many?"}, {"from": "gpt", "value": "3"}]
    jsonl(folder / "rows.jsonl", [{"conversations": spoken, "answer": "4", "task": "math"}])
    (problem,) = check_samples(folder / "rows.jsonl")
    assert (problem.line, problem.field) == (1, "messages") and "must end with a user message" in problem.rule


def test_numbers_are_those_that_were_meant(tmp_path):
    """A 32-bit 0.1 is no 0.10000000149011612; through training and recipes alike."""
    values = [0.1, 12.34, 1e-3, 100.0]
    columns = {
        "id": [f"{kind}{v}" for kind in ("f32", "f16", "f64", "dec", "int") for v in values],
        "task": ["math"] * 20,
        "question": ["?"] * 20,
    }
    golds = {}
    for kind, array in {
        "f32": pa.array(values, pa.float32()),
        "f16": pa.array(np.array(values, np.float16)),
        "f64": pa.array(values),
        "dec": pa.array(["0.1", "12.34", "0.001", "100.0"]).cast(pa.decimal128(9, 3)),
        "int": pa.array([1, 12, 0, 100], pa.int16()),
    }.items():
        names = [f"{kind}{v}" for v in values]
        part = {name: column[:4] for name, column in columns.items()} | {"id": names, "answer": array}
        pq.write_table(pa.table(part), tmp_path / f"{kind}.parquet")
        for read in (load_samples, lambda path: read_samples(path).samples):
            golds[kind] = [sample.answer for sample in read(tmp_path / f"{kind}.parquet")]
    assert golds["f32"] == golds["f64"] == ["0.1", "12.34", "0.001", "100.0"]
    assert golds["f16"] == ["0.1", "12.34", "0.001", "100.0"]
    assert golds["dec"] == ["0.100", "12.340", "0.001", "100.000"] and golds["int"] == ["1", "12", "0", "100"]
    boxes = pa.array([[[0.1, 0.2, 30.3, 40.4]]], pa.list_(pa.list_(pa.float32())))
    one = {"id": ["b"], "task": ["grounding"], "question": ["?"], "answer": boxes}
    pq.write_table(pa.table(one), tmp_path / "boxes.parquet")
    assert load_samples(tmp_path / "boxes.parquet")[0].answer == ((0.1, 0.2, 30.3, 40.4),)
    assert Sample(id="n", task="math", question="?", answer=np.float32(0.1)).answer == "0.1"
    assert Sample(id="n", task="chart", question="?", answer=np.array([0.1, 2], np.float32)).answer == (
        "0.1",
        "2.0",
    )


def test_labels_are_their_names(tmp_path):
    features = datasets.Features(
        {
            "question": datasets.Value("string"),
            "answer": datasets.ClassLabel(names=["cat", "dog"]),
            "deep": {"label": datasets.List(datasets.ClassLabel(names=["x", "y"]))},
        }
    )
    columns = {"question": ["?"] * 3, "answer": [0, 1, -1], "deep": [{"label": [1, 0]}] * 3}
    data = datasets.Dataset.from_dict(columns, features=features)
    data.to_parquet(str(tmp_path / "rows.parquet"))
    data.save_to_disk(str(tmp_path / "saved"))
    for name in ("rows.parquet", "saved"):
        given = {"path": str(tmp_path / name), "task": "chart"}
        loaded = read_samples(given)
        assert [sample.answer for sample in loaded.samples] == ["cat", "dog"]
        assert [(p.line, p.field) for p in loaded.problems] == [(3, "answer")]
        assert loaded.ignored == {"deep": 3}
        deep = read_samples({**given, "columns": {"answer": "deep.label.0"}}).samples
        assert [sample.answer for sample in deep] == ["y"] * 3


def test_null_fields_and_other_columns_do_no_harm(tmp_path):
    row = {
        **ROWS[0],
        "task": "math",
        "images": None,
        "options": None,
        "frame": None,
        "license": "CC0",
        "url": "x",
    }
    jsonl(tmp_path / "rows.jsonl", [row, {**row, "id": 2, "answer": None}])
    loaded = read_samples(tmp_path / "rows.jsonl")
    assert [sample.id for sample in loaded.samples] == ["a"]
    assert [(p.line, p.field, p.rule) for p in loaded.problems] == [(2, "answer", "Field required")]
    assert loaded.ignored == {"license": 2, "url": 2}


@pytest.mark.parametrize(
    ("name", "text", "line", "rule"),
    [
        ("x.csv", "question,answer\n1,2\n1,2,3\n", 3, "must have 2 cells, as the header has, got 3"),
        ("x.csv", "question,answer\n1,\udce9\n", 2, "must be UTF-8"),
        ("x.csv", "", 0, "must begin with a line of column names"),
        ("x.csv", "a,a\n1,2\n", 0, "must have different column names"),
        ("x.json", "{", 0, "must be JSON"),
        ("x.json", "3", 0, "must hold a list of rows, got int"),
        ("x.json", '[{"question": "?", "answer": "1"}, 3]', 2, "must be an object of fields, got int"),
        ("x.json", '{"images": [], "annotations": [], "categories": []}', 0, "set kind: coco"),
        ("x.jsonl", "", 0, "must hold at least one row"),
        (
            "x.jsonl",
            '{"question": "?", "answer": "1", "images": "https://a.example/b.png"}',
            1,
            "got the address",
        ),
        ("x.jsonl", '{"messages": ["hello"], "answer": "1"}', 1, "must be a list of messages"),
        ("x.jsonl", '{"question": "?", "answer": "1", "metadata": "{"}', 1, "must be JSON"),
    ],
)
def test_what_is_wrong_is_named_by_file_and_line(tmp_path, name, text, line, rule):
    (tmp_path / name).write_bytes(text.encode("utf-8", "surrogateescape"))
    given = {"path": str(tmp_path / name), "task": "math"}
    (problem,) = check_samples(given)
    assert problem.line == line and rule in problem.rule and str(tmp_path / name) in str(problem)


def test_folders_globs_and_stems(folder):
    for i in range(3):
        jsonl(folder / f"part-{i}.jsonl", [{**ROWS[0], "id": str(i), "task": "math"}])
    for given in (folder, folder / "part-*.jsonl", folder / "*.jsonl"):
        assert [sample.id for sample in load_samples(given)] == ["0", "1", "2"]
    assert [sample.id for sample in load_samples(folder / "part-1")] == ["1"]
    parquet(folder / "more.parquet", [{**ROWS[0], "task": "math"}])
    with pytest.raises(DataError, match="must hold files of one kind, got .jsonl, .parquet"):
        load_samples(folder)
    datasets.DatasetDict({"train": datasets.Dataset.from_list(ROWS)}).save_to_disk(str(folder / "saved"))
    with pytest.raises(
        DataError, match=r"must be one split of a saved data set, saved/ followed by .*'train'"
    ):
        load_samples(folder / "saved")
    assert len(load_samples({"path": str(folder / "saved" / "train"), "task": "math"})) == 2
    table(folder / "metadata.csv", [{"file_name": "a.png", "question": "How many?", "answer": "3"}])
    assert [s.answer for s in load_samples({"path": str(folder), "task": "math"})] == ["3"]


def test_columns_rename_and_fields_choose(tmp_path):
    row = {"id": "7", "q": "What?", "choices": ["x", "y"], "label": 1, "task": "closed", "source": "web"}
    jsonl(tmp_path / "rows.jsonl", [row])
    path = {"path": str(tmp_path / "rows.jsonl")}
    renamed = {"columns": {"question": "q", "answer": "label"}, "task": "multiple_choice"}
    (sample,) = load_samples({**path, **renamed})
    assert (sample.id, sample.question, sample.answer, sample.source) == ("7", "What?", "B", "web")
    chosen = {"fields": {"question": "q", "answer": "label", "options": "choices"}, "task": "multiple_choice"}
    (sample,) = load_samples({**path, **chosen})
    assert (sample.id, sample.source, sample.options) == ("rows.jsonl:1", "unknown", ("x", "y"))
    with pytest.raises(DataError, match="rows.jsonl:1: column: nothing must exist"):
        load_samples({**path, "columns": {"question": "nothing"}})
    with pytest.raises(ConfigError, match="did you mean columns"):
        SourceSpec.of({**path, "colums": {}})
    with pytest.raises(ConfigError, match="columns must be left out where fields are given"):
        SourceSpec.of({**path, "columns": {"a": "b"}, "fields": {"a": "b"}})


def test_a_column_may_be_empty_or_said_to_be_missing(folder):
    text = "question,right,picture\nHow many?,3,a.png\n2 + 2?,4,\n"
    (folder / "rows.csv").write_text(text)
    columns = {"answer": "right", "images": "picture"}
    rows = load_samples({"path": str(folder / "rows.csv"), "task": "math", "columns": columns})
    assert [len(row.images) for row in rows] == [1, 0]
    given = [{"question": "?", "right": 1, "picture": "a.png"}, {"question": "?", "right": 2}]
    jsonl(folder / "rows.jsonl", given)
    spec = {"path": str(folder / "rows.jsonl"), "task": "math", "columns": columns}
    assert [p.rule for p in read_samples(spec).problems] == ["picture must exist, got none at 'picture'"]
    loose = {**spec, "columns": {**columns, "images": "picture?"}}
    assert [len(row.images) for row in read_samples(loose).samples] == [1, 0]
    assert read_samples(loose).ignored == {}


def test_parquet_images_stay_on_disk_until_they_are_drawn(tmp_path, make_picture, monkeypatch):
    monkeypatch.setenv("MIXED_R1_CACHE", str(tmp_path / "cache"))
    images = [[{"bytes": make_picture(i), "path": None}] for i in range(70)]
    rows = [{"question": str(i), "answer": str(i), "images": image} for i, image in enumerate(images)]
    rows[3]["images"] = []
    rows[4]["images"] = None
    parquet(tmp_path / "rows.parquet", rows)
    given = {"path": str(tmp_path / "rows.parquet"), "task": "math"}
    stored, loaded = read_samples(given).samples, load_samples(given)
    assert [sample.answer for sample in stored] == [sample.answer for sample in loaded]
    for ours, theirs in zip(stored, loaded, strict=True):
        assert len(ours.images) == len(theirs.images)
        for mine, their in zip(ours.images, theirs.images, strict=True):
            assert not isinstance(mine, bytes) and mine.read_bytes() == their
            assert open_image(mine).tobytes() == open_image(their).tobytes() and stored_orientation(mine) == 1
            assert "bytes" in str(mine)
    assert len(list((tmp_path / "cache").glob("*.arrow"))) == 1
    rows[0]["answer"] = "changed"
    parquet(tmp_path / "rows.parquet", rows)
    assert read_samples(given).samples[0].answer == "changed"
