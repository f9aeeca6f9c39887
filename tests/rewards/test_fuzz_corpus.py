"""What the fuzzer kept, replayed: the native implementation agrees with the reference on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixed_r1_kernels import Reason
from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify

FOLDER = Path(__file__).resolve().parents[1] / "fuzz" / "corpus"
CORPUS = sorted(FOLDER.glob("*.hex"))
OPEN = VerifySettings(format="none")
GOLDS = {
    "yes_no": [compile_gold("yes_no", "no", settings=OPEN)],
    "choice": [compile_gold("multiple_choice", "B", options=["a cat", "A dog.", "x"], settings=OPEN)],
    "chart": [compile_gold("chart", gold, settings=OPEN) for gold in ("42", "20%", "\u00c5land")],
    "list": [compile_gold("chart", ("1", "2,000", "red"), settings=OPEN)],
    "math": [compile_gold("math", gold, settings=OPEN) for gold in ("7", "[1,\\infty)\\cup\\{0\\}")],
    "boxes": [compile_gold("grounding", None, settings=OPEN)],
    "format": [compile_gold("open_ended", None), compile_gold("open_ended", None, settings=OPEN)],
    "gold": [compile_gold("chart", "0.5", settings=OPEN), compile_gold("math", "0.5", settings=OPEN)],
}


@pytest.mark.parametrize("path", CORPUS, ids=[path.stem for path in CORPUS])
def test_native_equals_reference_on_the_corpus(path: Path) -> None:
    inputs = [bytes.fromhex(line)[1:] for line in path.read_text().split()]
    texts = [
        data.decode(errors="surrogateescape") for data in inputs
    ]  # invalid bytes arrive as lone surrogates
    assert len(texts) >= 20
    for gold in GOLDS[path.stem]:
        native, reference = (
            verify(texts, [gold], gold_of=[0] * len(texts), impl=impl) for impl in ("native", "reference")
        )
        for name, left, right in zip(native._fields, native, reference, strict=True):
            np.testing.assert_array_equal(left, right, err_msg=name)


@pytest.mark.parametrize("task", ["chart", "math", "multiple_choice"])
def test_golds_of_the_corpus(task: str) -> None:
    """Both implementations take the same texts as golds, and each is the answer to itself."""
    inputs = [bytes.fromhex(line)[1:] for line in (FOLDER / "gold.hex").read_text().split()]
    texts = [data.decode(errors="surrogateescape") for data in inputs]
    for text in texts:
        options = (text, "x") if task == "multiple_choice" else ()
        gold = compile_gold(task, "A" if options else text, options=options, settings=OPEN)
        assert gold.native.valid == (gold.error is None)
        native, reference = (verify([text], [gold], impl=impl) for impl in ("native", "reference"))
        np.testing.assert_array_equal(native.task_value, reference.task_value)
        if gold.error is None and not options and native.task_reason[0] != Reason.TOO_LONG:
            assert native.task_value[0] == 1.0


def test_every_target_has_a_corpus() -> None:
    assert {path.stem for path in CORPUS} == set(GOLDS)
