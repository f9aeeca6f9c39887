"""Near-duplicates, contamination, quotas and splits against plain oracles."""

import io
import json
from collections import Counter

import numpy as np
import pytest
from datasketch import MinHash
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from mixed_r1.data import load_samples, save_samples
from mixed_r1.data.engine import build
from mixed_r1.data.engine.near import hamming, hamming_bands, signature_bands
from mixed_r1.data.engine.select import quotas
from mixed_r1.data.engine.signatures import shingle_hash, text_signatures
from mixed_r1.data.recipe import Balance, Recipe
from mixed_r1.schema import Sample

UINT64 = st.integers(0, 2**64 - 1)


@given(st.lists(st.tuples(UINT64, UINT64), min_size=1, max_size=20))
def test_hamming_counts_bits(pairs):
    a, b = (np.asarray(column, dtype=np.uint64) for column in zip(*pairs, strict=True))
    assert hamming(a, b).tolist() == [(x ^ y).bit_count() for x, y in pairs]


@given(UINT64, st.integers(0, 16), st.data())
def test_near_hashes_share_a_band(value, distance, data):
    flipped = data.draw(st.sets(st.integers(0, 63), max_size=distance))
    other = value ^ sum(1 << bit for bit in flipped)
    keys = hamming_bands(np.asarray([value, other], dtype=np.uint64), distance)
    assert len(keys) == distance + 1
    assert any(key[0] == key[1] for key in keys)


@pytest.mark.parametrize("similarity", [0.5, 0.7, 0.8, 0.9, 0.97])
def test_similar_signatures_share_a_band_nearly_always(similarity):
    rng = np.random.default_rng(0)
    base = rng.integers(0, 2**32, (2000, 64), dtype=np.uint32)
    other = np.where(
        rng.random(base.shape) < similarity, base, rng.integers(0, 2**32, base.shape, dtype=np.uint32)
    )
    found = np.zeros(len(base), dtype=bool)
    for a, b in zip(signature_bands(base, similarity), signature_bands(other, similarity), strict=True):
        found |= a == b
    assert found.mean() > 0.98


@settings(max_examples=50)
@given(st.lists(st.text(max_size=300), max_size=40))
def test_signatures_are_datasketchs(texts):
    found = text_signatures(texts)
    assert found.shape == (len(texts), 64) and found.dtype == np.uint32
    for text, signature in zip(texts, found, strict=True):
        oracle = MinHash(num_perm=64, seed=1, scheme="affine32", hashfunc=shingle_hash)
        shingles = {text[i : i + 5] for i in range(max(1, len(text) - 4))}
        oracle.update_batch([shingle.encode("utf-8", "surrogatepass") for shingle in shingles])
        assert np.array_equal(oracle.hashvalues, signature)


def test_signatures_estimate_the_jaccard_similarity():
    """64 permutations: a standard error of at most 0.0625 a pair, 0.01 over 60 pairs."""
    rng = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        words = [f"word{i}" for i in rng.integers(0, 500, 60)]
        other = [word if rng.random() < 0.8 else "changed" for word in words]
        a, b = " ".join(words), " ".join(other)
        mine, theirs = ({text[i : i + 5] for i in range(len(text) - 4)} for text in (a, b))
        signatures = text_signatures([a, b])
        errors.append((signatures[0] == signatures[1]).mean() - len(mine & theirs) / len(mine | theirs))
    assert abs(np.mean(errors)) < 0.03 and np.std(errors) < 0.08


def test_of_a_long_text_the_beginning_counts():
    rng = np.random.default_rng(0)
    text = "".join(rng.choice(list("abcdefgh"), 10000))
    short, long, other = text_signatures([text[:4096], text, "x" + text])
    assert np.array_equal(short, long) and (long == other).mean() > 0.9


