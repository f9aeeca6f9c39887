import re
from collections import Counter

import numpy as np
import pytest
from sklearn.datasets import load_digits

from mixed_r1.data import check_samples, load_samples
from mixed_r1.data.mini import MiniRows, build_mini, corpus, mini_plan, sft_target
from mixed_r1.images import open_image
from mixed_r1.schema import TASKS, Sample


@pytest.fixture(scope="module")
def mini(tmp_path_factory):
    paths = build_mini(tmp_path_factory.mktemp("mini"), seed=0, size=1200)
    return {split: (path, load_samples(path)) for split, path in paths.items()}


def rows(mini):
    return [sample for _, samples in mini.values() for sample in samples]


def test_splits_tasks_and_sources(mini):
    asked = {"train": 960, "validation": 60, "test": 180}
    for split, (path, samples) in mini.items():
        assert len(samples) == asked[split]
        assert path.with_name("rejects.jsonl").read_text() == ""
    for _, samples in mini.values():
        assert {s.task for s in samples} == set(TASKS) - {"short_answer"}
        assert {s.source for s in samples} == {"digits", "photos", "tables", "text"}
        assert len({s.task for s in samples[:20]}) >= 4, "rows must come mixed"
    assert all(check_samples(path) == [] for path, _ in mini.values())
    assert len({s.id for s in rows(mini)}) == len(rows(mini))


def test_images_have_the_size_asked_for(mini, tmp_path):
    assert all(open_image(s.images[0]).size == (48, 48) == s.image_size for s in rows(mini) if s.images)
    assert {len(s.images) for s in rows(mini)} == {0, 1}
    large = load_samples(build_mini(tmp_path, size=60, image_size=96)["train"])
    assert all(open_image(s.images[0]).size == (96, 96) for s in large if s.images)
    with pytest.raises(ValueError, match="image_size must be a multiple of 3, at least 12, got 50"):
        build_mini(tmp_path, size=60, image_size=50)


def origin_parts(origin):
    """(kind and piece without the crop, crop or None)."""
    if not origin.startswith("photo:"):
        return origin, None
    _, name, split, crop = origin.split(":")
    return f"photo:{name}", tuple(int(v) for v in crop.split(","))


def test_splits_share_no_material(mini):
    seen = {split: set() for split in mini}
    for split, (_, samples) in mini.items():
        for sample in samples:
            assert sample.metadata["origins"]
            for origin in sample.metadata["origins"]:
                name, crop = origin_parts(origin)
                if crop is None:
                    table = name.rsplit(":", 1)[0] if name.startswith("table:") else name
                    seen[split].add(table)
                else:
                    assert origin.split(":")[2] == split
    for a in seen:
        for b in seen:
            assert a == b or not seen[a] & seen[b]


def test_photo_bands_are_disjoint_parts_of_the_photo():
    from mixed_r1.data.mini_material import SPLITS, _photos, load_material

    material = load_material(0)
    for name, photo in _photos().items():
        parts = [material[split].photos[name] for split in SPLITS]
        assert sum(part.width for part in parts) == photo.width
        left = 0
        for part in parts:
            box = (left, 0, left + part.width, photo.height)
            assert part.tobytes() == photo.crop(box).tobytes()
            left += part.width


def test_equal_arguments_give_equal_bytes(tmp_path):
    def build(name, seed):
        build_mini(tmp_path / name, seed=seed, size=150)
        return {
            p.relative_to(tmp_path / name): p.read_bytes()
            for p in (tmp_path / name).rglob("*")
            if p.is_file()
        }

    first = build("a", 0)
    assert build("b", 0) == first
    assert build("c", 1) != first


def test_golds_of_closed_tasks_are_even_in_every_kind_and_split(mini):
    for _, samples in mini.values():
        for kind in ("is_digit", "left_larger", "number_larger", "choose_digit", "choose_photo"):
            rows = [s for s in samples if s.metadata["kind"] == kind]
            golds = Counter(s.answer for s in rows)
            assert len(golds) == (2 if rows[0].options is None else len(rows[0].options))
            assert max(golds.values()) - min(golds.values()) <= 1
    train = mini["train"][1]
    digits = Counter(s.metadata["think"] for s in train if s.metadata["kind"] == "choose_digit")
    assert len(digits) == 10


