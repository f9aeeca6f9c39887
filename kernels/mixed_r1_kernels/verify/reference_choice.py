"""Reference reader of multiple choice: the option that an answer names, by letter or by text.

The first rule that applies decides:

1. one word that is the letter of an option: a bare letter is a letter, whatever the options say;
2. the full text of an option (of two options alike: AMBIGUOUS);
3. rules 1 and 2 after a lead such as "The correct answer is:" or "Option";
4. a label ("B.", "(B)", "B:"), then the full text of an option: both must agree;
5. what is mentioned. Letters, unless they are part of an option's text, a name, a unit or a formula ("Point
C",
   "37 C" with a degree sign, "C = 5"), and texts of options in a sentence that ends with them ("It is blue").
   One option must be left when denied ones ("not A", "B is wrong") are put aside; two are AMBIGUOUS, and so
   are a letter and the text of another option, and denials alone.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right
from dataclasses import dataclass

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_reading import SPACE, after_lead, normal
from mixed_r1_kernels.verify.reference_text import (
    NEGATIONS,
    SPACES,
    Word,
    is_letter,
    is_wide_script,
    plain,
    words,
)
from mixed_r1_kernels.verify.settings import BadGold, GoldSpec, VerifySettings

__all__ = ["compile_choice", "score_choice"]

NOUNS = frozenset(("answer", "option", "choice", "letter"))
JOINERS = frozenset(("or", "and", "is", "because", "since", "as", "but"))  # after these "A" was no article
CONNECTIVES = frozenset(("or", "and", "both", "either"))
POINTERS = NOUNS | {"is", "the"}  # between an option's text, or a negation, and the letter
STOPS = ".,;!?\n"
OPENERS, CLOSERS = "([{\"'`*_.:, \t\n\r\f\v", ")]}\"'`*_.:, \t\n\r\f\v"
QUOTED, MARKS = OPENERS + CLOSERS + "$", OPENERS + CLOSERS + "$=-;"
BRACKETS = {"(": ")", "[": "]", "{": "}", '"': '"', "'": "'", "`": "`", "*": "*", "_": "_", "$": "$"}
GLUE = "^+<>|~&@#%/\\=-'_\u00b0\u2032"  # beside a letter these make a formula, a unit or a name of it
# Words that a letter may follow in its clause. Behind any other ("vitamin C") it is part of a name.
BEFORE = NOUNS | CONNECTIVES | NEGATIONS | frozenset(
    ("is", "be", "are", "was", "choose", "chose", "chosen", "choosing", "pick", "picked", "select",
    "selected",
     "say", "it's", "that's", "so", "therefore", "thus", "hence", "with", "for", "guess", "think", "then",
     "except",
     "out", "eliminate", "exclude", "reject", "than", "of", "but", "definitely", "probably", "likely",
     "clearly",
     "correct", "final", "the", "isn't", "aren't", "wasn't", "answers", "namely", "i'd", "to")
)  # fmt: skip
DENY_BEFORE = NEGATIONS | frozenset(
    ("except", "without", "out", "eliminate", "exclude", "reject", "dismiss", "than")
)
BE = frozenset(
    ("is", "are", "was", "can", "could", "seems", "looks", "would", "must", "option", "choice", "answer")
)
DENY_AFTER = frozenset(
    ("not", "incorrect", "wrong", "false", "never", "impossible", "out", "eliminated", "excluded")
)
FRAMES = frozenset(
    ("is", "are", "was", "were", "be", "it's", "that's", "he's", "she's", "like", "choose", "pick",
    "select", "say",
     "answer", "option", "choice", "shows", "show", "being", "as", "called", "namely")
)  # fmt: skip
ARTICLES = frozenset(("a", "an", "the"))
ENDINGS = frozenset(("because", "since", "as", "in", "on", "at", "for", "which"))
WIDE_DENIALS = "\u4e0d\u975e\u6392\u9664\u9519"
AMBIGUOUS = -1


@dataclass(frozen=True)
class ChoiceGold:
    """``letters``: the indices that must all be chosen. ``options`` in ``plain`` form, ``inner`` as they are
    looked for inside a sentence.
    """

    letters: frozenset[int]
    options: tuple[str, ...]
    inner: tuple[str, ...]


def compile_choice(spec: GoldSpec) -> ChoiceGold:
    count = len(spec.options)
    if not 1 <= count <= 26:
        raise BadGold(f"options must have 1 to 26 entries, got {count}")
    letters = spec.answer
    known = {chr(ord("A") + i) for i in range(count)}
    if (
        not isinstance(letters, str)
        or not letters
        or len(set(letters)) < len(letters)
        or not set(letters) <= known
    ):
        raise BadGold(f"answer must be one of the first {count} capital letters, or several, got {letters!r}")
    options = _without_labels([normal(option) for option in spec.options])
    return ChoiceGold(
        frozenset(ord(letter) - ord("A") for letter in letters),
        tuple(map(plain, options)),
        tuple(map(_inner, options)),
    )


def _without_labels(options: list[str]) -> list[str]:
    """Options without "A.", "(B)", "C:" where each carries its own."""
    bodies = []
    for index, option in enumerate(options):
        label = chr(ord("A") + index)
        body = option.removeprefix("(")
        rest = body[1:].lstrip(" ")
        if not body.startswith(label) or rest[:1] not in (".", ")", ":") or not rest[1:].strip(SPACE):
            return options
        bodies.append(rest[1:].strip(SPACE))
    return bodies


def _inner(option: str) -> str:
    """``option`` as ``_lowered`` text, single-spaced; "" where it is a letter or nothing."""
    text = " ".join(part for part in _lowered(option).translate(SPACES).split(" ") if part)
    return "" if len(text) == 1 and text.isascii() and text.isalpha() else text


def _lowered(text: str) -> str:
    """NFKD, ASCII letters small: lengths of what is compared stay."""
    if not text.isascii():
        text = unicodedata.normalize("NFKD", text)
    return "".join(c.lower() if c < "\x80" else c for c in text)


def score_choice(answer: str, gold: ChoiceGold, settings: VerifySettings) -> tuple[float, Reason]:
    """1 iff the answer names the gold option, or all of several, and no other."""
    text = answer if answer.isascii() else unicodedata.normalize("NFKD", answer)
    if len(gold.letters) > 1:
        return _score_several(text, gold)
    chosen = _Chooser(text, gold).choose()
    if chosen is None:
        return 0.0, Reason.NO_MATCH
    if chosen < 0:
        return 0.0, Reason.AMBIGUOUS
    return (1.0, Reason.OK) if chosen in gold.letters else (0.0, Reason.NO_MATCH)


def _score_several(text: str, gold: ChoiceGold) -> tuple[float, Reason]:
    """Letters and nothing else: "AC", "A, C", "(A) and (C)", after a lead or not."""
    start = after_lead(text, NOUNS)
    chosen: list[int | None] = []
    for word in words(text[start:]):
        if word.text.lower() in CONNECTIVES or word.text.lower() in ("options", "choices", "answers"):
            continue
        single = word.text.isascii() and (word.text.isupper() or len(word.text) == 1)
        chosen += [_letter(c, len(gold.options)) for c in word.text] if single else [None]
    if None in chosen or not chosen:
        return 0.0, Reason.NO_MATCH
    return (1.0, Reason.OK) if set(chosen) == gold.letters else (0.0, Reason.NO_MATCH)


def _letter(word: str, count: int) -> int | None:
    if len(word) != 1 or not word.isascii():
        return None
    index = ord(word.upper()) - ord("A")
    return index if 0 <= index < count else None


class _Chooser:
    def __init__(self, text: str, gold: ChoiceGold) -> None:
        self.text, self.options, self.inner = text, gold.options, gold.inner
        self.words = words(text)
        self.starts = [word.start for word in self.words]
        self.ends = [word.end for word in self.words]

    def choose(self) -> int | None:
        """The option that the text names, AMBIGUOUS, or None."""
        text = self.text
        for start in (0, after_lead(text, NOUNS) or self.option_lead()):
            rest = [word for word in self.words if word.start >= start]
            if (
                len(rest) == 1
                and (index := self.letter(rest[0].text)) is not None
                and self.is_alone(rest[0], start)
            ):
                return index
            named = self.named(text[start:])
            if named is not None:
                return named
        if rest and (index := self.letter(rest[0].text)) is not None:
            named_after = self.text_after(text[rest[0].end :])
            if named_after is not None:
                return index if self.options[index] == named_after else AMBIGUOUS
        return self.mentioned(start, rest)

    def option_lead(self) -> int:
        """Behind "Option" or "The choice" at the start, without a mark."""
        i = 1 if self.words and self.words[0].text.lower() == "the" else 0
        if i < len(self.words) and self.words[i].text.lower() in NOUNS:
            return self.words[i].end
        return 0

    def letter(self, word: str) -> int | None:
        return _letter(word, len(self.options))

    def is_alone(self, word: Word, start: int) -> bool:
        """Whether only marks, no sign of a formula or a unit, are around the one word."""
        around = self.text[start : word.start] + self.text[word.end :]
        return not any(c in "^+<>|~&@#%/\\=\u00b0" for c in around)

    def named(self, text: str) -> int | None:
        """The option whose full text ``text`` is."""
        wanted = plain(normal(text))
        matches = [index for index, option in enumerate(self.options) if option == wanted and wanted]
        if not matches:
            return None
        return matches[0] if len(matches) == 1 else AMBIGUOUS

    def text_before(self, part: str) -> str | None:
        """The text of the option that ``part``, which ends where a letter is, names; None where none."""
        return self.first_named((part.rstrip(OPENERS), part.strip(QUOTED), part.strip(MARKS)))

    def text_after(self, part: str) -> str | None:
        """The same of a ``part`` that starts behind a letter."""
        return self.first_named((part.lstrip(CLOSERS), part.strip(QUOTED), part.strip(MARKS)))

    def first_named(self, bodies: tuple[str, ...]) -> str | None:
        """The body with most marks that names an option: they may be part of its text ("-5", "(1, 2)")."""
        return next((plain(normal(body)) for body in bodies if self.named(body) is not None), None)

    def mentioned(self, start: int, rest: list[Word]) -> int | None:
        text, found = self.text, self.words
        framed, others, covered = self.texts()
        letters = {i: index for i, word in enumerate(found) if (index := self.letter(word.text)) is not None}
        if not all(self.letter(w.text) is not None or w.text.lower() in CONNECTIVES for w in rest):
            letters = {
                i: index for i, index in letters.items() if not covered[found[i].start] and self.counts(i)
            }
        chosen = {i: index for i, index in letters.items() if not self.is_denied(i)}
        if len(set(chosen.values())) > 1:
            return AMBIGUOUS
        if not chosen:
            if not framed:
                return AMBIGUOUS if letters else None
            (index, *more) = framed
            return AMBIGUOUS if more or others - {index} else index
        index = chosen[min(chosen)]
        before = text[start : max(start, found[self.first_pointer(min(chosen))].start)]
        beside = (self.text_before(before), self.text_after(text[found[max(chosen)].end :]))
        agrees = all(named in (None, self.options[index]) for named in beside)
        return index if agrees and framed <= {index} else AMBIGUOUS

    def texts(self) -> tuple[set[int], set[int], bytearray]:
        """Options whose text stands in a sentence that ends with it, others whose text is there undenied, and
        which characters all of them cover. Longer options first: "blue" is not looked for in "dark blue".
        """
        lowered = "".join(c.lower() if c < "\x80" else c for c in self.text)
        covered = bytearray(len(lowered) + 1)
        framed: set[int] = set()
        others: set[int] = set()
        for index in sorted(range(len(self.inner)), key=lambda i: -len(self.inner[i])):
            wanted = self.inner[index]
            at = lowered.find(wanted) if wanted else -1
            while at >= 0:
                end = at + len(wanted)
                if not covered[at] and not covered[end - 1] and _is_whole(lowered, at, end):
                    covered[at:end] = b"\1" * len(wanted)
                    frame = self.frame(at, end)
                    if frame is not None:
                        (framed if frame else others).add(index)
                at = lowered.find(wanted, end)
        return framed, others, covered

    def frame(self, start: int, end: int) -> bool | None:
        """Whether the option's text at ``start`` ends a sentence such as "It is blue"; None: denied."""
        before = self.last_word_before(start)
        if before is not None and before.text.lower() in ARTICLES:
            before = self.last_word_before(before.start)
        if before is not None and _denies(before.text.lower()):
            return None
        i = bisect_left(self.starts, end)
        after = self.words[i] if i < len(self.words) else None
        ends = after is None or self.text[end : after.start].strip(" ") != "" or after.text.lower() in ENDINGS
        return before is not None and before.text.lower() in FRAMES and ends

    def last_word_before(self, position: int) -> Word | None:
        """The word right before, with nothing but spaces and opening marks between."""
        i = bisect_right(self.ends, position)
        before = self.words[i - 1] if i else None
        if before is None or self.text[before.end : position].strip(" :\"'`*_$(["):
            return None
        return before

    def first_pointer(self, i: int) -> int:
        """The first of the pointers ("is", "the", "option") right before word ``i``, or ``i``."""
        while i > 0 and self.words[i - 1].text.lower() in POINTERS:
            i -= 1
        return i

    def is_denied(self, i: int) -> bool:
        """Whether "not", "except", "rule out" ... stands before word ``i`` and its pointers in its sentence,
        or "is wrong", "isn't" ... right after it.
        """
        found, text = self.words, self.text
        first = self.first_pointer(i)
        if first > 0 and not any(c in STOPS for c in text[found[first - 1].end : found[i].start]):
            before = found[first - 1].text.lower()
            instead = before == "of" and first > 1 and found[first - 2].text.lower() == "instead"
            wide = is_wide_script(before[-1]) and any(c in before for c in WIDE_DENIALS)
            if _denies(before) or instead or wide:
                return True
        k = i + 1
        while (
            k < len(found)
            and k <= i + 3
            and not any(c in STOPS for c in text[found[k - 1].end : found[k].start])
        ):
            after = found[k].text.lower()
            wide = k == i + 1 and is_wide_script(after[0]) and any(c in after for c in WIDE_DENIALS)
            if wide or after in DENY_AFTER or after in NEGATIONS or after.endswith("n't"):
                return True
            if after not in BE:
                return False
            k += 1
        return False

    def counts(self, i: int) -> bool:
        """Whether the letter in word ``i`` is a choice: marked, or where a choice is named; see the rules."""
        word, text = self.words[i], self.text
        before = text[word.start - 1] if word.start else ""
        after = text[word.end] if word.end < len(text) else ""
        marked = bool(before) and BRACKETS.get(before) == after
        if not marked and ((before and before in GLUE) or (after and after in GLUE)):
            return False
        if not marked and text[word.end :].lstrip(" ")[:1] == "=":
            return False
        previous = self.words[i - 1] if i else None
        beside = previous is not None and not text[previous.end : word.start].strip(" ")
        lead = previous.text.lower() if previous is not None and beside else ""
        if lead in NOUNS:
            return True
        if word.text.islower():
            return after == ")" or (marked and before in "([")
        if not (marked or not lead or after == ")"):
            known = lead in BEFORE or is_wide_script(lead[-1]) or self.letter(lead) is not None
            if not known:
                return False
        if word.text not in "AI" or marked or (after and after in ").:*"):
            return True
        return not self.is_article(i)

    def is_article(self, i: int) -> bool:
        """ "A dog": spaces, then a word that does not go on as after a letter ("A or", "A is", "A B")."""
        if i + 1 == len(self.words):
            return False
        word, following = self.words[i], self.words[i + 1]
        if self.text[word.end : following.start].strip(" ") or following.start == word.end:
            return False
        joins = following.text.lower() in JOINERS
        return not (joins or (following.text.isupper() and self.letter(following.text) is not None))


def _is_whole(text: str, start: int, end: int) -> bool:
    """Whether the text between stands as words of its own."""
    opens = start == 0 or not (is_letter(text[start - 1]) and is_letter(text[start]))
    return opens and (end == len(text) or not (is_letter(text[end - 1]) and is_letter(text[end])))


def _denies(word: str) -> bool:
    return word in DENY_BEFORE or word.endswith("n't")