def build_rows(tmp_path, rows, **recipe):
    """Build a recipe over ``rows``; returns (kept ids without the source's name, rejects)."""
    save_samples(rows, tmp_path / "rows.jsonl")
    settings_ = {
        "name": "t",
        "sources": [{"name": "s", "kind": "jsonl", "options": {"path": "rows.jsonl"}}],
        **recipe,
    }
    result = build(Recipe.from_mapping({**settings_, "base": str(tmp_path)}), tmp_path / "out")
    kept = {
        split: [sample.id.removeprefix("s/") for sample in load_samples(result.out / split)]
        for split in result.rows
    }
    return kept, [json.loads(line) for line in (result.out / "rejects.jsonl").read_text().splitlines()]


def row(name, question, images=(), task="yes_no", answer="yes", **more):
    return Sample(id=name, task=task, question=question, answer=answer, images=tuple(images), **more)


def test_duplicates_need_the_same_images_and_the_same_question(tmp_path, make_picture):
    first, again, other = make_picture(1), make_picture(1, noise=1), make_picture(2)
    rows = [
        row("a", "Is the large red car parked left of the house?", [first]),
        row("same", "Is the large red car parked left of the house?", [again]),
        row("typo", "Is the large red car parked left of the house ?", [first]),
        row("question", "How many people are sitting on the bench today?", [first]),
        row("image", "Is the large red car parked left of the house?", [other]),
        row("two", "Is the large red car parked left of the house?", [first, other]),
        row("swapped", "Is the large red car parked left of the house?", [other, first]),
        row("text", "Is the large red car parked left of the house?"),
        row("text again", "Is the LARGE red car  parked left of the house?"),
    ]
    kept, rejects = build_rows(tmp_path, rows, dedup={"image_distance": 6, "text_similarity": 0.85})
    assert kept["train"] == ["a", "question", "image", "two", "swapped", "text"]
    assert {line["id"]: line["detail"] for line in rejects} == {
        "s/same": "of s/a",
        "s/typo": "of s/a",
        "s/text again": "of s/text",
    }


@pytest.mark.parametrize(
    ("dedup", "expected"), [({}, ["a", "noise", "typo"]), (None, ["a", "noise", "typo", "copy"])]
)
def test_exact_and_no_deduplication(tmp_path, make_picture, dedup, expected):
    rows = [
        row("a", "Is it day?", [make_picture(1)]),
        row("noise", "Is it day?", [make_picture(1, noise=1)]),
        row("typo", "Is it a day?", [make_picture(1)]),
        row("copy", "Is it day?", [make_picture(1)]),
    ]
    assert build_rows(tmp_path, rows, dedup=dedup)[0]["train"] == expected


def test_near_duplicates_match_a_comparison_of_all_pairs(tmp_path):
    """Texts with random edits: what is dropped is what connected components of all similar pairs say."""
    rng = np.random.default_rng(0)
    words = [f"word{'abcdefgh'[i // 8]}{'ijklmnop'[i % 8]}" for i in range(60)]
    texts = []
    for _ in range(25):
        base = rng.choice(words, 30).tolist()
        texts.append(base)
        for _ in range(int(rng.integers(0, 4))):
            edited = list(base)
            edited[int(rng.integers(30))] = "changed"
            texts.append(edited)
    questions = [" ".join(text) for text in texts]
    rows = [row(str(i), text) for i, text in enumerate(questions)]
    kept, _ = build_rows(tmp_path, rows, dedup={"text_similarity": 0.7})

    def shingles(text):
        return {text[i : i + 5] for i in range(len(text) - 4)}

    sets = [shingles(text) for text in questions]
    label = list(range(len(sets)))
    for i in range(len(sets)):
        for j in range(i):
            if len(sets[i] & sets[j]) / len(sets[i] | sets[j]) >= 0.7:
                label = [label[j] if value == label[i] else value for value in label]
    expected = {min(i for i, value in enumerate(label) if value == group) for group in set(label)}
    assert {int(name) for name in kept["train"]} == expected


@pytest.mark.parametrize("dedup", [{}, {"text_similarity": 0.5}, {"image_distance": 4}])
def test_many_copies_are_one_group_and_the_first_stays(tmp_path, make_picture, dedup):
    """More rows of one key than are compared with each other pair by pair."""
    pictures = [make_picture(i) for i in range(3)]
    rows = [
        row(f"{i}", f"Is picture number {i % 2} a large one?", [pictures[i % 3], pictures[0]])
        for i in range(60)
    ]
    kept, rejects = build_rows(tmp_path, rows, dedup=dedup)
    kinds = 6  # questions with other numbers are never one
    assert kept["train"] == [str(i) for i in range(kinds)]
    assert all(int(line["detail"].removeprefix("of s/")) < kinds for line in rejects)


