import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from mixed_r1.data import DataError, check_samples, iter_samples, load_samples, save_samples
from mixed_r1.images import open_image
from mixed_r1.schema import Sample


def png(seed: int = 0, size: tuple[int, int] = (20, 10)) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, format="PNG")
    return stream.getvalue()


SAMPLES = [
    Sample(id="a", task="yes_no", question="Is it?", answer=True, images=(png(1),), source="digits"),
    Sample(
        id="b",
        task="multiple_choice",
        question="Which? \u00e9\u4e2d",
        answer="B",
        options=("one", "two"),
        difficulty=0.25,
        metadata={"think": "x", "nested": {"k": [1, 2.5, None, True]}},
    ),
    Sample(id="c", task="chart", question="How much?", answer="12", images=(png(2), png(3))),
    Sample(id="d", task="chart", question="Which two?", answer=["a", "b"], reward={"chart_score": "graded"}),
    Sample(
        id="e",
        task="grounding",
        question="Where?",
        answer=[[1, 2, 3, 4], [5.5, 6, 7, 8]],
        images=(png(4),),
        image_size=(20, 10),
        resized_size=(40, 20),
    ),
    Sample(
        id="f",
        task="open_ended",
        answer="A text.",
        messages=({"role": "user", "content": [{"type": "text", "text": "Describe."}]},),
    ),
]


def without_images(sample: Sample) -> Sample:
    return sample.model_copy(update={"images": ()})


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_what_is_saved_reads_back_equal(tmp_path, suffix):
    path = tmp_path / "deep" / f"rows.{suffix}"
    assert save_samples(SAMPLES, path) == len(SAMPLES)
    back = load_samples(path)
    assert [without_images(s) for s in back] == [without_images(s) for s in SAMPLES]
    for mine, theirs in zip(SAMPLES, back, strict=True):
        assert len(mine.images) == len(theirs.images)
        for one, other in zip(mine.images, theirs.images, strict=True):
            assert np.array_equal(np.asarray(open_image(one)), np.asarray(open_image(other)))
    assert list(iter_samples(path.with_suffix(""))) == back
    assert check_samples(path) == []
    assert not [file for file in path.parent.rglob("*.tmp")]


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_equal_rows_give_equal_bytes(tmp_path, suffix):
    for name in ("x", "y"):
        save_samples(SAMPLES, tmp_path / name / f"rows.{suffix}")
    files = [[p for p in sorted((tmp_path / name).rglob("*")) if p.is_file()] for name in ("x", "y")]
    assert [p.relative_to(tmp_path / "x") for p in files[0]] == [
        p.relative_to(tmp_path / "y") for p in files[1]
    ]
    assert [p.read_bytes() for p in files[0]] == [p.read_bytes() for p in files[1]]


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    save_samples(SAMPLES[:2], path)
    before = path.read_bytes()
    bad = Sample(id="z", task="math", question="?", answer="1", metadata={"x": float("nan")})
    with pytest.raises(ValueError, match="JSON"):
        save_samples([SAMPLES[0], bad], path)
    assert path.read_bytes() == before
    assert not list(tmp_path.glob(".*"))


def test_pil_images_and_paths_are_stored(tmp_path):
    (tmp_path / "in.png").write_bytes(png(7))
    rows = [
        Sample(id="p", task="math", question="?", answer="1", images=(Image.new("RGB", (4, 4), (9, 8, 7)),)),
        Sample(id="q", task="math", question="?", answer="1", images=(str(tmp_path / "in.png"),)),
    ]
    for suffix in ("jsonl", "parquet"):
        save_samples(rows, tmp_path / f"rows.{suffix}")
        first, second = load_samples(tmp_path / f"rows.{suffix}")
        assert open_image(first.images[0]).getpixel((0, 0)) == (9, 8, 7)
        assert np.array_equal(np.asarray(open_image(second.images[0])), np.asarray(open_image(png(7))))


def test_jsonl_image_paths_are_relative_to_the_file(tmp_path, monkeypatch):
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "one.png").write_bytes(png())
    (tmp_path / "set" / "rows.jsonl").write_text(
        json.dumps({"id": "a", "task": "yes_no", "question": "?", "answer": "no", "images": ["one.png"]})
        + "\n"
    )
    monkeypatch.chdir(tmp_path)
    (sample,) = load_samples("set/rows.jsonl")
    assert open_image(sample.images[0]).size == (20, 10)


