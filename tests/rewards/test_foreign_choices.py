"""Multiple choice against the rules of VLMEvalKit and lmms-eval, on 2,760 answers made from templates.

Where both of them name one option, ours names it too, but for the templates of ``EXCEPTIONS``, each with the
reason. Where they disagree or name none, ours names the option that was meant, or none, and never another.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from foreign_rules import lmms_eval_letter, vlmevalkit_letter

from mixed_r1_kernels.verify import VerifySettings, compile_gold, verify

LETTERS = "ABCD"
OPTIONS = (
    ("red", "blue", "green", "yellow"),
    ("a cat", "a dog", "a bird", "a fish"),
    ("The left lane", "The right lane", "The sidewalk", "The median"),
    ("12", "15", "18", "21"),
    ("3.5 m", "4.0 m", "4.5 m", "5.0 m"),
    ("Paris, France", "Berlin, Germany", "Rome, Italy", "Madrid, Spain"),
    ("2010", "2011", "2012", "2013"),
    ("25%", "35%", "45%", "55%"),
    ("parallelogram", "trapezoid", "rhombus", "kite"),
    ("to the north", "to the south", "to the east", "to the west"),
    ("mitosis", "meiosis", "osmosis", "diffusion"),
    ("It sinks", "It floats", "It melts", "It evaporates"),
    ("iron", "copper", "zinc", "lead"),
    ("30 degrees", "45 degrees", "60 degrees", "90 degrees"),
    ("Mark Twain", "Jane Austen", "Leo Tolstoy", "Emily Bronte"),
)
MEANT = {  # {L}, {T}: the option that is meant; {M}, {U}: another one
    "letter": "{L}", "bracket": "({L})", "stop": "{L}.", "closing bracket": "{L})", "colon": "{L}:",
    "square": "[{L}]", "braces": "{{{L}}}", "bold": "**{L}**", "bold bracket": "**({L})**",
    "letter and text": "{L}. {T}", "bracket and text": "({L}) {T}", "colon and text": "{L}: {T}",
    "closing bracket and text": "{L}) {T}", "bold letter and text": "**{L}. {T}**",
    "the answer is": "The answer is {L}", "the answer is, stop": "The answer is {L}.",
    "the answer is, bracket": "The answer is ({L}).", "the correct answer is": "The correct answer is {L}.",
    "the correct answer is, text": "The correct answer is {L}. {T}.", "answer": "Answer: {L}",
    "answer, bracket": "Answer: ({L})", "answer and text": "Answer: {L}. {T}", "final": "Final answer: {L}",
    "option": "Option {L}", "option in a sentence": "The correct option is {L}.",
    "line break": "{L}\nThe picture shows it.", "line break, text": "{L}\n{T}",
    "clause": "{L}, because of what the picture shows.",
    "so": "So the answer is ({L}).", "therefore": "Therefore, the answer is {L}.",
    "i choose": "I choose option {L}.", "text": "{T}", "text, stop": "{T}.", "text, bold": "**{T}**",
    "text in a sentence": "The answer is {T}.", "boxed": "\\boxed{{{L}}}",
    "lower": "{l}", "lower bracket": "({l})",
}  # fmt: skip
NONE_MEANT = {
    "two": "{L} or {M}", "two in brackets": "({L}) and ({M})", "letter of one, text of another": "{L}. {U}",
    "every letter": "A, B, C, D", "refusal": "I cannot tell from the picture.",
    "only denied": "It is not {L}.", "two answers": "The answer is {L}. The answer is {M}.",
    "all": "All of the above",
}  # fmt: skip
TEMPLATES = MEANT | NONE_MEANT
EXCEPTIONS = {
    "letter of one, text of another": "both rules see the letter alone; an answer that contradicts itself "
    "names nothing, or a policy is paid for naming two options at once",
    "only denied": "both rules see a letter in a sentence, whatever the sentence says of it; who denies an "
    "option has not chosen it",
}


def cases() -> list[tuple[str, int, int, str]]:
    """(template, options, place of the letter, answer)."""
    made = []
    for name, template in TEMPLATES.items():
        for o, texts in enumerate(OPTIONS):
            for i, letter in enumerate(LETTERS):
                k = (i + 1) % 4
                fields = {"L": letter, "l": letter.lower(), "T": texts[i], "M": LETTERS[k], "U": texts[k]}
                made.append((name, o, i, template.format(**fields)))
    return made


@pytest.fixture(scope="module")
def named() -> list[set[str]]:
    """The golds that each answer is paid for."""
    golds = [
        compile_gold("multiple_choice", letter, options=texts, settings=VerifySettings(format="none"))
        for texts in OPTIONS
        for letter in LETTERS
    ]
    made = cases()
    answers = [answer for *_, answer in made for _ in LETTERS]
    gold_of = np.array([4 * o + k for _, o, _, _ in made for k in range(4)])
    paid = verify(answers, golds, gold_of=gold_of).task_value.reshape(-1, 4) == 1.0
    return [{letter for letter, yes in zip(LETTERS, row, strict=True) if yes} for row in paid]


def test_there_are_2760() -> None:
    assert len(cases()) == 2760 and set(EXCEPTIONS) <= set(TEMPLATES)


def test_what_both_rules_name_is_named_here(named: list[set[str]]) -> None:
    differ: dict[str, Any] = {}
    both, excused = 0, set()
    for (name, o, _, answer), ours in zip(cases(), named, strict=True):
        options = dict(zip(LETTERS, OPTIONS[o], strict=True))
        one, other = vlmevalkit_letter(answer, options), lmms_eval_letter(answer, options)
        if one is None or one != other:
            continue
        both += 1
        if ours != {one} and name in EXCEPTIONS:
            excused.add(name)
        elif ours != {one}:
            differ.setdefault(name, []).append((answer, one, ours))
    assert differ == {} and both > 1000 and excused == set(EXCEPTIONS)


def test_what_was_meant_is_named_and_nothing_else(named: list[set[str]]) -> None:
    differ: dict[str, Any] = {}
    for (name, _, i, answer), ours in zip(cases(), named, strict=True):
        expected = {LETTERS[i]} if name in MEANT else set()
        if ours != expected:
            differ.setdefault(name, []).append((answer, expected, ours))
    assert differ == {}
