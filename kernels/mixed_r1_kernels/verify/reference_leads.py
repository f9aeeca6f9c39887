"""Words before an answer: "The answer is", "Therefore,", "The value of x is", and their Chinese twins.

A lead is taken off for every text task that asks for it. What a sentence states ("The value of x is 5") is a
second try, of charts and math, and of options by value: where the whole text is no number, what follows the
last "is" or colon, in Chinese too, may be one. Not behind a denial, a condition or a guess ("not", "if",
"could"), nor where the words before it hold a number, but for the one year of "In 2015 it was 42".
"""

from __future__ import annotations

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_reading import SPACE, letters_end, normal, read_text, skip
from mixed_r1_kernels.verify.reference_text import NEGATIONS

__all__ = ["after_lead", "read_answer", "stated"]

STARTERS = frozenset(("so", "thus", "therefore", "hence", "finally", "then"))
QUALIFIERS = frozenset(("correct", "right", "final", "best", "my", "short", "only"))
NOUNS = frozenset(("answer", "result"))
LINKS = frozenset(("is", "was", "equals"))
WIDE_STARTERS = (
    "\u6240\u4ee5", "\u56e0\u6b64", "\u7efc\u4e0a\u6240\u8ff0", "\u7efc\u4e0a", "\u6545", "\u5219",
)  # fmt: skip
WIDE_QUALIFIERS = (
    "\u6b63\u786e", "\u6700\u7ec8", "\u6700\u540e", "\u672c\u9898", "\u8be5\u9898", "\u53c2\u8003", "\u7684",
)  # fmt: skip
WIDE_ANSWER = "\u7b54\u6848"
WIDE_LINKS = ("\u5e94\u8be5\u662f", "\u5e94\u662f", "\u5e94\u4e3a", "\u662f", "\u4e3a")
MAX_WIDE_QUALIFIERS = 3

STATING = frozenset(("is", "are", "was", "were", "equals"))
WIDE_STATING = ("\u7b49\u4e8e", "\u662f", "\u4e3a", "\u5171")
UNSTATED = NEGATIONS | frozenset(
    ("no", "or", "either", "if", "whether", "unless", "except", "than", "false", "wrong", "incorrect",
     "hardly", "unlikely", "could", "might", "may", "maybe", "perhaps", "possibly", "opposite", "doubt")
)  # fmt: skip
WIDE_UNSTATED = "\u4e0d\u975e\u6ca1\u65e0\u6216"
MAX_HEAD = 200
SIGNS = ("minus ", "negative ")


def read_answer(answer: str, box: str, *, lead: bool) -> tuple[Reason, str]:
    """What ``answer`` commits to, normalised; with ``lead``, what follows such words as "The answer is"."""
    reason, text = read_text(answer, box)
    if lead and (end := after_lead(text, NOUNS)):
        text = normal(text[end:]) or text
    return reason, text


def after_lead(text: str, nouns: frozenset[str]) -> int:
    """Where ``text`` goes on after ``[so] [the] [correct] answer [is] [:]``; 0 without such a lead.

    Without "is" there must be a colon, a line break or an equals sign.
    """
    i = skip(text, 0, SPACE + "*_#")
    word, end = _word(text, i)
    if word in STARTERS:
        i = skip(text, end, SPACE + ",")
        word, end = _word(text, i)
    if word == "the":
        word, end = _word(text, skip(text, end, SPACE))
    if word in QUALIFIERS:
        word, end = _word(text, skip(text, end, SPACE))
    if word not in nouns:
        return _after_wide_lead(text)
    link, link_end = _word(text, skip(text, end, SPACE + "*_"))
    return _marked(text, link_end if link in LINKS else end, link in LINKS)


def _after_wide_lead(text: str) -> int:
    i = skip(text, 0, SPACE + "*_#")
    if end := _one_of(text, i, WIDE_STARTERS):
        i = skip(text, end, SPACE + ",")
    for _ in range(MAX_WIDE_QUALIFIERS):
        i = _one_of(text, i, WIDE_QUALIFIERS) or i
    if not text.startswith(WIDE_ANSWER, i):
        return 0
    end = i + len(WIDE_ANSWER)
    link_end = _one_of(text, skip(text, end, SPACE + "*_"), WIDE_LINKS)
    return _marked(text, link_end or end, link_end > 0)


def _marked(text: str, end: int, linked: bool) -> int:
    """Behind the marks after a noun or its "is", which must be there where there is no "is"."""
    stop = skip(text, end, SPACE + "*_:=")
    return stop if linked or any(c in ":\n=" for c in text[end:stop]) else 0


def _one_of(text: str, i: int, known: tuple[str, ...]) -> int:
    """Behind the first of ``known`` that stands at ``i``; 0 where none does."""
    return next((i + len(word) for word in known if text.startswith(word, i)), 0)


def _word(text: str, i: int) -> tuple[str, int]:
    end = letters_end(text, i)
    return text[i:end].lower(), end


def stated(text: str) -> str:
    """What a normalised sentence states, with a sign for "minus"; "" where that is nothing new."""
    word, end = _word(text, skip(text, 0, SPACE + "*_#"))
    rest = text[skip(text, end, SPACE + ",") :] if word in STARTERS else text
    at = _stating_end(rest)
    if at < 0:
        return ""
    tail = normal(rest[at:])
    for sign in SIGNS:
        if tail[: len(sign)].lower() == sign:
            tail = "-" + tail[len(sign) :].lstrip(" ")
            break
    return "" if tail == text else tail


def _stating_end(text: str) -> int:
    """Behind the last "is" or colon; 0 without one; -1 where the words before it take it back."""
    last = links = i = 0
    while i < len(text):
        word, end = _word(text, i)
        if word:
            if word in STATING:
                last, links = end, links + 1
            i = end
            continue
        end = _one_of(text, i, WIDE_STATING)
        if end or (text[i] == ":" and text[i + 1 : i + 2] in ("", *SPACE)):
            last, links = end or i + 1, links + 1
        i = end or i + 1
    return last if last == 0 or (last <= MAX_HEAD and _may_state(text[:last], links)) else -1


def _may_state(head: str, links: int) -> bool:
    i = 0
    while i < len(head):
        c = head[i]
        word, end = _word(head, i)
        if word:
            if word in UNSTATED or (word == "t" and head[max(i - 2, 0) : i].lower() == "n'"):
                return False
            i = end
        elif "0" <= c <= "9":
            end = i + 1
            while end < len(head) and "0" <= head[end] <= "9":
                end += 1
            if links > 1 or end - i != 4 or c not in "12":
                return False
            i = end
        elif c in "=<>;?!.\n" or c in WIDE_UNSTATED:
            return False
        else:
            i += 1
    return True
