"""What verify promises whatever the completions are: rows that do not know of one another, the GIL given up,
strings read in place, no recursion, numbers in no time.

Where each fault of a completion is injected: random bytes in tests/fuzz and test_fuzz_corpus; invalid text,
sizes and tags in test_verify_format; floods in test_verify_worst_cases; empty and ambiguous answers and bad
golds in test_verify_matching; numbers in test_verify_chart; depth, duplicate keys and broken boxes in
test_verify_boxes; hollow answers, box spam and hollow captions in test_exploits; a million digits or boxes
and little stack here.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import CompiledGold, VerifyResult, VerifySettings, compile_gold, verify
from tests.rewards.completion_pieces import BRACKETS, MATH, NUMBERS, SHAPES, TAGS, WORDS

GOLDS = [
    compile_gold("yes_no", "yes"),
    compile_gold("yes_no", "maybe"),  # a bad one
    compile_gold("multiple_choice", "B", options=("a cat", "a dog", "x")),
    compile_gold("chart", "42"),
    compile_gold("chart", "caf\xe9", settings=VerifySettings(chart_text="anls", chart_score="graded")),
    compile_gold("chart", ("1", "2,000", "red")),
    compile_gold("math", "\\frac{1}{2}"),
    compile_gold("grounding", None),
    compile_gold("open_ended", None, settings=VerifySettings(format="none")),
]
POISON = [
    "\ud800", "<answer>\0</answer>", "", "[" * 10_000, "x" * ((1 << 20) + 1), "<answer>" * 1000,
    "<think></think><answer>" + "\u0301\u0323" * 500 + "</answer>", "<answer>" + "[0,0,1,1]" * 300,
]  # fmt: skip


def mixed_batch(count: int) -> tuple[list[str], list[CompiledGold]]:
    """Completions of every shape and task, poisoned ones among them."""
    rng = np.random.default_rng(11)
    pieces = [*NUMBERS, *WORDS, *BRACKETS, *TAGS, *MATH, "[[1, 2, 3, 4]]", "yes", "B", "42", "1/2"]
    texts = []
    for i in range(count):
        answer = " ".join(pieces[k] for k in rng.integers(len(pieces), size=rng.integers(1, 6)))
        texts.append(POISON[i % len(POISON)] if i % 9 == 0 else SHAPES[i % len(SHAPES)].format(answer))
    return texts, [GOLDS[k] for k in rng.integers(len(GOLDS), size=count)]


def rows_of(result: VerifyResult) -> list[tuple[Any, ...]]:
    """Each row as bytes, its boxes with it."""
    boxes = np.split(result.boxes, np.cumsum(result.box_counts)[:-1]) if len(result.box_counts) else []
    columns = (*result[:5], result.box_counts)
    return [(*(column[i].tobytes() for column in columns), box.tobytes()) for i, box in enumerate(boxes)]


def test_values_depend_on_nothing_else(impl: str) -> None:
    """Bit-equal in any order, in batches of any size, beside poisoned rows, and from many threads at once."""
    texts, golds = mixed_batch(360)
    expected = rows_of(verify(texts, golds, impl=impl))
    assert len({row for row in expected}) > 60  # they do differ
    order = np.random.default_rng(5).permutation(len(texts)).tolist()
    shuffled = rows_of(verify([texts[i] for i in order], [golds[i] for i in order], impl=impl))
    assert shuffled == [expected[i] for i in order]
    for size in (1, 7, 64):
        parts = [slice(i, i + size) for i in range(0, len(texts), size)]
        pieces = [row for part in parts for row in rows_of(verify(texts[part], golds[part], impl=impl))]
        assert pieces == expected
    for count in (2, 8):
        with ThreadPoolExecutor(count) as pool:
            calls = list(pool.map(lambda _: rows_of(verify(texts, golds, impl=impl)), range(2 * count)))
        assert all(rows == expected for rows in calls)


@pytest.mark.parametrize("size", [2, 5, 17])
def test_a_poisoned_row_changes_no_other(impl: str, size: int) -> None:
    texts, golds = mixed_batch(size)
    texts[0] = "<think>a</think><answer>7</answer>"
    clean = rows_of(verify(texts, golds, impl=impl))
    for at in range(size):
        for poison in POISON:
            poisoned = rows_of(verify([*texts[:at], poison, *texts[at + 1 :]], golds, impl=impl))
            assert poisoned[:at] == clean[:at] and poisoned[at + 1 :] == clean[at + 1 :]


def test_other_threads_run_while_a_batch_is_scored() -> None:
    """A second Python thread ticks all through one call; were the GIL held, its ticks would leave a gap as
    long as the call.
    """
    text = "<think>" + "<" * 1_000_000 + "</think><answer>yes</answer>"
    ticks, done = [time.perf_counter()], threading.Event()

    def tick() -> None:
        while not done.wait(0.001):
            ticks.append(time.perf_counter())

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    result = verify([text] * 100, GOLDS[:1], gold_of=np.zeros(100, np.int64), impl="native")
    end = time.perf_counter()
    done.set()
    thread.join()
    assert (result.task_value == 1.0).all() and end - start > 0.05
    seen = [start, *(t for t in ticks if start < t < end), end]
    assert len(seen) > 10 and np.diff(seen).max() < (end - start) / 2


def test_strings_are_read_in_place() -> None:
    """Sixty-four megabytes of text take no memory to score."""
    script = (
        "from pathlib import Path\n"
        "from mixed_r1_kernels.verify import compile_gold, verify\n"
        "def resident(key):\n"
        "    lines = Path('/proc/self/status').read_text().splitlines()\n"
        "    return next(int(line.split()[1]) for line in lines if line.startswith(key))\n"
        "ends = '</think><answer>yes</answer>'\n"
        "texts = ['<think>' + chr(97 + i % 26) * 262_000 + ends for i in range(256)]\n"
        "golds = [compile_gold('yes_no', 'yes')]\n"
        "verify(texts[:1], golds, gold_of=[0], impl='native')\n"
        "before = resident('VmHWM')\n"
        "result = verify(texts, golds, gold_of=[0] * 256, impl='native')\n"
        "assert (result.task_value == 1.0).all()\n"
        "print(resident('VmHWM') - before)\n"
    )
    if not Path("/proc/self/status").exists():
        pytest.skip("needs /proc")
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 4096  # KiB


def test_depth_takes_no_stack() -> None:
    """128 KiB of stack are enough for 10^5 brackets, braces and parentheses, in boxes, boxed and math."""
    script = (
        "from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify\n"
        "limits = dict(max_depth=1 << 20, max_answer_bytes=1 << 20)\n"
        "boxed = compile_gold('math', '7', settings=VerifySettings(format='boxed', **limits))\n"
        "golds = [compile_gold('grounding', None), compile_gold('math', '7'), boxed,\n"
        "         compile_gold('grounding', None, settings=VerifySettings(**limits))]\n"
        "texts = [f'<answer>{c * 100_000}</answer>' for c in ('[', '{', '(', '[[{\"a\":')]\n"
        "texts += ['\\\\boxed{' + c * 100_000 + '}' * 100_001 for c in ('{', '({')]\n"
        "for gold in golds:\n"
        "    for impl in ('native', 'reference'):\n"
        "        found = verify(texts, [gold], gold_of=[0] * len(texts), impl=impl)\n"
        "        assert (found.task_value == 0.0).all()\n"
        "        print(*found.task_reason.tolist())\n"
    )
    command = ["sh", "-c", 'ulimit -s 128 && exec "$0" -c "$1"', sys.executable, script]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    native, reference = done.stdout.splitlines()[::2], done.stdout.splitlines()[1::2]
    assert native == reference and len(native) == 4
    assert native[0].split()[:2] == [str(int(Reason.TOO_DEEP))] * 2


def test_a_million_boxes(impl: str) -> None:
    settings = VerifySettings(format="none", max_bytes=1 << 24)
    gold = compile_gold("grounding", None, settings=settings)
    for box, reason in (("[0,0,9,9]", Reason.TOO_MANY_ITEMS), ("[9,9,0,0]", Reason.BAD_BOX)):
        result = verify([box * 10**6], [gold], impl=impl)
        assert (result.task_value[0], result.task_reason[0], len(result.boxes)) == (0.0, reason, 0)
    default = verify(["[0,0,9,9]" * 10**6], [compile_gold("grounding", None)], impl=impl)
    assert default.task_reason[0] == Reason.TOO_LONG


@pytest.mark.parametrize("text", ["9" * 10**6, "0." + "0" * 10**6 + "1", "1e" + "9" * 10**6, "1_" * 500_000])
@pytest.mark.parametrize("task", ["chart", "math"])
def test_a_million_digits_take_two_milliseconds(task: str, text: str) -> None:
    gold = compile_gold(task, "42", settings=VerifySettings(format="none"))
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        result = verify([text], [gold], impl="native")
        best = min(best, time.process_time() - start)
    assert result.task_value[0] == 0.0 and best <= 0.002


def test_every_reason_is_an_honest_zero(impl: str) -> None:
    """A value is above 0 with OK only, and NaN only where the row is masked or not yet scored."""
    texts, golds = mixed_batch(360)
    result = verify(texts, golds, impl=impl)
    fine = result.task_reason == Reason.OK
    pending = np.array([gold.spec.task in ("grounding", "open_ended") for gold in golds])
    masked = result.task_reason == Reason.BAD_GOLD
    assert (result.task_value[~fine & ~masked] == 0.0).all()
    assert np.isnan(result.task_value[masked | (fine & pending)]).all()
    known = result.task_value[fine & ~pending]
    assert ((known > 0.0) & (known <= 1.0)).all()
    assert set(Reason) >= {Reason(r) for r in result.task_reason.tolist()}
