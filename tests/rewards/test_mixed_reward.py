"""MixedReward through its public face: routing, weights, frames, masks, and independence of rows."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from mixed_r1.config import ConfigError
from mixed_r1.rewards import MixedReward, OpenEndedConfig, RewardConfig, explain
from mixed_r1.schema import Sample
from mixed_r1_kernels import Reason
from mixed_r1_kernels.embedding_table import EmbeddingTable

WORDS = "a dog cat on the grass sits runs near red house sky is blue . [UNK] zero".split()


def row(task: str, answer: Any, **fields: Any) -> Sample:
    return Sample(id=f"{task}-1", task=task, question="q", answer=answer, **fields)  # type: ignore[arg-type]


ROWS = [
    row("yes_no", "yes"),
    row("multiple_choice", "B", options=("red", "blue")),
    row("chart", 42),
    row("math", "1/2"),
    row("grounding", [[0, 0, 10, 10], [20, 20, 30, 30]]),
    row("open_ended", "a dog sits on the grass ."),
]
RIGHT = ["yes", "B", "43", "0.5", "[[20, 20, 30, 30], [0, 0, 10, 10]]", "a dog sits on the grass ."]
WRONG = ["no", "A", "50", "0.6", "[[50, 50, 60, 60]]", "zero"]
COLUMN = ["matching", "matching", "chart", "math", "iou", "open_ended"]


def tagged(answer: str) -> str:
    return f"<think>because</think><answer>{answer}</answer>"


@pytest.fixture(scope="module")
def parts() -> tuple[EmbeddingTable, Tokenizer]:
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    rows = np.random.default_rng(7).normal(size=(len(WORDS), 24)).astype(np.float32)
    rows[WORDS.index("zero")] = 0.0
    return EmbeddingTable(rows), tokenizer


@pytest.fixture
def reward(parts: tuple[EmbeddingTable, Tokenizer]) -> MixedReward:
    return MixedReward(*parts)


def test_every_task_goes_to_its_column(reward: MixedReward) -> None:
    batch = reward([tagged(answer) for answer in RIGHT], ROWS)
    assert batch.names == ("matching", "chart", "math", "iou", "open_ended", "format")
    for i, name in enumerate(COLUMN):
        applicable = {batch.names[k] for k in np.flatnonzero(~np.isnan(batch.values[i]))}
        assert applicable == {name, "format"}
        assert batch.column(name)[i] == 1.0
    np.testing.assert_allclose(batch.total, 1.0, rtol=0, atol=1e-12)
    assert batch.mask.all() and batch.answers == RIGHT
    assert math.isclose(sum(batch.shares().values()), 1.0)
    assert batch.reason_counts()["matching"] == {"OK": 2}
    assert (batch.reasons == Reason.NOT_APPLICABLE).sum() == np.isnan(batch.values).sum()


def test_wrong_answers_score_the_format_only(reward: MixedReward) -> None:
    batch = reward([tagged(answer) for answer in WRONG], ROWS)
    np.testing.assert_allclose(batch.total, 0.1, rtol=0, atol=1e-12)
    reasons = [Reason(batch.reasons[i, batch.names.index(name)]).name for i, name in enumerate(COLUMN)]
    assert reasons == ["NO_MATCH", "NO_MATCH", "OUT_OF_TOLERANCE", "NO_MATCH", "OK", "DEGENERATE"]


def test_weights_of_columns_tasks_and_rows(parts: Any) -> None:
    reward = MixedReward(
        *parts,
        weights={"chart": 0.5},
        config=RewardConfig(
            format_weight=0.2, tasks={"math": {"format": "none"}, "yes_no": {"task_weight": 2.0}}
        ),
    )
    rows = [*ROWS[:4], ROWS[2].model_copy(update={"reward": {"chart_tolerance": 0.0}})]
    batch = reward([tagged("yes"), tagged("B"), tagged("43"), "1/2", tagged("43")], rows)
    np.testing.assert_allclose(batch.total, [2.2, 1.1, 0.7, 1.1, 0.2])
    assert batch.reasons[3, -1] == Reason.NOT_APPLICABLE
    assert reward.column_weights().tolist() == [0.9, 0.5, 0.9, 0.9, 0.9, 0.2]


@pytest.mark.parametrize(
    ("frame", "answer", "sizes"),
    [
        ("pixels", "[100, 50, 200, 150]", {}),
        ("pixels", "[100, 50, 200, 150]", {"image_size": (400, 200)}),
        ("norm1000", "[250, 250, 500, 750]", {"image_size": (400, 200)}),
        ("norm1", "[0.25, 0.25, 0.5, 0.75]", {"image_size": (400, 200)}),
        ("resized", "[50, 25, 100, 75]", {"image_size": (400, 200), "resized_size": (200, 100)}),
        ("resized", "[28, 14, 56, 42]", {"image_size": (400, 200), "resized_size": (112, 56)}),
    ],
)
def test_frames_of_predicted_boxes(frame: Any, answer: str, sizes: Any) -> None:
    reward = MixedReward(config=RewardConfig(box_frame=frame))
    sample = row("grounding", [100, 50, 200, 150], **sizes)
    assert reward([tagged(answer)], [sample]).column("iou")[0] == pytest.approx(1.0, abs=1e-12)
    assert explain(reward, tagged(answer), sample).boxes[0].predicted == pytest.approx((100, 50, 200, 150))


def test_frames_of_gold_boxes() -> None:
    pixels, normalised = MixedReward(), MixedReward(config=RewardConfig(box_frame="norm1000"))
    sized = row("grounding", [250, 250, 500, 750], frame="norm1000", image_size=(400, 200))
    unsized = row("grounding", [250, 250, 500, 750], frame="norm1000")
    assert pixels([tagged("[100, 50, 200, 150]")], [sized]).column("iou")[0] == 1.0
    assert normalised([tagged("[250, 250, 500, 750]")], [sized, unsized][1:]).column("iou")[0] == 1.0
    with pytest.warns(UserWarning, match="image_size must be given"):
        assert not pixels([tagged("[100, 50, 200, 150]")], [unsized]).mask[0]


GOLD2 = [[0, 0, 10, 10], [20, 20, 30, 30]]


@pytest.mark.parametrize(
    ("mode", "answer", "gold", "expected"),
    [
        ("continuous", "[0, 0, 10, 5]", [0, 0, 10, 10], 0.5),
        ("continuous", "[0, 0, 10, 10]", GOLD2, 0.5),  # one of two
        ("continuous", "[[0,0,10,10],[50,50,60,60]]", GOLD2, 0.5),  # one right, one wrong
        ("continuous", "[[20,20,30,30],[0,0,10,10]]", GOLD2, 1.0),  # any order
        ("continuous", "[[0,0,10,10]," * 1 + "[0,0,10,10]]", GOLD2, 0.5),  # the right box twice
        ("threshold", "[0, 0, 10, 5]", [0, 0, 10, 10], 1.0),
        ("threshold", "[0, 0, 10, 4]", [0, 0, 10, 10], 0.0),
        ("giou", "[0, 0, 10, 5]", [0, 0, 10, 10], 0.5),
        ("giou", "[20, 20, 30, 30]", [0, 0, 10, 10], 0.0),
        ("plus_one", "[0, 0, 9, 4]", [0, 0, 9, 9], 0.5),
        ("vlm_r1", "[0, 0, 10, 6]", [0, 0, 10, 10], 1.0),
        ("vlm_r1", "[0, 0, 10, 5]", [0, 0, 10, 10], 0.0),
        ("vlm_r1", "[0, 0, 1, 1]", [0, 0, 1, 1], 0.0),  # an overlap of one pixel counts as none there
    ],
)
def test_box_scores(mode: Any, answer: str, gold: Any, expected: float) -> None:
    reward = MixedReward(config=RewardConfig(box_score=mode))
    assert reward([tagged(answer)], [row("grounding", gold)]).column("iou")[0] == pytest.approx(
        expected, abs=1e-9
    )


def test_box_spam_and_full_image_boxes_do_not_pay() -> None:
    reward, sample = MixedReward(), row("grounding", [40, 40, 60, 60])
    grid = (
        "["
        + ",".join(f"[{x},{y},{x + 20},{y + 20}]" for x in range(0, 100, 10) for y in range(0, 100, 10))
        + "]"
    )
    close, exact = "[44, 44, 64, 64]", "[40, 40, 60, 60]"
    honest, spam, full, twice, both = (
        reward([tagged(answer)], [sample]).total[0]
        for answer in (close, grid, "[0, 0, 100, 100]", f"[{close}, {close}]", f"[{exact}, {close}]")
    )
    assert spam < 0.12 and full < 0.15 and twice < honest
    assert both == pytest.approx(0.55)  # a second guess halves even a perfect first one


def test_open_ended(reward: MixedReward) -> None:
    answers = ["a dog sits on the grass .", "a dog on grass", "the sky is blue", "zero zero", "zero"]
    values = reward([tagged(a) for a in answers], [ROWS[5]] * len(answers)).column("open_ended")
    assert values[0] == 1.0 > values[1] > values[2] > values[3] == values[4] == 0.0
    reasons = reward([tagged(""), tagged("x" * 40_000)], [ROWS[5]] * 2).reasons[:, 4].tolist()
    assert reasons == [Reason.EMPTY, Reason.TOO_LONG]


def test_open_ended_shaping(parts: Any) -> None:
    texts = [tagged("a dog sits on the grass . " * n) for n in (1, 2)] + [tagged("a dog")]
    plain = MixedReward(*parts)(texts, [ROWS[5]] * 3).column("open_ended")
    assert plain[0] == plain[1] == 1.0
    config = RewardConfig(
        open_ended=OpenEndedConfig(baseline=0.25, length_penalty=(0.5, 1.0), repetition_penalty=1)
    )
    shaped = MixedReward(*parts, config=config)(texts, [ROWS[5]] * 3).column("open_ended")
    short = (plain[2] - 0.25) / 0.75 * (2 / 7) / 0.5
    assert shaped == pytest.approx([1.0, 0.5 * 0.5, short], rel=1e-12)


def test_open_ended_without_a_table_is_an_error() -> None:
    with pytest.raises(ValueError, match="table and tokenizer must be given to MixedReward"):
        MixedReward()([tagged("x")], [ROWS[5]])


def test_table_and_tokenizer_must_fit(parts: Any) -> None:
    table, tokenizer = parts
    with pytest.raises(ValueError, match="tokenizer must be given"):
        MixedReward(table=table)
    with pytest.raises(ValueError, match="table must have a row for each of the tokenizer's 17 ids, got 3"):
        MixedReward(EmbeddingTable(np.eye(3, dtype=np.float32)), tokenizer)


def test_bad_rows_are_masked_and_named(reward: MixedReward) -> None:
    bad = [
        {"id": "x1", "task": "chart", "question": "q", "answer": "nan"},
        {"id": "x2", "task": "yes_no", "question": "q", "answer": "maybe"},
        {"id": "x3", "task": "math", "question": "q", "answer": "7", "reward": {"chart_scor": "graded"}},
    ]
    with pytest.warns(UserWarning, match="sample x"):
        batch = reward([tagged("7")] * 4, [*bad, ROWS[0]])
    assert batch.mask.tolist() == [False, False, False, True]
    assert np.isnan(batch.total[:3]).all() and np.isnan(batch.values[:3, :-1]).all()
    assert [(batch.reasons[i] == Reason.BAD_GOLD).sum() for i in range(4)] == [1, 1, 1, 0]
    problems = reward.check([*bad, ROWS[0]])
    assert [i for i, _ in problems] == [0, 1, 2]
    assert "did you mean chart_score" in problems[2][1]


NESTED: Any = "1"
for _ in range(5000):
    NESTED = [NESTED]
BOX = {"id": "b", "task": "grounding", "question": "q", "answer": [0, 0, 5, 10], "image_size": (10, 10)}


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ({**BOX, "answer": [0, 0, 10**400, 10]}, "four finite numbers"),
        ({**BOX, "image_size": (10**400, 10), "frame": "norm1"}, "image_size must be positive, at most"),
        (
            {**BOX, "resized_size": (0, 10), "reward": {"box_frame": "resized"}},
            "resized_size must be positive",
        ),
        (
            {**BOX, "resized_size": (-1, 1), "reward": {"box_frame": "resized"}},
            "resized_size must be positive",
        ),
        ({**BOX, "answer": NESTED}, "row must not be nested so deep"),
        ({**BOX, "task": np.array(["chart", "math"])}, "task: must be one of yes_no, multiple_choice"),
        ({**BOX, 1: 2}, "Keys should be strings"),
        ({**BOX, "reward": {"task_weight": 1e308}}, "task_weight: Input should be less than or equal to"),
    ],
)
def test_a_row_of_any_content_masks_itself_only(bad: Any, says: str) -> None:
    """None of these may raise: the other rows of the batch have their values."""
    reward = MixedReward(config=RewardConfig(format="none"))
    with pytest.warns(UserWarning, match="is masked"):
        batch = reward(["[0, 0, 5, 10]", "43"], [bad, ROWS[2]])
    assert batch.mask.tolist() == [False, True] and batch.total[1] == 1.0
    assert says in reward.check([bad])[0][1]


def test_functions_of_the_user(parts: Any) -> None:
    def brevity(completions: Any, answers: Any, samples: Any) -> list[float | None]:
        assert answers[0] == "yes" and samples[0] is ROWS[0]
        return [0.5, None, float("nan"), float("inf"), 1.0, 0.0]

    reward = MixedReward(*parts, functions={"brevity": brevity}, weights={"brevity": 0.2})
    batch = reward([tagged(answer) for answer in RIGHT], ROWS)
    assert batch.names[-2:] == ("brevity", "format")
    assert batch.mask.tolist() == [True, True, False, False, True, True]
    np.testing.assert_allclose(batch.total, [1.1, 1.0, np.nan, np.nan, 1.2, 1.0])
    assert batch.reason_counts()["brevity"] == {"OK": 3, "INTERNAL_ERROR": 2}
    with pytest.raises(ValueError, match="functions must have names of their own"):
        MixedReward(functions={"iou": brevity})


def test_values_do_not_depend_on_the_batch(reward: MixedReward) -> None:
    """Bit-equal alone, in any order, at any place beside any neighbour, poisoned ones included."""
    answers = RIGHT + WRONG + ["\ud800", "", "[" * 1000, "x" * 2_000_000, "a dog on the sky", "[1,2,3"]
    completions = [tagged(answer) for answer in answers]
    samples = [ROWS[i % 6] for i in range(len(answers))]
    together = reward(completions, samples)
    order = np.random.default_rng(3).permutation(len(answers))
    shuffled = reward([completions[i] for i in order], [samples[i] for i in order])
    alone = [reward([c], [s]) for c, s in zip(completions, samples, strict=True)]
    for field in ("total", "values", "reasons", "mask", "spans"):
        expected = getattr(together, field)
        np.testing.assert_array_equal(getattr(shuffled, field), expected[order], strict=True)
        np.testing.assert_array_equal(
            np.concatenate([getattr(a, field) for a in alone]), expected, strict=True
        )


def test_explain(reward: MixedReward) -> None:
    text = explain(reward, tagged("a dog on grass"), ROWS[5])
    assert text.answer == "a dog on grass" and text.gold == ROWS[5].answer
    assert [t.best for t in text.answer_tokens] == ["a", "dog", "on", "grass"]
    assert text.similarity is not None and text.similarity.shape == (4, 7)
    precision = np.mean([t.similarity for t in text.answer_tokens])
    recall = np.mean([t.similarity for t in text.reference_tokens])
    value = text.cells["open_ended"].value
    assert value == pytest.approx((precision + recall) / 2, abs=1e-6)
    boxes = explain(reward, tagged("[[0,0,10,10],[50,50,60,60]]"), ROWS[4])
    assert [(b.gold, b.iou) for b in boxes.boxes] == [((0.0, 0.0, 10.0, 10.0), 1.0), (None, 0.0)]
    assert boxes.total == pytest.approx(0.55) and boxes.cells["chart"].value is None
    with pytest.warns(UserWarning, match="masked"):
        masked = explain(reward, tagged("5"), {"id": "z", "task": "chart", "question": "q", "answer": "inf"})
    assert masked.total is None and masked.error is not None and "finite" in masked.error


@pytest.mark.parametrize(
    ("answer", "value", "shown"),
    [
        # the best match of the second gold box is not what VLM-R1 scores
        ("[[50,50,60,60],[0,0,10,10]]", 0.0, [((0.0, 0.0, 10.0, 10.0), 0.0), (None, 0.0)]),
        ("[[0,0,10,8],[50,50,60,60]]", 1.0, [((0.0, 0.0, 10.0, 10.0), 0.8), (None, 0.0)]),
        ("[[9,9,19,19]]", 0.0, [((0.0, 0.0, 10.0, 10.0), 0.0)]),  # one pixel counts as no overlap
    ],
)
def test_explain_shows_the_boxes_that_vlm_r1_scored(answer: str, value: float, shown: Any) -> None:
    sample = row("grounding", [[0, 0, 10, 10], [50, 50, 60, 60]], reward={"box_score": "vlm_r1"})
    found = explain(MixedReward(), tagged(answer), sample)
    assert found.cells["iou"].value == value
    assert [(box.gold, box.iou) for box in found.boxes] == shown


def test_an_empty_batch(reward: MixedReward) -> None:
    batch = reward([], [])
    assert batch.values.shape == (0, 6) and batch.shares()["iou"] == 0.0 and batch.answers == []


def test_arguments_are_checked(reward: MixedReward) -> None:
    with pytest.raises(ValueError, match="samples must be one per completion"):
        reward(["a"], [])
    with pytest.raises(TypeError, match="samples must hold Sample or mappings, got int"):
        reward(["a"], [3])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="weights must name columns"):
        MixedReward(weights={"ious": 1.0})
    with pytest.raises(ConfigError, match=r"weights\['iou'\] must be in \[0, 1e\+06\], got -1.0"):
        MixedReward(weights={"iou": -1.0})
    with pytest.raises(ConfigError, match=r"weights\['iou'\] must be in \[0, 1e\+06\], got 1e\+308"):
        MixedReward(weights={"iou": 1e308})  # two of them would make a total infinite
    with pytest.raises(ConfigError) as problem:
        RewardConfig.from_mapping({"think_tag": "answer"})
    assert str(problem.value) == "answer_tag must differ from think_tag, got 'answer' for both"
    with pytest.raises(ConfigError, match="weights must name columns .* got 'char'"):
        MixedReward(config=RewardConfig(tasks={"chart": {"weights": {"char": 1.0}}}))
    for one in (ROWS[0], ROWS[0].model_dump()):
        with pytest.raises(TypeError, match="samples must be a sequence of rows, got one (Sample|dict)"):
            reward(["a"], one)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="completions must be a sequence of strings, got one str"):
        reward("abc", ROWS[:3])
    with pytest.raises(ConfigError, match="did you mean box_frame"):
        RewardConfig.from_mapping({"box_frames": "pixels"})
    with pytest.raises(ConfigError, match="tolerance"):
        RewardConfig.from_mapping({"tasks": {"chart": {"chart_tolerance": 3}}})


def test_threads_take_turns(parts: tuple[EmbeddingTable, Tokenizer]) -> None:
    """Trainers call a reward from many threads, each with rows that were not met before."""
    reward = MixedReward(*parts)
    rows = [row("chart", str(n), reward={"task_weight": 1.0 + n}) for n in range(600)]
    with ThreadPoolExecutor(8) as pool:
        totals = list(pool.map(lambda r: float(reward([tagged(str(r.answer))], [r]).total[0]), rows))
    assert totals == pytest.approx([1.1 + n for n in range(600)])
