"""What MixedReward promises of every batch: rows apart from one another, failures masked and counted, nothing
left behind. On a real tokenizer and table, and with the robust preset.
"""

from __future__ import annotations

import os
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mixed_r1.config import ConfigError
from mixed_r1.rewards import MixedReward, RewardBatch, RewardConfig, explain
from mixed_r1.schema import Sample
from mixed_r1_kernels import EmbeddingTable, Reason
from tests.rewards.captions import REFERENCES
from tests.rewards.minilm import parts

FIELDS = ("total", "values", "reasons", "mask", "weights", "spans")


def row(task: str, answer: Any, **fields: Any) -> Sample:
    return Sample(id=f"{task}-1", task=task, question="q", answer=answer, **fields)  # type: ignore[arg-type]


def tagged(answer: str) -> str:
    return f"<think>because</think><answer>{answer}</answer>"


GOLD_BOXES = [[10, 10, 50, 50], [60, 20, 90, 80], [5, 70, 30, 95]]
ROWS = [
    row("yes_no", "yes"),
    row("multiple_choice", "B", options=("red", "blue")),
    row("chart", "42"),
    row("math", "1/2"),
    row("grounding", GOLD_BOXES),
    row("grounding", GOLD_BOXES, reward={"box_score": "giou"}),
    row("grounding", GOLD_BOXES[0], reward={"box_score": "plus_one"}),
    row("open_ended", REFERENCES[0]),
    row("open_ended", REFERENCES[1], reward={"open_ended": {"preset": "robust"}}),
    row("chart", "nan"),  # masked
]
ANSWERS = [
    "yes", "blue", "43.1", "0.5", "[[11, 12, 53, 50], [58, 20, 91, 77], [0, 70, 31, 99]]",
    "[[58, 20, 91, 77], [11, 12, 53, 50]]", "[10, 11, 52, 50]", "A brown puppy plays with a ball.",
    "Children play in the sand by the sea.", "42", "\ud800", "", "[" * 5000, "x" * 1_100_000,
    "the " * 500, "no or yes", "[nan, 0, 1, 1]", "A" * 3, "9" * 400,
]  # fmt: skip


@pytest.fixture(scope="module", params=["plain", "robust"])
def reward(request: pytest.FixtureRequest) -> Iterator[MixedReward]:
    config = RewardConfig(open_ended={"preset": "robust"} if request.param == "robust" else {})
    made = MixedReward(*parts(), config=config, functions={"length": lengths})
    made.calibrate([row("open_ended", text) for text in REFERENCES])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield made


def lengths(completions: Any, answers: Any, samples: Any) -> list[float]:
    return [float(len(answer)) for answer in answers]


def pairs() -> tuple[list[str], list[Sample]]:
    """Every answer against every row, 190 in all."""
    return [tagged(answer) for answer in ANSWERS for _ in ROWS], ROWS * len(ANSWERS)


def assert_equal_bits(found: RewardBatch, expected: RewardBatch, order: Any = slice(None)) -> None:
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(found, name), getattr(expected, name)[order], strict=True)


@pytest.mark.parametrize("seed", range(3))
def test_order_changes_no_bit(reward: MixedReward, seed: int) -> None:
    texts, rows = pairs()
    together = reward(texts, rows)
    order = np.random.default_rng(seed).permutation(len(texts))
    assert_equal_bits(reward([texts[i] for i in order], [rows[i] for i in order]), together, order)


@pytest.mark.parametrize("size", [1, 2, 7, 64])
def test_batch_size_changes_no_bit(reward: MixedReward, size: int) -> None:
    texts, rows = pairs()
    if size == 1:  # a third of them one by one
        texts, rows = texts[::3], rows[::3]
    parts = [reward(texts[i : i + size], rows[i : i + size]) for i in range(0, len(texts), size)]
    assert_equal_bits(RewardBatch.concatenate(parts), reward(texts, rows))


def test_the_number_of_threads_changes_no_bit(reward: MixedReward, monkeypatch: pytest.MonkeyPatch) -> None:
    texts, rows = pairs()
    batches = []
    for threads in ("1", "2", "3", "8"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        batches.append(reward(texts, rows))
    for batch in batches[1:]:
        assert_equal_bits(batch, batches[0])


def test_calls_from_several_threads_change_no_bit(reward: MixedReward) -> None:
    texts, rows = pairs()
    expected = reward(texts, rows)
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda i: reward(texts[i::6], rows[i::6]), range(6)))
    for i, batch in enumerate(found):
        assert_equal_bits(batch, expected, slice(i, None, 6))


