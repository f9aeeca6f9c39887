"""Words of an answer that are denied: "not A or C", "B would be wrong", "anything but B".

A denial reaches as far as its clause. Clauses end at stops, dashes and brackets around more than a letter,
and before "but", "so", "because" and their like; a list of letters ("A, C and D are wrong") is not cut. A
denial denies every word behind it, until other words and then "is" follow ("the animal that does not fly is
B"); and the words before it, as long as only such words as "would", "the" and "clearly" stand between.
"""

from __future__ import annotations

from mixed_r1_kernels.verify.reference_text import NEGATIONS, Word

__all__ = ["Denials"]

CONNECTIVES = frozenset(("or", "and", "nor"))
BEFORE = NEGATIONS | frozenset(
    ("except", "excepting", "excluding", "without", "out", "eliminate", "eliminates", "eliminating",
     "exclude", "excludes", "reject", "dismiss", "discard", "than", "disagree", "hardly", "unlikely", "avoid",
     "distractor", "rule", "ruling", "instead", "doubt")
)  # fmt: skip
FALSE = frozenset(("incorrect", "wrong", "false"))
AFTER = NEGATIONS | FALSE | frozenset(
    ("impossible", "out", "eliminated", "excluded", "rejected", "dismissed", "discarded", "unlikely",
     "invalid", "untrue", "inconsistent", "less")
)  # fmt: skip
CHOICES = frozenset(("answer", "option", "choice", "letter"))
TRUE = frozenset(("correct", "right", "true", "possible", "likely", "it", "the", "an", "a"))
SPLITTERS = frozenset(
    ("so", "therefore", "thus", "hence", "because", "since", "as", "while", "whereas", "although", "though",
     "rather", "instead", "yet", "however", "then", "which", "when")
)  # fmt: skip
EVERY = frozenset(("anything", "everything", "all", "nothing", "none", "any"))
ASIDE = frozenset(("doubt", "question"))  # "no doubt" denies nothing
BE = frozenset(("is", "are", "was", "were", "be"))
# Between a denial and the "is" behind it, these do not end it: "I do not think the answer is B".
LIGHT_BEFORE = CONNECTIVES | CHOICES | BE | frozenset(
    ("think", "believe", "say", "suspect", "guess", "feel", "agree", "choose", "pick", "select", "go", "with",
     "for", "it", "it's", "that", "this", "the", "would", "correct", "right", "best", "my", "final", "to",
     "a", "an", "any", "than", "of", "out", "sure", "certain", "either", "both", "likely", "possibly",
     "probably", "there", "can", "could", "should", "way", "i", "we", "one")
)  # fmt: skip
# Between a letter and the denial behind it.
LIGHT_AFTER = CONNECTIVES | CHOICES | BE | frozenset(
    ("been", "has", "have", "can", "could", "would", "should", "must", "will", "may", "might", "seems",
     "looks", "does", "do", "did", "the", "an", "also", "just", "very", "quite", "ruled", "both", "all")
)  # fmt: skip
STOPS = ".,;!?\n"


class Denials:
    """``letters``: for each word, whether it is the letter of an option."""

    def __init__(self, text: str, words: list[Word], letters: list[bool]) -> None:
        self.text, self.letters, self.count = text, letters, len(words)
        self.words = words
        self.lower = [word.text.lower() for word in words]
        self.listed = self._lists()
        self.opens = [self._opens(i) for i in range(self.count)]
        self.before, self.after = self._before(), self._after()

    def denies(self, first: int, last: int) -> bool:
        """Whether the words from ``first`` to ``last`` are denied."""
        return self.before[first] or (last >= first and self.after[last])

    def word(self, i: int) -> str:
        return self.lower[i] if 0 <= i < self.count else ""

    def is_letter(self, i: int) -> bool:
        return 0 <= i < self.count and self.letters[i]

    def gap(self, i: int) -> str:
        """What stands before word ``i``."""
        return self.text[self.words[i - 1].end : self.words[i].start]

    def _lists(self) -> list[bool]:
        """Whether each word is a letter of a list that goes on to "and", "or" or "nor" and a letter."""
        listed = [False] * (self.count + 1)
        for i in range(self.count - 2, -1, -1):
            joined = self.word(i + 1) in CONNECTIVES and self.is_letter(i + 2)
            goes_on = self.is_letter(i + 1) and listed[i + 1] and not self.gap(i + 1).strip(" ,()")
            listed[i] = self.letters[i] and (joined or goes_on)
        return listed

    def _opens(self, i: int) -> bool:
        """Whether a clause begins with word ``i``."""
        if i == 0:
            return True
        gap, word, previous = self.gap(i), self.lower[i], self.lower[i - 1]
        joins = word in CONNECTIVES and self.is_letter(i - 1) and self.is_letter(i + 1)
        if any(c in STOPS for c in gap):
            comma = not any(c in STOPS.replace(",", "") for c in gap)
            return not (
                comma and self.is_letter(i - 1) and (joins or (self.is_letter(i) and self.listed[i - 1]))
            )
        aside = (
            ":" in gap
            or " -" in gap
            or ("(" in gap and not self.letters[i])
            or (")" in gap and not self.letters[i - 1])
        )
        if aside:
            return not (self._denies_before(i - 1) or word in FALSE or self._is_untrue(i))
        if word == "but":
            return previous not in EVERY
        if word == "and":
            return not joins
        return word in SPLITTERS or (word in NEGATIONS and self.is_letter(i - 1) and self.is_letter(i + 1))

    def _is_untrue(self, i: int) -> bool:
        return self.lower[i] in NEGATIONS and self.word(i + 1) in TRUE and not self.is_letter(i + 1)

    def _denies_before(self, i: int) -> bool:
        word = self.lower[i]
        if word == "no":
            return self.word(i + 1) not in ASIDE
        if word == "doubt":
            return self.word(i - 1) != "no"
        if word == "but":
            return self.word(i - 1) in EVERY
        return word in BEFORE or word.endswith("n't") or (word in FALSE and self.word(i + 1) in CHOICES)

    def _before(self) -> list[bool]:
        """Whether a denial reaches each word from the left; one more for the end of the text."""
        found = []
        denied = heavy = False
        for i, word in enumerate(self.lower):
            if self.opens[i]:
                denied = heavy = False
            found.append(denied)
            if self._denies_before(i):
                denied, heavy = True, False
            elif heavy and word in BE:
                denied = heavy = False
            elif word not in LIGHT_BEFORE and not self.letters[i]:
                heavy = denied
        return [*found, denied]

    def _after(self) -> list[bool]:
        """Whether a denial reaches each word from the right."""
        found = [False] * self.count
        for i in range(self.count - 2, -1, -1):
            word = self.lower[i + 1]
            if self.opens[i + 1]:
                continue
            light = word in LIGHT_AFTER or self.letters[i + 1] or word.endswith("ly")
            denies = word in AFTER or word.endswith("n't")
            found[i] = denies or (light and found[i + 1])
        return found
