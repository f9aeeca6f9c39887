"""Reference readers of words: yes/no, multiple choice, and text compared without regard to case and form."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass
from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["compile_choice", "compile_yes_no", "fold", "plain", "score_choice", "score_yes_no", "similarity"]

SPACES = str.maketrans("\t\n\r\f\v", "     ")
YES = frozenset(("yes", "true", "correct"))
NO = frozenset(("no", "false", "incorrect"))
NEGATIONS = frozenset(("not", "never", "cannot", "neither", "nor"))
INNER = "'-\u2019\u2010\u2011"  # between two letters or digits these belong to the word
QUOTES = "\"'`*_\u2018\u2019\u201c\u201d"
QUALIFIERS = frozenset(("correct", "right", "final", "best"))
NOUNS = frozenset(("answer", "option", "choice"))
JOINERS = frozenset(("or", "and", "is", "because", "since", "as", "but"))  # after these "A" was no article
CONNECTIVES = frozenset(("or", "and", "both", "either"))
POINTERS = NOUNS | {"is", "the"}  # between an option's text, or a negation, and the letter
BEFORE_LETTER, AFTER_LETTER = "([{\"'`*_$", ")]}\"'`*_$.:"
STOPS = ".,;!?\n"
OPENERS, CLOSERS = "([{\"'`*_.:, \t\n\r\f\v", ")]}\"'`*_.:, \t\n\r\f\v"
QUOTED, MARKS = OPENERS + CLOSERS + "$", OPENERS + CLOSERS + "$=-;\u2013\u2014"
AMBIGUOUS = -1
MAX_SIMILAR = 256


def fold(text: str) -> str:
    """The form in which texts are compared: NFKD, case folded, NFKD. (Equal under NFKD iff equal under
    NFKC.)
    """
    if text.isascii():
        return text.lower()
    return unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())


def plain(text: str) -> str:
    """``text`` folded, single-spaced, without quotes, asterisks and backticks around it or full stops after
    it.
    """
    spaced = " ".join(part for part in fold(text).translate(SPACES).split(" ") if part)
    return spaced.lstrip(QUOTES + " ").rstrip(QUOTES + " .")


def _is_letter(character: str) -> bool:
    return unicodedata.category(character)[0] in "LNM"


class Word(NamedTuple):
    text: str
    start: int
    end: int


def words(text: str) -> list[Word]:
    """Runs of letters, digits and marks; an apostrophe or hyphen between two of them does not end a word."""
    found: list[Word] = []
    i = 0
    while i < len(text):
        if not _is_letter(text[i]):
            i += 1
            continue
        start = i
        while i < len(text) and (
            _is_letter(text[i]) or (text[i] in INNER and i + 1 < len(text) and _is_letter(text[i + 1]))
        ):
            i += 1
        found.append(Word(text[start:i], start, i))
    return found


def compile_yes_no(spec: GoldSpec) -> bool:
    if spec.answer not in ("yes", "no"):
        raise BadGold(f"answer must be 'yes' or 'no', got {spec.answer!r}")
    return bool(spec.answer == "yes")


def score_yes_no(answer: str, gold: bool, settings: VerifySettings) -> tuple[float, Reason]:
    """1 iff the words of the answer say the gold and not its opposite.

    A negation ("not", "isn't") leaves only a plain "no" unambiguous: "no, it is not" is no, "not correct"
    is neither.
    """
    texts = [word.text for word in words(fold(answer))]
    says_yes = any(text in YES for text in texts)
    says_no = any(text in NO for text in texts)
    if not says_yes and not says_no:
        return 0.0, Reason.NO_MATCH
    negated = any(text in NEGATIONS or text.endswith(("n't", "n\u2019t")) for text in texts)
    if (says_yes and says_no) or (negated and "no" not in texts):
        return 0.0, Reason.AMBIGUOUS
    return (1.0, Reason.OK) if says_yes == gold else (0.0, Reason.NO_MATCH)


@dataclass(frozen=True)
class ChoiceGold:
    index: int
    options: tuple[str, ...]  # in ``plain`` form


def compile_choice(spec: GoldSpec) -> ChoiceGold:
    count = len(spec.options)
    if not 1 <= count <= 26:
        raise BadGold(f"options must have 1 to 26 entries, got {count}")
    letter = spec.answer
    if not (isinstance(letter, str) and len(letter) == 1 and "A" <= letter <= chr(ord("A") + count - 1)):
        raise BadGold(f"answer must be one of the first {count} capital letters, got {letter!r}")
    return ChoiceGold(ord(letter) - ord("A"), tuple(plain(option) for option in spec.options))


def score_choice(answer: str, gold: ChoiceGold, settings: VerifySettings) -> tuple[float, Reason]:
    """1 iff the answer names the gold option, by letter or by its full text, and no other."""
    chosen = _choose(answer, gold.options)
    if chosen is None:
        return 0.0, Reason.NO_MATCH
    if chosen < 0:
        return 0.0, Reason.AMBIGUOUS
    return (1.0, Reason.OK) if chosen == gold.index else (0.0, Reason.NO_MATCH)


def _choose(answer: str, options: tuple[str, ...]) -> int | None:
    """The option that ``answer`` names, AMBIGUOUS, or None. The first rule that applies decides:

    1. one word that is the letter of an option: a bare letter is a letter, whatever the options say;
    2. the full text of an option (of two options alike: AMBIGUOUS);
    3. rules 1 and 2 after a lead such as "The correct answer is:" or "Option";
    4. a label ("B.", "(B)", "B:"), then the full text of an option: both must agree;
    5. all letters mentioned (see ``_mentions``): one is the choice, two are AMBIGUOUS, and so is one that is
       denied ("not B"), or beside the full text of another option ("a cat (B)").
    """
    text = answer if answer.isascii() else unicodedata.normalize("NFKD", answer)
    found = words(text)
    for start in (0, _after_lead(text, found)):
        rest = [word for word in found if word.start >= start]
        if len(rest) == 1 and (index := _letter(rest[0].text, len(options))) is not None:
            return index
        named = _named(text[start:], options)
        if named is not None:
            return named
    if rest and (index := _letter(rest[0].text, len(options))) is not None:
        named_after = _text_after(text[rest[0].end :], options)
        if named_after is not None:
            return index if options[index] == named_after else AMBIGUOUS
    mentioned = _mentions(text, found, rest, len(options))
    if not mentioned:
        return None
    if len(set(mentioned.values())) > 1 or any(_is_denied(text, found, i) for i in mentioned):
        return AMBIGUOUS
    index = mentioned[min(mentioned)]
    before = text[start : found[_first_pointer(found, min(mentioned))].start]
    beside = (_text_before(before, options), _text_after(text[found[max(mentioned)].end :], options))
    return index if all(named in (None, options[index]) for named in beside) else AMBIGUOUS


def _letter(word: str, count: int) -> int | None:
    if len(word) != 1 or not word.isascii():
        return None
    index = ord(word.upper()) - ord("A")
    return index if 0 <= index < count else None


def _named(text: str, options: tuple[str, ...]) -> int | None:
    """The option whose full text ``text`` is."""
    wanted = plain(text)
    matches = [index for index, option in enumerate(options) if option == wanted and wanted]
    if not matches:
        return None
    return matches[0] if len(matches) == 1 else AMBIGUOUS


def _text_before(part: str, options: tuple[str, ...]) -> str | None:
    """The text of the option that ``part``, which ends where a letter is, names; None where it names none."""
    return _first_named((part.rstrip(OPENERS), part.strip(QUOTED), part.strip(MARKS)), options)


def _text_after(part: str, options: tuple[str, ...]) -> str | None:
    """The same of a ``part`` that starts behind a letter."""
    return _first_named((part.lstrip(CLOSERS), part.strip(QUOTED), part.strip(MARKS)), options)


def _first_named(bodies: tuple[str, ...], options: tuple[str, ...]) -> str | None:
    """Marks may be part of an option's text ("-5", "(1, 2)"): the body with most of them that names one."""
    return next((plain(body) for body in bodies if _named(body, options) is not None), None)


