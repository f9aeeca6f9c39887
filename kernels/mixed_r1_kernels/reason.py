"""Why a reward has the value it has. The numbers are shared with csrc/core and are part of the file formats:
append only."""

from __future__ import annotations

from enum import IntEnum


class Reason(IntEnum):
    """Reason code of one reward cell. OK means "scored"; the value may still be below 1 (partial credit)."""

    OK = 0
    EMPTY = 1  # nothing to score: empty completion, answer or reference
    TOO_LONG = 2  # completion above the byte limit
    BAD_UTF8 = 3  # not valid Unicode text (lone surrogate, NUL)
    NO_ANSWER_TAG = 4
    DUPLICATE_TAG = 5
    TAG_ORDER = 6
    TEXT_OUTSIDE_TAGS = 7
    AMBIGUOUS = 8  # more than one answer was given
    NO_MATCH = 9
    NO_NUMBER = 10
    NON_FINITE = 11
    OUT_OF_TOLERANCE = 12
    NO_BOX = 13
    BAD_BOX = 14  # non-finite, inverted or zero-area box
    TOO_MANY_ITEMS = 15
    TOO_DEEP = 16
    DEGENERATE = 17  # zero-norm embedding rows only
    NOT_APPLICABLE = 18  # this reward does not score this task; value NaN
    BAD_GOLD = 19  # the reference answer cannot be scored against; value NaN, sample masked
    INTERNAL_ERROR = 20  # a verifier failed; value NaN, sample masked
    UNEVALUATED = 21  # arithmetic that is left to be worked out, where a value is asked for
