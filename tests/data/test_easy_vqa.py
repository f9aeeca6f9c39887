"""Rows for pretrained weights: easy-VQA questions about images, and numbers looked up in a text."""

from __future__ import annotations

import re
from collections import Counter

import pytest

from mixed_r1.config import ConfigError
from mixed_r1.data import check_samples, load_samples, save_samples
from mixed_r1.data.easy_vqa import COLORS, SHAPES, captioned_images, easy_vqa_rows
from mixed_r1.data.lookup import lookup_rows
from mixed_r1.images import open_image

easy_vqa = pytest.importorskip("easy_vqa")


def test_answers_are_those_of_the_package():
    texts, answers, images = easy_vqa.get_test_questions()
    known = {(text, image): answer for text, answer, image in zip(texts, answers, images, strict=True)}
    for row in easy_vqa_rows("test", yes_no=60, words=60):
        image = int(row.metadata["image"].removeprefix("test/"))
        text = row.question[0].lower() + row.question[1:]
        assert known[text, image] == row.answer
        assert row.images == (easy_vqa.get_test_image_paths()[image],)


def test_golds_are_balanced_in_each_kind():
    rows = easy_vqa_rows("train", yes_no=400, words=300)
    asks_color = [any(color in row.question for color in COLORS) for row in rows]
    for kind in (True, False):
        of_kind = [r for r, color in zip(rows, asks_color, strict=True) if color == kind]
        assert Counter(r.answer for r in of_kind if r.task == "yes_no") == {"yes": 100, "no": 100}
    words = Counter(row.answer for row in rows if row.task == "chart")
    assert {words[shape] for shape in SHAPES} == {50}
    assert {words[color] for color in COLORS} <= {18, 19}
    assert not any(re.search(r"\b(no|not)\b", row.question) for row in rows)


def test_no_row_comes_twice_and_no_image_is_in_both_splits():
    train = easy_vqa_rows("train", yes_no=1500, words=1500)
    test = easy_vqa_rows("test", yes_no=200, words=200)
    assert len({row.id for row in [*train, *test]}) == 3400
    content = [{open_image(row.images[0]).tobytes() for row in rows} for rows in (train, test)]
    assert not content[0] & content[1]


def test_a_seed_decides_the_rows():
    one, same, other = (easy_vqa_rows("train", yes_no=20, words=20, seed=seed) for seed in (0, 0, 1))
    assert one == same and one != other


def test_more_rows_than_there_are_is_an_error():
    with pytest.raises(ConfigError, match="yes_no must be at most what easy-vqa has"):
        easy_vqa_rows("test", yes_no=5000, words=10)


def test_captions_agree_with_every_question():
    """What the captions say answers all questions about a color or shape, of which only some made them."""
    texts, answers, images = easy_vqa.get_test_questions()
    captions = {int(one.path.stem): one for one in captioned_images("test")}
    assert len(captions) > 600
    for text, answer, image in zip(texts, answers, images, strict=True):
        if image not in captions:  # no question names both its color and its shape
            continue
        one = captions[image]
        words = set(re.findall(r"[a-z]+", text))
        if answer in ("yes", "no"):
            named = words & {*COLORS, *SHAPES}
            is_there = named <= {one.color, one.shape}
            assert (answer == "yes") == (is_there != bool(words & {"no", "not"})), text
        else:
            assert answer == (one.color if answer in COLORS else one.shape)


def test_lookup_rows_hold_their_answer_in_balanced_places():
    rows = lookup_rows("train", count=300)
    places = Counter()
    for row in rows:
        numbers = re.findall(r"(\w+) (\d+)", row.question)
        asked = re.search(r"value of (\w+)\?", row.question)
        assert asked and dict(numbers)[asked[1]] == row.answer
        places[[name for name, _ in numbers].index(asked[1])] += 1
    assert places == {0: 100, 1: 100, 2: 100}
    assert max(Counter(row.answer for row in rows).values()) < 15


def test_lookup_splits_share_no_numbers():
    train, test = (
        [tuple(re.findall(r"\d+", row.question)) for row in lookup_rows(split, count=400)]
        for split in ("train", "test")
    )
    assert len(set(train)) == len(set(test)) == 400
    assert not {frozenset(numbers) for numbers in train} & {frozenset(numbers) for numbers in test}


def test_rows_can_be_saved_and_checked(tmp_path):
    rows = [*easy_vqa_rows("test", yes_no=6, words=6), *lookup_rows("test", count=6)]
    save_samples(rows, tmp_path / "rows.jsonl")
    assert check_samples(tmp_path / "rows.jsonl") == []
    assert [row.answer for row in load_samples(tmp_path / "rows.jsonl")] == [row.answer for row in rows]
