"""Rules by which other projects read answers, written down from how they behave: oracles for our own readers.

Each is a few lines of plain Python without any of our code. None of it is theirs: what is kept is what they
do, with the limits that their documentation and public discussions name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

__all__ = ["lmms_eval_letter", "relaxed_accuracy", "vlm_r1_iou", "vlmevalkit_letter"]

SEPARATORS = re.compile(r"[.()\[\],:;!*#{}]")


def vlmevalkit_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """VLMEvalKit's rule-based match: the one letter that stands as a word of its own, else the one option
    whose text occurs. A lone A in a longer answer is taken for an article. None where a judge model is asked.
    """
    words = SEPARATORS.sub(" ", answer).split()
    letters = [letter for letter in options if letter in words]
    if len(letters) == 1:
        return None if letters[0] == "A" and len(words) > 3 else letters[0]
    if letters:
        return None
    texts = [letter for letter, text in options.items() if text.lower() in answer.lower()]
    return texts[0] if len(texts) == 1 else None


def lmms_eval_letter(answer: str, options: Mapping[str, str]) -> str | None:
    """The rule of MMMU in lmms-eval: letters in brackets, else between spaces, else before a full stop, else,
    of more than five words, the texts; of several the last. None where it draws one at random.
    """
    padded = f" {answer.strip(',.!?;:' + chr(39))} "
    for form in ("({})", " {} ", "{}."):
        places = {letter: padded.rfind(form.format(letter)) for letter in options}
        found = {letter: at for letter, at in places.items() if at >= 0}
        if found:
            return max(found, key=lambda letter: found[letter])
    if len(padded.split()) > 5:
        places = {letter: padded.lower().rfind(text.lower()) for letter, text in options.items()}
        found = {letter: at for letter, at in places.items() if at >= 0}
        if found:
            return max(found, key=lambda letter: found[letter])
    return None


def relaxed_accuracy(answer: str, golds: Sequence[str], tolerance: float = 0.05) -> bool:
    """ChartQA's published measure (arXiv 2203.10244, section 5.1): a number within 5% of the gold, else the
    same text in any case. A percentage is its hundredth; a gold of 0 is compared as text.
    """
    return any(_relaxed(answer, gold, tolerance) for gold in golds)


def _relaxed(answer: str, gold: str, tolerance: float) -> bool:
    value, wanted = _number(answer), _number(gold)
    if value is not None and wanted:
        return abs(value - wanted) / abs(wanted) <= tolerance
    return answer.lower() == gold.lower()


def _number(text: str) -> float | None:
    try:
        return float(text[:-1]) / 100.0 if text.endswith("%") else float(text)
    except ValueError:
        return None


def vlm_r1_iou(completion: str, gold: Sequence[float]) -> float | None:
    """VLM-R1: the first four whole numbers in square brackets within ``<answer>``, against one gold box, in
    pixels of which the last of each side is left out; an overlap of a pixel or less is none. None without a
    box. Its first release pays 1 above 0.5, its present one pays the number.
    """
    body = completion.partition("<answer>")[2].partition("</answer>")[0]
    places = (re.match(r"\[(\d+(?:,\s*\d+){3})\]", body[i:]) for i in range(len(body)))
    found = next((place for place in places if place), None)
    if found is None:
        return None
    box = [int(number) for number in found[1].split(",")]
    sides = [min(box[k + 2], gold[k + 2]) - max(box[k], gold[k]) for k in (0, 1)]
    shared = sides[0] * sides[1] if min(sides) > 1 else 0
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (box, gold)]
    return shared / (areas[0] + areas[1] - shared)