def test_every_method_from_several_threads(reward: MixedReward) -> None:
    """Rows not met before are compiled by whichever call comes first; none sees half a row, or a warning."""
    texts, rows = pairs()
    expected, filters = reward(texts, rows), list(warnings.filters)

    def work(i: int) -> None:
        new = [row("chart", str(1000 * i + k), reward={"task_weight": float(k)}) for k in range(40)]
        assert reward.check([*new, {"id": "x", "task": "no"}])[0][0] == 40
        assert explain(reward, tagged("43.1"), ROWS[2]).cells["chart"].value == 1.0
        reward.calibrate([row("open_ended", text) for text in REFERENCES])
        assert_equal_bits(reward(texts[i::8], rows[i::8]), expected, slice(i, None, 8))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert list(warnings.filters) == filters


@pytest.mark.parametrize("size", [2, 9, 33])
def test_a_poisoned_sample_changes_nothing_else(reward: MixedReward, size: int) -> None:
    """At every fifth place of a batch: a broken gold, a hostile completion, a failing user function's row."""
    texts, rows = pairs()
    texts, rows = texts[:size], rows[:size]
    clean = reward(texts, rows)
    poison = {"id": "p", "task": "chart", "question": "q", "answer": {"not": "a gold"}}
    for place in range(0, size, 5):
        kept = np.delete(np.arange(size), place)
        for text, gold in ((texts[place], poison), ("\ud800" + "<answer>" * 9000, rows[place])):
            batch = reward(
                [*texts[:place], text, *texts[place + 1 :]], [*rows[:place], gold, *rows[place + 1 :]]
            )
            for name in FIELDS:
                np.testing.assert_array_equal(getattr(batch, name)[kept], getattr(clean, name)[kept])


def test_padding_and_truncation_of_the_tokenizer_change_nothing() -> None:
    """Published tokenizers carry both; a padded reference would be compared by its padding."""
    table, tokenizer = parts()
    assert tokenizer.padding is not None and tokenizer.truncation is not None
    config = RewardConfig(format="none")
    long = " ".join(REFERENCES)
    golds = [row("open_ended", text) for text in (REFERENCES[0], long, REFERENCES[0])]
    texts = [REFERENCES[1], long, long]
    first = MixedReward(table, tokenizer, config=config)
    values = first(texts, golds).column("open_ended")
    assert first.open_ended is not None and len(first.open_ended.token_ids([long])[0]) > 128
    tokenizer.no_padding()
    tokenizer.no_truncation()
    again = MixedReward(table, tokenizer, config=config)
    tokenizer.enable_padding(length=512)  # what a trainer does to its tokenizer later
    np.testing.assert_array_equal(values, again(texts, golds).column("open_ended"))
    assert values[1] == 1.0 and values[2] < 1.0
    unpadded = again([REFERENCES[1]], golds[:1]).column("open_ended")
    assert values[0] == unpadded[0] < 0.75