def _first_pointer(found: list[Word], i: int) -> int:
    """The first of the pointers ("is", "the", "option") right before word ``i``, or ``i``."""
    while i > 0 and found[i - 1].text.lower() in POINTERS:
        i -= 1
    return i


def _is_denied(text: str, found: list[Word], i: int) -> bool:
    """Whether "not", "isn't", "except" ... stands before word ``i`` and its pointers, in its sentence."""
    first = _first_pointer(found, i)
    if first == 0:
        return False
    before = found[first - 1]
    word = before.text.lower()
    denies = word in NEGATIONS or word == "except" or word.endswith(("n't", "n\u2019t"))
    return denies and not any(c in STOPS for c in text[before.end : found[i].start])


def _after_lead(text: str, found: list[Word]) -> int:
    """Where the text goes on after ``[the] [correct] answer|option|choice [is] [:]``; 0 without such a
    lead.
    """
    i = 0
    texts = [word.text.lower() for word in found[:4]] + [""] * 4
    i += texts[i] == "the"
    i += texts[i] in QUALIFIERS
    if texts[i] not in NOUNS:
        return 0
    i += texts[i + 1] == "is"
    end = found[i].end
    while end < len(text) and text[end] in ": \t\n\r\f\v":
        end += 1
    return end


def _mentions(text: str, found: list[Word], rest: list[Word], count: int) -> dict[int, int]:
    """The words of ``text`` that are letters of options, and which.

    Where the ``rest`` after a lead is nothing but letters and "or", "and", "both", "either", each of them is.
    Else a small letter is in brackets, before ")" or after "option" or "choice". A capital is, except an "A"
    or "I" that goes on as a sentence ("A dog"): white space, then a word that is not "or", "and", "is",
    "because" ...
    """
    letters = {i: index for i, word in enumerate(found) if (index := _letter(word.text, count)) is not None}
    if all(_letter(word.text, count) is not None or word.text.lower() in CONNECTIVES for word in rest):
        return letters
    mentioned = {}
    for i, index in letters.items():
        word = found[i]
        before = text[word.start - 1] if word.start else ""
        after = text[word.end] if word.end < len(text) else ""
        named = i > 0 and found[i - 1].text.lower() in ("option", "choice")
        if word.text.islower():
            counts = named or after == ")" or (before == "[" and after == "]")
        elif word.text in "AI" and not named:
            marked = (before and before in BEFORE_LETTER) or (after and after in AFTER_LETTER)
            sentence = i + 1 < len(found) and not text[word.end : found[i + 1].start].strip(" \t\n\r\f\v")
            counts = bool(marked) or not sentence or _goes_on(found[i + 1].text, count)
        else:
            counts = True
        if counts:
            mentioned[i] = index
    return mentioned


def _goes_on(word: str, count: int) -> bool:
    """Whether ``word`` after a capital shows that the capital was a letter: "A or", "A is", "A B"."""
    return word.lower() in JOINERS or (word.isupper() and _letter(word, count) is not None)


def similarity(left: str, right: str) -> float:
    """1 - edit distance / longer length, over code points: the S of ANLS. 1 for two empty texts.

    0 where the lengths alone put it under one half, and where a text has more than MAX_SIMILAR code points:
    the work grows with the product of the lengths.
    """
    longer = max(len(left), len(right))
    if longer == 0:
        return 1.0
    if longer > MAX_SIMILAR or 2 * min(len(left), len(right)) < longer:
        return 0.0
    row = list(range(len(right) + 1))
    for i, a in enumerate(left, 1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(right, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
    return (longer - row[-1]) / longer
