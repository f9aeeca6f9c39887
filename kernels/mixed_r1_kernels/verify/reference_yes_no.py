"""Reference reader of yes and no.

A verdict is a word of YES or NO that stands as one. "no" before a noun is a determiner ("no cats", "no idea",
"No. 7"), "correct" and "true" before a noun speak of something else ("the correct answer"): neither is a
verdict; "wrong" is one alone and behind "it is", "the statement is" and their like. A verdict behind a
negation in its clause ("not correct", "the opposite of yes") is the opposite one, but never the only one.
Behind "if" or "whether" in its clause it is asked, not said ("no way to tell if yes").

A text that begins with a verdict says it, unless another verdict contradicts it ("Yes, no", "Yes ... actually
no"): "Yes. There are no cats." is yes. Else all verdicts must agree, and none may be negated; nor may the
text begin with a condition ("If true, yes").
"""

from __future__ import annotations

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_text import NEGATIONS, Word, fold, words
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["compile_yes_no", "score_yes_no"]

YES = frozenset(
    ("yes", "yep", "yeah", "yup", "true", "correct", "\u662f", "\u662f\u7684", "\u5bf9", "\u5bf9\u7684",
     "\u6b63\u786e")
)  # fmt: skip
NO = frozenset(
    ("no", "nope", "nah", "false", "incorrect", "\u5426", "\u4e0d", "\u4e0d\u662f", "\u4e0d\u5bf9",
    "\u9519\u8bef",
     "\u6ca1\u6709", "wrong")
)  # fmt: skip
ATTRIBUTES = frozenset(("true", "correct", "false", "incorrect", "wrong"))
DENYING = frozenset(("false", "incorrect", "wrong", "opposite"))  # where they are no verdicts
SUBJECTS = frozenset(
    ("it", "it's", "this", "that", "that's", "statement", "claim", "answer", "assertion", "caption")
)
FILLERS = frozenset(
    ("is", "are", "was", "be", "not", "isn't", "wasn't", "would", "also", "indeed", "in", "fact", "and", "or",
     "nor", "but", "actually", "rather", "maybe", "perhaps")
)  # fmt: skip
ASKING = frozenset(("if", "whether"))
# What may follow a verdict without a mark between. Any other word makes "no" a determiner.
FOLLOWERS = frozenset(
    ("it", "there", "they", "he", "she", "this", "that", "these", "those", "the", "i", "we", "you", "because",
     "since", "as", "and", "or", "but", "not", "in", "for", "here", "based", "according", "if", "unless")
)  # fmt: skip


def compile_yes_no(spec: GoldSpec) -> bool:
    if spec.answer not in ("yes", "no"):
        raise BadGold(f"answer must be 'yes' or 'no', got {spec.answer!r}")
    return bool(spec.answer == "yes")


def score_yes_no(answer: str, gold: bool, settings: VerifySettings) -> tuple[float, Reason]:
    """1 iff the answer says the gold and not its opposite."""
    text = fold(answer)
    found = words(text)
    said: list[bool] = []  # of each verdict: whether it says yes
    negated = leads = denied = asking = asked = False
    for i, word in enumerate(found):
        if i and not _is_blank(text[found[i - 1].end : word.start]):
            denied = asking = False  # a new clause
        if not _is_verdict(text, found, i) or (leads and _is_aside(text, found, i)):
            denied = denied or _negates(word.text)
            asking = asking or word.text in ASKING
            continue
        if asking:
            asked = True
            continue
        said.append((word.text in YES) != denied)
        negated = negated or denied
        leads = leads or (i == 0 and not denied)
    if not said:
        return 0.0, Reason.AMBIGUOUS if asked else Reason.NO_MATCH
    conditional = asked and found[0].text in ASKING
    if any(verdict != said[0] for verdict in said) or (negated and not leads) or conditional:
        return 0.0, Reason.AMBIGUOUS
    return (1.0, Reason.OK) if said[0] == gold else (0.0, Reason.NO_MATCH)


def _is_verdict(text: str, found: list[Word], i: int) -> bool:
    word = found[i].text
    if word not in YES and word not in NO:
        return False
    if word == "wrong":
        is_alone = len(found) == 1
        said = i > 0 and _subject(text, found, i) in SUBJECTS
        return is_alone or said
    if i + 1 == len(found):
        return True
    between, following = text[found[i].end : found[i + 1].start], found[i + 1].text
    if word == "no" and between.strip(" ") == "." and following.isascii() and following.isdigit():
        return False  # a number
    if word != "no" and word not in ATTRIBUTES:
        return True
    return not _is_blank(between) or following in FOLLOWERS or following in YES or following in NO


def _is_aside(text: str, found: list[Word], i: int) -> bool:
    """Whether "correct" or its like speaks of something else than the question."""
    return found[i].text in ATTRIBUTES and _subject(text, found, i) not in (*SUBJECTS, "")


def _subject(text: str, found: list[Word], i: int) -> str:
    """The last word before word ``i`` in its clause that is no filler; "" without one, or for a verdict."""
    while i > 0 and _is_blank(text[found[i - 1].end : found[i].start]):
        i -= 1
        if found[i].text in YES or found[i].text in NO:
            return ""
        if found[i].text not in FILLERS:
            return found[i].text
    return ""


def _is_blank(between: str) -> bool:
    """Whether nothing but spaces and emphasis stands between two words."""
    return not between.strip(" \t*_`")


def _negates(word: str) -> bool:
    return word in NEGATIONS or word in DENYING or word.endswith(("n't", "n\u2019t"))