def shape(color, size=(96, 96), quality=None):
    """A disc of ``color`` on a light ground."""
    image = Image.new("RGB", (96, 96), (235, 235, 230))
    ImageDraw.Draw(image).ellipse((20, 24, 70, 74), fill=color)
    stream = io.BytesIO()
    image.resize(size).save(stream, "PNG" if quality is None else "JPEG", **({"quality": quality or 90}))
    return stream.getvalue()


COLORS = ("red", "green", "blue", "gray", "teal", "black", "yellow", "brown")


def test_rows_of_other_colours_and_other_golds_are_other_rows(tmp_path):
    """A hash of shapes in grey takes all of them for one."""
    question = "What is the colour of the shape in the picture?"
    rows = [row(color, question, [shape(color)], answer=color, task="chart") for color in COLORS]
    rows += [row(f"count-{color}", "How many?", [shape(color)], answer="1", task="chart") for color in COLORS]
    rows.append(row("saved anew", question, [shape("red", (64, 64), 70)], answer="red", task="chart"))
    rows.append(row("other gold", question, [shape("red")], answer="crimson", task="chart"))
    kept, (lost,) = build_rows(tmp_path, rows, dedup={"image_distance": 4, "text_similarity": 0.9})
    assert lost["id"] == "s/saved anew" and lost["detail"] == "of s/red"
    assert len(kept["train"]) == 17


def test_a_template_of_another_image_is_no_contamination(tmp_path):
    """Evaluation asks the same questions of red discs; only the red disc is known there."""
    question = "What is the colour of the shape that is shown in this picture here?"
    evaluation = [row("e", question, [shape("red")], answer="red", task="chart")]
    sums = "figs {}, cups {}, pens {}. What is the value of cups in this list of things?"

    def asked(i):
        return sums.format(i, i + 1, i + 2)

    evaluation += [row(f"s{i}", asked(i), answer=str(i + 1), task="math") for i in range(9)]
    save_samples(evaluation, tmp_path / "eval.parquet")
    rows = [row(color, question, [shape(color)], answer=color, task="chart") for color in COLORS]
    rows += [row(f"t{i}", asked(i), answer=str(i + 1), task="math") for i in range(20)]
    kept, rejects = build_rows(tmp_path, rows, contamination={"against": ["eval.parquet"]}, dedup=None)
    lost = {line["id"].removeprefix("s/"): line["reason"] for line in rejects}
    assert lost == {"red": "contaminated image", **{f"t{i}": "contaminated text" for i in range(9)}}


def test_a_repeated_id_goes_even_without_deduplication(tmp_path):
    rows = [row("a", "Is it day?"), row("b", "Is it night?"), row("a", "Is it noon?")]
    kept, (lost,) = build_rows(tmp_path, rows, dedup=None)
    assert kept["train"] == ["a", "b"] and (lost["stage"], lost["reason"]) == ("dedup", "id")


def test_rows_of_evaluation_sets_are_dropped(tmp_path, make_picture):
    long = "According to the chart, which country had the highest share of renewable power in 2015?"
    save_samples(
        [row("e1", "What is this?", [make_picture(1, noise=3)]), row("e2", long)], tmp_path / "eval.parquet"
    )
    rows = [
        row("image", "Is it blue?", [make_picture(9), make_picture(1)]),
        row("text", long.replace("2015?", "2015 ?")),
        row("of another image", long, [make_picture(2)]),
        row("of another year", long.replace("2015", "2016")),
        row("template", "What is this?", [make_picture(3)]),
        row("clean", "Which of the two countries had the lower share of nuclear power?", [make_picture(4)]),
    ]
    kept, rejects = build_rows(
        tmp_path, rows, contamination={"against": ["eval.parquet"], "image_distance": 6}
    )
    assert kept["train"] == ["of another image", "of another year", "template", "clean"]
    assert {(line["id"], line["reason"], line["detail"]) for line in rejects} == {
        ("s/image", "contaminated image", "eval.parquet: e1"),
        ("s/text", "contaminated text", "eval.parquet: e2"),
    }


