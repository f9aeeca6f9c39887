"""Whatever a source holds, a build ends: every row is kept, or rejected with a reason."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixed_r1.data import check_samples, load_samples
from mixed_r1.data.columns import CONVERTERS
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
from mixed_r1.schema import TASKS

FIELDS = (
    "id task question messages images answer options source frame image_size resized_size difficulty reward"
    " metadata extra"
).split()
LONE = "\ud800"  # half of a surrogate pair: no UTF-8 can hold it


def value(rng, depth=0):
    """Any JSON value, odd ones rather than plain ones."""
    plain = [
        None,
        True,
        0,
        -1,
        3,
        0.5,
        1e308,
        10**400,
        "",
        "A",
        "yes",
        "x" * 300,
        LONE,
        "\0",
        "\u202e12",
        "[1, 2]",
    ]
    kind = rng.random()
    if kind < 0.6 or depth > 3:
        return rng.choice(plain)
    if kind < 0.8:
        return [value(rng, depth + 1) for _ in range(rng.randrange(5))]
    return {
        rng.choice(["role", "content", "type", "bytes", LONE, "a"]): value(rng, depth + 1) for _ in range(2)
    }


def rows(count, seed):
    rng = random.Random(seed)
    right = {"yes_no": "yes", "multiple_choice": "A", "chart": "3", "math": 4, "open_ended": "A text."}
    for i in range(count):
        task = rng.choice(TASKS)
        row = {"id": str(i), "task": task, "question": f"What is {i}?", "options": ["a", "b"]}
        row["answer"] = right.get(task, [[1, 2, 3, 4]])
        row["image_size"] = [9, 9]
        for _ in range(rng.randrange(3)):
            row[rng.choice(FIELDS)] = value(rng)
        if rng.random() < 0.1:
            row["messages"] = [{"role": "user", "content": value(rng)}]
        yield row


def outcome(recipe, out, count):
    """Build, and hold kept rows and rejects to ``count``."""
    result = build(recipe, out)
    lost = [json.loads(line) for line in (out / "rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert sum(result.rows.values()) + len(lost) == count
    assert all(line["stage"] and line["reason"] and line["origin"] == "s" for line in lost)
    for split in result.rows:
        assert check_samples(out / split) == []
        assert len(load_samples(out / split)) == result.rows[split]
    return result, lost


@pytest.mark.parametrize("form", ["parquet", "jsonl"])
def test_rows_of_any_json(tmp_path, form):
    text = "".join(json.dumps(row) + "\n" for row in rows(1500, seed=1))
    (tmp_path / "rows.jsonl").write_text(
        text + "[" * 10**5 + "\n" + '{"id": NaN}\n' + "\xff\xfe\n", "latin-1"
    )
    recipe = Recipe.from_mapping(
        {
            "name": "any",
            "sources": [{"name": "s", "kind": "jsonl", "options": {"path": "rows.jsonl"}}],
            "filters": [
                {"name": name}
                for name in ("answer_length", "answer_form", "options", "image_count", "image_size", "boxes")
            ]
            + [{"name": "question_length"}, {"name": "language"}],
            "dedup": {"text_similarity": 0.9, "image_distance": 4},
            "split": {"shares": {"test": 0.2}, "group": "a"},
            "output": {"format": form},
            "base": str(tmp_path),
        }
    )
    result, lost = outcome(recipe, tmp_path / "out", 1503)
    assert sum(result.rows.values()) > 100 and len(lost) > 500
    assert sum(line["stage"] == "source" for line in lost) >= 3


@pytest.mark.parametrize("step", CONVERTERS)
def test_converters_given_anything(tmp_path, step):
    rng = random.Random(step)
    values = [value(rng) for _ in range(150)] + ["[" * 10**5, [], {}, {"0": 1}, float(2**70)]
    lines = [json.dumps({"v": v, "o": ["a", "b"]}) for v in values]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    source = {
        "name": "s",
        "kind": "jsonl",
        "options": {"path": "rows.jsonl"},
        "fields": {"answer": "v", "options": "o", "metadata.more": "v"},
        "convert": {"answer": step},
        "constants": {"task": "open_ended", "question": "Which of these?"},
    }
    keep = json.dumps({"v": "a", "o": ["a", "b"]}) if step in ("option_to_letter", "answer_tag") else None
    if keep:
        with (tmp_path / "rows.jsonl").open("a") as stream:
            stream.write(keep + "\n")
    good = {"name": "g", "kind": "jsonl", "options": {"path": "good.jsonl"}}
    (tmp_path / "good.jsonl").write_text(
        '{"id": "g", "task": "math", "question": "How many?", "answer": 1}\n'
    )
    recipe = Recipe.from_mapping({"name": "any", "sources": [source, good], "base": str(tmp_path)})
    result = build(recipe, tmp_path / "out")
    assert sum(result.rows.values()) + sum(sum(v.values()) for v in result.dropped.values()) == len(
        values
    ) + 1 + bool(keep)


def test_foreign_parquet_with_broken_json(tmp_path):
    """A file that says its metadata is JSON: deep, broken, or not an object."""
    texts = ['{"a": 1}', "[" * 10**5, "{", '"text"', "NaN", None]
    table = pa.table(
        {
            "id": [str(i) for i in range(6)],
            "task": ["math"] * 6,
            "question": ["How many?"] * 6,
            "answer": ["1"] * 6,
            "metadata": texts,
        }
    )
    pq.write_table(
        table.replace_schema_metadata({"mixed_r1.json_columns": "metadata"}), tmp_path / "x.parquet"
    )
    source = {"name": "s", "kind": "parquet", "options": {"path": "x.parquet"}}
    recipe = Recipe.from_mapping({"name": "any", "sources": [source], "dedup": None, "base": str(tmp_path)})
    result, lost = outcome(recipe, tmp_path / "out", 6)
    assert sum(result.rows.values()) == 2 and len(lost) == 4