def test_targets_follow_from_the_question_and_the_reasoning(mini):
    for s in rows(mini):
        think, target = s.metadata["think"], sft_target(s)
        assert target.startswith(f"<think>{think}</think><answer>") and target.endswith("</answer>")
        assert 2 <= len(think.split()) <= 8
        numbers = [int(v) for v in re.findall(r"\d+", s.question)]
        kind = s.metadata["kind"]
        if kind == "is_digit":
            assert s.answer == ("yes" if think == f"the digit is {numbers[0]}" else "no")
        elif kind == "left_larger":
            left, right = (int(v) for v in re.findall(r"\d", think))
            assert s.answer == ("yes" if left > right else "no")
        elif kind == "number_larger":
            assert s.answer == ("yes" if numbers[0] > numbers[1] else "no")
        elif kind in ("choose_digit", "choose_photo"):
            assert think.split()[-1] == s.options["ABC".index(s.answer)]
        elif kind == "largest_value":
            listed = s.question.split(":")[0].split(", ")
            assert int(s.answer) == max(int(row.rsplit(" ", 1)[1]) for row in listed)
            assert think.replace(" has ", " ") in listed
        elif kind == "bar_value":
            assert think.split()[-1] == s.answer
        elif kind == "highest_bar":
            assert think.split()[0] == s.answer
        elif s.task == "grounding":
            assert len(s.answer) == (2 if kind == "find_both" else 1)
            assert all(v % 16 == 0 and 0 <= v <= 48 for box in s.answer for v in box)


def test_bars_are_as_high_as_the_gold_says(mini):
    from mixed_r1.data.mini_render import COLORS

    charts = [s for s in rows(mini) if s.task == "chart"]
    assert len(charts) > 180
    for s in charts:
        image = open_image(s.images[0])
        heights = {}
        for name, color in COLORS.items():
            columns = [sum(image.getpixel((x, y)) == color for y in range(48)) for x in range(48)]
            heights[name] = max(columns)
        named, _, _, value = s.metadata["think"].split()
        assert abs((heights[named] - 1) / 0.44 - float(value)) <= 2.5
        if s.metadata["kind"] == "highest_bar":
            assert named == s.answer == max(heights, key=heights.get)
            assert sorted(heights.values())[-2] < heights[named]


def test_boxes_hold_the_digits_asked_for(mini):
    """What is inside a gold box is the handwritten digit of that label (the frame covers two pixels)."""
    data = load_digits()
    found = [s for s in rows(mini) if s.task == "grounding"]
    assert len(found) > 180
    for s in found:
        digits = [int(origin.split(":")[1]) for origin in s.metadata["origins"] if origin.startswith("digit")]
        if s.metadata["kind"] == "find_one":
            assert f"digit {data.target[digits[0]]}?" in s.question
            assert data.target[digits[0]] not in data.target[digits[1:]]
        image = np.asarray(open_image(s.images[0]).convert("L"), dtype=np.int64)
        for i, (x1, y1, x2, y2) in zip(digits, np.asarray(s.answer, dtype=int), strict=False):
            ink = np.kron(data.images[i], np.ones((2, 2)))[2:-2, 2:-2]
            shown = image[y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
            assert np.corrcoef(ink.ravel(), shown.ravel())[0, 1] < -0.9


def test_held_out_splits_stop_growing():
    sizes = {split: len(mini_plan(split, seed=0, size=40_000)) for split in ("train", "validation", "test")}
    assert sizes == {"train": 37_750, "validation": 250, "test": 2000}


def test_a_stream_draws_the_rows_of_the_files_and_others_that_are_new(mini):
    written = {s.id.removeprefix("mini/"): s for s in mini["train"][1]}
    stream = MiniRows("train", size=len(written))
    assert len(stream) == len(written) and {s.id for s in stream} == set(written)
    for drawn in stream[:40]:
        row = written[drawn.id]
        assert (row.question, row.answer, row.options) == (drawn.question, drawn.answer, drawn.options)
        assert [open_image(i).tobytes() for i in row.images] == [
            open_image(i).tobytes() for i in drawn.images
        ]
    fresh = MiniRows("train", size=len(written), first=1_000_000)
    assert not {s.id for s in fresh} & set(written)
    assert [s.id for s in fresh[3:5]] == [fresh[3].id, fresh[4].id] and fresh[-1].id == fresh[
        len(fresh) - 1
    ].id


def test_parquet_holds_the_same_rows(mini, tmp_path):
    paths = build_mini(tmp_path, seed=0, size=1200, format="parquet")
    rows = load_samples(paths["test"])
    assert [(s.id, s.question, s.answer) for s in rows] == [
        (s.id, s.question, s.answer) for s in mini["test"][1]
    ]


def test_sft_target_renders_each_task():
    def target(**fields):
        return sft_target(Sample(id="x", question="?", metadata={"think": "t"}, **fields))

    assert target(task="yes_no", answer=True) == "<think>t</think><answer>yes</answer>"
    assert target(task="grounding", answer=[1, 2, 3, 4.5]).endswith("<answer>[1, 2, 3, 4.5]</answer>")
    two = target(task="grounding", answer=[[1, 2, 3, 4], [5, 6, 7, 8]])
    assert two.endswith("<answer>[[1, 2, 3, 4], [5, 6, 7, 8]]</answer>")
    assert target(task="chart", answer=["a", 2]).endswith("<answer>[a, 2]</answer>")


def test_corpus_holds_questions_options_and_targets(mini):
    texts = list(corpus(mini["train"][1]))
    choice = next(s for s in mini["train"][1] if s.task == "multiple_choice")
    assert {choice.question, f"A. {choice.options[0]}", sft_target(choice)} <= set(texts)