def test_foreign_parquet_reads_plain_columns(tmp_path):
    table = pa.table(
        {
            "id": ["a", "b"],
            "task": ["grounding", "grounding"],
            "question": ["Where?", "And?"],
            "answer": [[[0.0, 0.0, 4.0, 4.0]], [[1.0, 1.0, 2.0, 2.0]]],
            "images": [[{"bytes": png(), "path": None}], [{"bytes": None, "path": "one.png"}]],
        }
    )
    pq.write_table(table, tmp_path / "foreign.parquet")
    (tmp_path / "one.png").write_bytes(png(5))
    first, second = load_samples(tmp_path / "foreign.parquet")
    assert first.answer == ((0.0, 0.0, 4.0, 4.0),)
    assert first.images == (png(),)
    assert open_image(second.images[0]).size == (20, 10)
    assert check_samples(tmp_path / "foreign.parquet") == []


def test_hugging_face_datasets_reads_our_parquet(tmp_path):
    import datasets

    save_samples(SAMPLES, tmp_path / "rows.parquet")
    loaded = datasets.Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    assert loaded.num_rows == len(SAMPLES)
    assert loaded[0]["images"][0].size == (20, 10)


ROW = {"id": "a", "task": "yes_no", "question": "?", "answer": "yes"}


@pytest.mark.parametrize(
    ("row", "field", "rule"),
    [
        ({**ROW, "answer": "maybe"}, "answer", "must be 'yes' or 'no' for task yes_no, got 'maybe'"),
        ({**ROW, "task": "poem"}, "task", "must be one of yes_no"),
        ({k: v for k, v in ROW.items() if k != "answer"}, "answer", "Field required"),
        ({**ROW, "task": "multiple_choice"}, "options", "must list at least one choice"),
        ({**ROW, "task": "grounding", "answer": [4, 4, 1, 1]}, "answer", "x1 < x2"),
        ([1, 2], "row", "must be an object of fields, got list"),
    ],
)
def test_a_bad_row_names_file_line_field_and_rule(tmp_path, row, field, rule):
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({**ROW, "id": "first"}) + "\n\n" + json.dumps(row) + "\n")
    for read in (load_samples, lambda p: list(iter_samples(p))):
        with pytest.raises(DataError) as caught:
            read(path)
        error = caught.value
        assert (error.file, error.line, error.field) == (str(path), 3, field)
        assert rule in error.rule
        assert str(error).startswith(f"{path}:3: {field}: ")
    assert [(p.line, p.field) for p in check_samples(path)] == [(3, field)]


@pytest.mark.parametrize(
    "line", ["{", '{"id": NaN}', "[" * 100_000, '"\ud800'.encode("utf-8", "surrogatepass")]
)
def test_a_line_that_is_not_json_is_named(tmp_path, line):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(line if isinstance(line, bytes) else line.encode())
    with pytest.raises(DataError, match="row: must be one JSON object") as caught:
        load_samples(path)
    assert caught.value.line == 1
    assert len(check_samples(path)) == 1


def test_check_lists_every_problem(tmp_path):
    (tmp_path / "good.png").write_bytes(png())
    (tmp_path / "bad.png").write_bytes(png()[:60])
    rows = [
        {**ROW, "images": ["good.png"]},
        {**ROW, "images": ["bad.png", "absent.png"]},
        {
            **ROW,
            "id": "b",
            "task": "grounding",
            "answer": [[0, 0, 22, 5], [1, 1, 2, 2]],
            "images": ["good.png"],
        },
        {**ROW, "id": "c", "task": "grounding", "answer": [1, 1, 2, 2]},
        {**ROW, "id": "d", "task": "grounding", "answer": [0, 0, 1001, 5], "frame": "norm1000"},
        {**ROW, "id": "e", "image_size": [9, 9], "images": ["good.png"]},
        {**ROW, "id": "f", "answer": 3},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [(p.line, p.field) for p in check_samples(path)] == [
        (2, "id"),
        (2, "images.0"),
        (2, "images.1"),
        (3, "answer"),
        (4, "image_size"),
        (5, "answer"),
        (6, "image_size"),
        (7, "answer"),
    ]


def test_duplicate_ids_are_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text(2 * (json.dumps(ROW) + "\n"))
    with pytest.raises(DataError, match=r"rows.jsonl:2: id: must be unique, got 'a' again \(first at .*:1\)"):
        load_samples(path)


def test_files_that_are_no_data(tmp_path):
    with pytest.raises(DataError, match="must exist"):
        load_samples(tmp_path / "absent.jsonl")
    with pytest.raises(DataError, match="must be a file of rows .*, the stem of one, or a folder"):
        load_samples(tmp_path / "absent")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="must be readable"):
        load_samples(tmp_path / "torn.parquet")
    assert len(check_samples(tmp_path / "torn.parquet")) == 1
    with pytest.raises(ValueError, match="path must end in .jsonl or .parquet"):
        save_samples(SAMPLES, tmp_path / "rows.csv")


def test_shards_are_read_in_order(tmp_path):
    for i in (1, 0):
        save_samples([SAMPLES[i]], tmp_path / f"train-{i:05d}-of-00002.parquet")
    assert [s.id for s in load_samples(tmp_path / "train")] == ["a", "b"]
