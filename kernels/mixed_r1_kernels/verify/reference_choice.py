"""Reference reader of multiple choice: the option that an answer names, by letter or by text.

The first rule that applies decides:

1. one word that is the letter of an option: a bare letter is a letter, whatever the options say;
2. the full text of an option (of two options alike: AMBIGUOUS);
3. rules 1 and 2 after a lead such as "The correct answer is:" or "Option";
4. a label ("B.", "(B)", "B:"), then the full text of an option: both must agree;
5. what is mentioned. Letters, unless they are part of an option's text, a name, a unit or a formula ("Point
   C", "37 C" with a degree sign, "C = 5"), and texts of options in a sentence that ends with them ("It is
   blue"). One option must be left when denied ones are put aside (see reference_denials); two are AMBIGUOUS,
   and so are a letter and the text of another option, and denials alone;
6. the value of one option, as math, that the answer is or states: "45" for "45 degrees", "1/2" for a fraction
   in LaTeX;
7. yes or no, where one option says yes and one says no.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_left, bisect_right

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_choice_gold import SETTINGS, ChoiceGold, compile_choice
from mixed_r1_kernels.verify.reference_denials import Denials
from mixed_r1_kernels.verify.reference_leads import after_lead, stated
from mixed_r1_kernels.verify.reference_reading import normal
from mixed_r1_kernels.verify.reference_text import (
    NEGATIONS,
    Word,
    is_letter,
    is_wide_script,
    plain,
    words,
)
from mixed_r1_kernels.verify.reference_yes_no import score_yes_no
from mixed_r1_kernels.verify.settings import VerifySettings

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
     "correct", "final", "the", "isn't", "aren't", "wasn't", "answers", "namely", "i'd", "to", "maybe",
     "perhaps", "possibly")
)  # fmt: skip
FRAMES = frozenset(
    ("is", "are", "was", "were", "be", "it's", "that's", "he's", "she's", "but", "like", "choose", "pick",
    "select", "say",
     "answer", "option", "choice", "shows", "show", "being", "as", "called", "namely")
)  # fmt: skip
ARTICLES = frozenset(("a", "an", "the"))
ENDINGS = frozenset(("because", "since", "as", "in", "on", "at", "for", "which"))
WIDE_DENIALS = "\u4e0d\u975e\u6392\u9664\u9519"
WIDE_CONNECTIVES = frozenset(("\u6216", "\u6216\u8005", "\u548c", "\u4e0e", "\u53ca", "\u6216\u662f"))
MAX_JOINED = 26
AMBIGUOUS = -1


def score_choice(answer: str, gold: ChoiceGold, settings: VerifySettings) -> tuple[float, Reason]:
    """1 iff the answer names the gold option, or all of several, and no other."""
    text = answer if answer.isascii() else unicodedata.normalize("NFKD", answer)
    if len(gold.letters) > 1:
        return _score_several(text, gold)
    chosen = _Chooser(text, gold).choose()
    if chosen is None:
        chosen = _by_value(answer, gold)
    if chosen is None:
        chosen = _by_verdict(answer, gold)
    if chosen is None:
        return 0.0, Reason.NO_MATCH
    if chosen < 0:
        return 0.0, Reason.AMBIGUOUS
    return (1.0, Reason.OK) if chosen in gold.letters else (0.0, Reason.NO_MATCH)


def _by_value(answer: str, gold: ChoiceGold) -> int | None:
    """The option that has the value of the answer, or the value that the answer states."""
    text = normal(answer[after_lead(answer, NOUNS) :])
    same = gold.valued(text) or gold.valued(stated(text))
    if len(same) > 1:
        return AMBIGUOUS
    return same[0] if same else None


def _by_verdict(answer: str, gold: ChoiceGold) -> int | None:
    """The option "Yes" or "No" that the answer says."""
    if gold.verdicts is None:
        return None
    for option, side in zip(gold.verdicts, (True, False), strict=True):
        value, reason = score_yes_no(answer, side, SETTINGS)
        if reason == Reason.AMBIGUOUS:
            return AMBIGUOUS
        if value:
            return option
    return None


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
        self.text, self.gold = text, gold
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
            if named:
                return named[0] if len(named) == 1 else AMBIGUOUS
        if rest and (index := self.letter(rest[0].text)) is not None:
            agrees = self.agrees_after(index, text[rest[0].end :])
            if agrees is not None:
                return index if agrees else AMBIGUOUS
        return self.mentioned(start, rest)

    def option_lead(self) -> int:
        """Behind "Option" or "The choice" at the start, without a mark."""
        i = 1 if self.words and self.words[0].text.lower() == "the" else 0
        if i < len(self.words) and self.words[i].text.lower() in NOUNS:
            return self.words[i].end
        return 0

    def letter(self, word: str) -> int | None:
        return _letter(word, len(self.gold.options))

    def is_alone(self, word: Word, start: int) -> bool:
        """Whether only marks, no sign of a formula or a unit, are around the one word."""
        around = self.text[start : word.start] + self.text[word.end :]
        return not any(c in "^+<>|~&@#%/\\=\u00b0" for c in around)

    def named(self, text: str) -> list[int]:
        """The options whose full text ``text`` is."""
        return self.gold.named(plain(normal(text)))

    def agrees_before(self, index: int, part: str) -> bool | None:
        """Whether ``part``, which ends where a letter is, names option ``index`` or another; None: none."""
        return self.agrees(index, (part.rstrip(OPENERS), part.strip(QUOTED), part.strip(MARKS)))

    def agrees_after(self, index: int, part: str) -> bool | None:
        """The same of a ``part`` that starts behind a letter."""
        return self.agrees(index, (part.lstrip(CLOSERS), part.strip(QUOTED), part.strip(MARKS)))

    def agrees(self, index: int, bodies: tuple[str, ...]) -> bool | None:
        """Of the body with most marks that names an option: they may be part of its text ("-5", "(1, 2)").
        Where none does, by the value of the one with fewest.
        """
        same = next(filter(None, map(self.named, bodies)), []) or self.gold.valued(normal(bodies[-1]))
        return index in same if same else None

    def mentioned(self, start: int, rest: list[Word]) -> int | None:
        text, found = self.text, self.words
        self.denials = Denials(text, found, [self.letter(word.text) is not None for word in found])
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
        after = text[found[max(chosen)].end :]
        contradicted = False in (self.agrees_before(index, before), self.agrees_after(index, after))
        return AMBIGUOUS if contradicted or not framed <= {index} else index

    def texts(self) -> tuple[set[int], set[int], bytearray]:
        """Options whose text stands in a sentence that ends with it, others whose text is there undenied, and
        which characters all of them cover. Longer options first: "blue" is not looked for in "dark blue".
        """
        lowered = "".join(c.lower() if c < "\x80" else c for c in self.text)
        covered = bytearray(len(lowered) + 1)
        framed: set[int] = set()
        others: set[int] = set()
        for index in sorted(range(len(self.gold.inner)), key=lambda i: -len(self.gold.inner[i])):
            wanted = self.gold.inner[index]
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
        i = bisect_left(self.starts, end)
        if self.denials.denies(bisect_left(self.starts, start), i - 1):
            return None
        before = self.last_word_before(start)
        if before is not None and before.text.lower() in ARTICLES:
            before = self.last_word_before(before.start)
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
        """Whether the letter in word ``i`` is denied in its clause, or by a Chinese word beside it."""
        if self.denials.denies(i, i):
            return True
        first, last = i, i  # of the letters that "or" joins, in Chinese
        while self.joins(first - 1) and self.is_letter(first - 2) and i - first < 2 * MAX_JOINED:
            first -= 2
        while self.joins(last + 1) and self.is_letter(last + 2) and last - i < 2 * MAX_JOINED:
            last += 2
        return self.denies_wide(self.first_pointer(first) - 1, -1) or self.denies_wide(last + 1, 0)

    def joins(self, i: int) -> bool:
        return 0 <= i < len(self.words) and self.words[i].text in WIDE_CONNECTIVES

    def is_letter(self, i: int) -> bool:
        return 0 <= i < len(self.words) and self.letter(self.words[i].text) is not None

    def denies_wide(self, i: int, beside: int) -> bool:
        """Whether word ``i`` is Chinese and denies the letter ``beside`` it, in one sentence."""
        if not 0 <= i < len(self.words):
            return False
        word = self.words[i]
        gap = (
            self.text[word.end : self.words[i + 1].start]
            if beside
            else self.text[self.words[i - 1].end : word.start]
        )
        wide = is_wide_script(word.text[beside]) and any(c in word.text for c in WIDE_DENIALS)
        return wide and not any(c in STOPS for c in gap)

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
