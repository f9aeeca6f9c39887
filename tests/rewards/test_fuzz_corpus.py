"""What the fuzzer kept, replayed: the native implementation agrees with the reference on it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify

CORPUS = sorted((Path(__file__).resolve().parents[1] / "fuzz" / "corpus").glob("*.hex"))
OPEN = VerifySettings(format="none")
GOLDS = {
    "yes_no": [compile_gold("yes_no", "no", settings=OPEN)],
    "choice": [compile_gold("multiple_choice", "B", options=["a cat", "A dog.", "x"], settings=OPEN)],
    "chart": [compile_gold("chart", gold, settings=OPEN) for gold in ("42", "20%", "\u00c5land")],
    "list": [compile_gold("chart", ("1", "2,000", "red"), settings=OPEN)],
    "math": [compile_gold("math", gold, settings=OPEN) for gold in ("7", "[1,\\infty)\\cup\\{0\\}")],
    "boxes": [compile_gold("grounding", None, settings=OPEN)],
    "format": [compile_gold("open_ended", None), compile_gold("open_ended", None, settings=OPEN)],
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


def test_every_target_has_a_corpus() -> None:
    assert {path.stem for path in CORPUS} == set(GOLDS)