@settings(max_examples=200)
@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1),
    st.integers(1, 200),
    st.sampled_from(["equal", "proportional"]),
)
def test_quotas_use_up_the_total(sizes, total, weights):
    kept = quotas(sizes, Balance(total=total, weights=weights))
    assert all(0 <= kept[name] <= sizes[name] for name in sizes)
    assert sum(kept.values()) == min(total, sum(sizes.values()))
    if weights == "equal":
        short = [name for name in sizes if kept[name] < sizes[name]]
        assert max((kept[n] for n in short), default=0) - min((kept[n] for n in short), default=0) <= 1


def test_quotas_by_weights_and_caps():
    sizes = {"a": 100, "b": 100, "c": 10}
    assert quotas(sizes, Balance(total=80, weights={"a": 3, "b": 1})) == {"a": 60, "b": 20, "c": 0}
    assert quotas(sizes, Balance(max_rows=30)) == {"a": 30, "b": 30, "c": 10}
    assert quotas(sizes, Balance(max_rows={"a": 5})) == {"a": 5, "b": 100, "c": 10}
    assert quotas(sizes, Balance(total=50, weights="equal")) == {"a": 20, "b": 20, "c": 10}


def test_balance_keeps_the_same_rows_when_others_come(tmp_path):
    rows = [row(str(i), f"Question number {i}?") for i in range(60)]
    few, _ = build_rows(tmp_path / "few", rows, balance={"max_rows": 20}, seed=1)
    more, _ = build_rows(tmp_path / "more", rows[:-5], balance={"max_rows": 20}, seed=1)
    assert len(few["train"]) == 20
    assert len(set(few["train"]) & set(more["train"])) >= 15


def test_split_shares_and_ties(tmp_path, make_picture):
    rows = []
    for i in range(200):
        group = {"patient": f"p{i // 2}"} if i < 80 else {}
        rows.append(row(str(i), f"Question {i}?", metadata=group))
    pictures = [make_picture(i, size=(16, 16)) for i in range(20)]
    rows += [row(f"i{i}", f"Picture question {i}?", [pictures[i % 20]]) for i in range(60)]
    split = {"shares": {"test": 0.3, "validation": 0.1}, "group": "patient"}
    kept, rejects = build_rows(tmp_path, rows, split=split)
    assert rejects == []
    where = {name: split for split, names in kept.items() for name in names}
    assert all(where[str(i)] == where[str(i + 1)] for i in range(0, 80, 2))
    assert all(where[f"i{i}"] == where[f"i{i + 20}"] == where[f"i{i + 40}"] for i in range(20))
    counts = Counter(where.values())
    assert 0.2 < counts["test"] / 260 < 0.4 and 0.04 < counts["validation"] / 260 < 0.17


def test_split_by_near_images(tmp_path, make_picture):
    rows = [
        row(f"{i}-{noise}", f"Question {i} {noise}?", [make_picture(i, noise=noise)])
        for i in range(12)
        for noise in range(3)
    ]
    kept, _ = build_rows(tmp_path, rows, split={"shares": {"test": 0.5}, "image_distance": 8})
    where = {name: split for split, names in kept.items() for name in names}
    assert all(len({where[f"{i}-{noise}"] for noise in range(3)}) == 1 for i in range(12))
    assert len(set(where.values())) == 2


def test_split_field(tmp_path):
    rows = [row(str(i), f"Q {i}?", metadata={"fold": "dev" if i % 3 == 0 else "train"}) for i in range(9)]
    kept, _ = build_rows(tmp_path / "a", rows, split={"field": "fold"})
    assert kept == {"dev": ["0", "3", "6"], "train": ["1", "2", "4", "5", "7", "8"]}
    with pytest.raises(
        ValueError, match="split.field must be a metadata key of every row, got none in 1 rows"
    ):
        build_rows(tmp_path / "b", [*rows, row("x", "Q?")], split={"field": "fold"})