SCORES = st.one_of(
    st.none(),
    st.floats(),
    st.integers(-(10**400), 10**400),
    st.booleans(),
    st.text(max_size=3),
    st.just([1.0]),
    st.just(np.float32(0.5)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(SCORES, min_size=6, max_size=6))
def test_scores_of_a_users_function(scores: list[Any]) -> None:
    """A number counts, None is not applicable, anything else masks its row; the others keep every bit."""
    rows, texts = ROWS[:3] * 2, [tagged("yes"), tagged("B"), tagged("42")] * 2
    plain = MixedReward()(texts, rows)
    batch = MixedReward(functions={"mine": lambda c, a, s: scores}, weights={"mine": 0.25})(texts, rows)
    k = batch.names.index("mine")
    for i, score in enumerate(scores):
        number = _number(score)
        assert batch.mask[i] == (score is None or number is not None)
        expected = plain.total[i] if score is None else np.nan if number is None else None
        if expected is None:
            expected = (plain.values[i, 0:5][~np.isnan(plain.values[i, 0:5])] * 0.9).sum() + 0.25 * number
            assert batch.values[i, k] == number
            assert batch.total[i] == pytest.approx(expected + 0.1, rel=1e-12, nan_ok=False)
        else:
            np.testing.assert_array_equal(batch.total[i], expected)
    failed = sum(score is not None and _number(score) is None for score in scores)
    assert batch.reason_counts()["mine"].get("INTERNAL_ERROR", 0) == failed
    shares = batch.shares()
    assert all(np.isfinite(share) for share in shares.values())


def _number(score: Any) -> float | None:
    if isinstance(score, (bool, int, float, np.floating)):
        try:
            return float(score) if abs(float(score)) <= 1e12 else None
        except OverflowError:
            return None
    return None


@pytest.mark.parametrize("score", [1e308, -1e308, 1.1e12, 10**300])
def test_no_total_that_counts_overflows(score: float) -> None:
    """Finite scores whose weighted sum would not be: the row is masked and counted."""
    functions = {"one": lambda c, a, s: [score, 1e12], "two": lambda c, a, s: [-score, 1e12]}
    reward = MixedReward(functions=functions, weights={"one": 1e6, "two": 1e6})
    with np.errstate(all="raise"):
        batch = reward([tagged("yes")] * 2, ROWS[:1] * 2)
        shares = batch.shares()
    assert batch.mask.tolist() == [False, True] and np.isnan(batch.total[0])
    assert batch.total[1] == 2e18 + 1.0 and np.isfinite(np.float32(batch.total[1]) ** 2)
    assert batch.reason_counts()["one"] == {"OK": 1, "INTERNAL_ERROR": 1}
    assert shares["one"] == shares["two"] == 0.5


def raising(completions: Any, answers: Any, samples: Any) -> list[float]:
    raise RuntimeError("of the user")


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (raising, "RuntimeError: of the user"),
        (lambda c, a, s: [0.5], r"scores must be one per completion \(2\), got 1"),
        (lambda c, a, s: None, "TypeError"),
        (lambda c, a, s: 1 / 0, "ZeroDivisionError"),
    ],
)
def test_a_users_function_that_fails_masks_its_batch(function: Any, says: str) -> None:
    reward = MixedReward(functions={"mine": function, "good": lengths})
    with pytest.warns(UserWarning, match=f"mine masks a batch, it raised .*{says}"):
        batch = reward([tagged("yes"), tagged("no")], ROWS[:1] * 2)
    assert not batch.mask.any() and np.isnan(batch.total).all()
    assert batch.reason_counts()["mine"] == {"INTERNAL_ERROR": 2}
    assert batch.column("good").tolist() == [3.0, 2.0] and batch.column("matching").tolist() == [1.0, 0.0]


def test_interrupts_are_not_swallowed() -> None:
    def interrupted(completions: Any, answers: Any, samples: Any) -> list[float]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        MixedReward(functions={"mine": interrupted})([tagged("yes")], ROWS[:1])


def test_degenerate_tables() -> None:
    """Zero-norm rows are similar to nothing; a row that is not finite, or a missing one, is an error."""
    table, tokenizer = parts()
    dead = np.zeros_like(table.rows)
    batch = MixedReward(EmbeddingTable(dead), tokenizer)([tagged("a dog")], [ROWS[7]])
    assert batch.column("open_ended")[0] == 0.0
    assert batch.reason_counts()["open_ended"] == {"DEGENERATE": 1} and batch.mask[0]
    broken = table.rows.copy()
    broken[17, 3] = np.nan
    with pytest.raises(ValueError, match="got norm nan in row 17"):
        EmbeddingTable(broken)
    with pytest.raises(ValueError, match="table must have a row for each of .* 30522 ids, got 100"):
        MixedReward(EmbeddingTable(table.rows[:100].copy()), tokenizer)


def test_statistics(reward: MixedReward) -> None:
    texts, rows = pairs()
    batch = reward(texts, rows)
    shares, means, counts = batch.shares(), batch.means(), batch.reason_counts()
    assert sum(shares.values()) == pytest.approx(1.0) and set(shares) == set(batch.names)
    weighted = np.nansum(batch.values * batch.weights, axis=1)[batch.mask]
    assert float(np.nansum(batch.total)) == pytest.approx(float(weighted.sum()))
    for k, name in enumerate(batch.names):
        scored = batch.values[:, k][~np.isnan(batch.values[:, k])]
        assert means[name] == pytest.approx(float(scored.mean()))
        applicable = int((batch.reasons[:, k] != Reason.NOT_APPLICABLE).sum())
        assert sum(counts[name].values()) == applicable
    assert counts["chart"]["BAD_GOLD"] == len(ANSWERS)


def test_settings_by_task_and_row_in_yaml(tmp_path: Any) -> None:
    (tmp_path / "reward.yaml").write_text(
        "format: answer\n"
        "weights: {iou: 0.5}\n"
        "tasks:\n"
        "  chart: {chart_tolerance: 0.2, format_weight: 0.0}\n"
        "  grounding: {box_score: threshold, box_threshold: 0.4, weights: {format: 0.25}}\n"
    )
    reward = MixedReward(config=RewardConfig.load(tmp_path / "reward.yaml", ["tasks.math.task_weight=2.0"]))
    assert RewardConfig.load(tmp_path / "reward.yaml").tasks["chart"]["chart_tolerance"] == 0.2
    rows = [ROWS[2], ROWS[2].model_copy(update={"reward": {"chart_tolerance": 0.01}}), ROWS[3], ROWS[6]]
    texts = [f"<answer>{a}</answer>" for a in ("50", "43", "0.5", "[10, 10, 50, 30]")]
    batch = reward(texts, rows)
    assert batch.values[[0, 1, 2, 3], [1, 1, 2, 3]].tolist()[:3] == [1.0, 0.0, 1.0]
    np.testing.assert_allclose(batch.total[:3], [0.9, 0.0, 2.1])
    assert batch.weights[3].tolist()[3] == 0.5 and batch.weights[3, -1] == 0.25


def test_overrides_of_nested_settings_change_what_they_name() -> None:
    config = RewardConfig.from_mapping(
        {
            "weights": {"iou": 0.5},
            "open_ended": {"preset": "robust", "combine": "mean"},
            "tasks": {"open_ended": {"weights": {"chart": 2.0}, "open_ended": {"repetition_penalty": 3}}},
        }
    )
    base, by_task = config.open_ended, config.for_task("open_ended").open_ended
    assert by_task == base.model_copy(update={"repetition_penalty": 3}) and by_task.preset == "robust"
    assert config.for_task("chart") is config  # nothing there is changed
    row = {"weights": {"format": 0.25}, "open_ended": {"idf": False}}
    by_row = config.for_task("open_ended", row)
    assert by_row.weights == {"iou": 0.5, "chart": 2.0, "format": 0.25}
    assert by_row.open_ended == by_task.model_copy(update={"idf": False})
    for preset in ({"preset": None}, {"preset": "robust"}, {"preset": "robust", "idf": False}):
        named = config.for_task("open_ended", {"open_ended": preset}).open_ended
        assert named == type(named).from_mapping(preset)
    plain = RewardConfig().for_task("open_ended", {"open_ended": {"preset": "robust"}}).open_ended
    assert plain.idf and plain.combine == "min" and plain.repetition_penalty == 2
    for bad in ({"no_such": 1}, {"repetition_penalty": 0}, 3):
        with pytest.raises(ConfigError, match="open_ended"):
            config.for_task("open_ended", {"open_ended": bad})


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_fork_during_calls_leaves_a_usable_reward(reward: MixedReward) -> None:
    """A forked child scores as its parent does, whatever the parent's threads were at."""
    texts, rows = pairs()
    expected, stop = reward(texts, rows), threading.Event()

    def work() -> None:
        while not stop.is_set():
            reward(texts[:50], rows[:50])

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(8):
            child = os.fork()
            if child == 0:
                same = np.array_equal(
                    reward(texts[:20], rows[:20]).total, expected.total[:20], equal_nan=True
                )
                os._exit(0 if same else 1)
            _, status = os.waitpid(child, 0)
            assert os.waitstatus_to_exitcode(status) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def flat_after(reward: MixedReward, batches: int, rows_of: Any) -> None:
    """Memory, files and threads at the end of ``batches`` are those of their first fifth."""
    process = psutil.Process()
    after: list[tuple[int, int, int]] = []
    for i in range(batches):
        reward([tagged("A brown puppy."), tagged(str(i)), tagged("[1, 2, 3, 4]")], rows_of(i))
        if i in (batches // 5, batches - 1):
            after.append((process.memory_info().rss, process.num_fds(), process.num_threads()))
    (rss, fds, threads), (last_rss, last_fds, last_threads) = after
    assert last_rss - rss < 16 << 20
    assert (last_fds, last_threads) == (fds, threads)


def some_rows(i: int) -> list[Any]:
    """Rows met before, new ones, and new references."""
    answer = {"id": str(i), "task": "chart", "question": "q", "answer": str(i % 997)}
    return [row("open_ended", f"{REFERENCES[i % 24]} {i % 50}"), answer, ROWS[4]]


def test_many_batches_leave_nothing_behind(reward: MixedReward) -> None:
    flat_after(reward, 2_000, some_rows)


@pytest.mark.slow
def test_a_hundred_thousand_batches_leave_nothing_behind() -> None:
    flat_after(MixedReward(*parts()), 100_000, some_rows)
