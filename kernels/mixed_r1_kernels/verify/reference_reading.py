"""The one reading that every text answer gets before its task compares it: commit, then normalise.

commit     the body of the only (or last) ``\\boxed{..}`` or ``\\fbox{..}``, also inside a sentence; else the
text normalise  typographic twins to ASCII, zero-width characters away, LaTeX text commands, spaces and
escapes to
           what they show, then whatever is wrapped around the whole: code fences, bold, quotes, math
           delimiters, one full stop, comma or semicolon at the end, an equals sign at the start
lead       "The answer is", "Final answer:" and their like

Golds and options are normalised in the same way.
"""

from __future__ import annotations

from mixed_r1_kernels.reason import Reason

__all__ = ["SPACE", "after_lead", "commit", "narrow", "normal", "read_answer"]

SPACE = " \t\n\r\f\v"
BOXES = ("\\boxed{", "\\fbox{")
DASHES = frozenset("\u2010\u2011\u2012\u2013\u2212\ufe63")
LONG_DASHES = frozenset("\u2014\u2015")  # between words
SINGLE_QUOTES = frozenset("\u2018\u2019\u201a\u201b\u02bc")
DOUBLE_QUOTES = frozenset("\u201c\u201d\u201e\u201f")
BLANKS = frozenset(
    "\u00a0\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
)
INVISIBLE = frozenset("\u00ad\u200b\u200c\u200d\u2060\ufeff")
TEXT_COMMANDS = frozenset(
    ("text", "textbf", "textit", "textrm", "textsf", "texttt", "mathrm", "mathbf", "mathit", "mathsf", "mbox",
     "operatorname", "boldsymbol", "bm", "hbox", "emph", "underline", "textnormal", "textup")
)  # fmt: skip
DROPPED_COMMANDS = frozenset(("displaystyle", "textstyle", "quad", "qquad", "limits", "bf", "rm", "it"))
PAIRS = (
    ("**", "**"), ("*", "*"), ('"', '"'), ("'", "'"), ("`", "`"), ("$$", "$$"), ("$", "$"), ("\\(", "\\)"),
    ("\\[", "\\]"),
)  # fmt: skip
ROUNDS = 8
STARTERS = frozenset(("so", "thus", "therefore", "hence", "finally", "then"))
QUALIFIERS = frozenset(("correct", "right", "final", "best", "my", "short", "only"))
NOUNS = frozenset(("answer", "result"))
LINKS = frozenset(("is", "was", "equals"))


def read_answer(answer: str, box: str, *, lead: bool) -> tuple[Reason, str]:
    """What ``answer`` commits to, normalised; with ``lead``, what follows such words as "The answer is"."""
    reason, text = commit(answer.strip(SPACE), box)
    if reason != Reason.OK:
        return reason, ""
    text = normal(text)
    if lead and (end := after_lead(text, NOUNS)):
        text = normal(text[end:]) or text
    return Reason.OK, text


def commit(text: str, box: str) -> tuple[Reason, str]:
    """The body of the box where there is one. AMBIGUOUS: several that differ, under ``box="only"``."""
    bodies = boxes(text)
    if not bodies:
        return Reason.OK, text
    start, end = bodies[-1]
    chosen = text[start:end].strip(SPACE)
    if box == "only" and any(text[a:b].strip(SPACE) != chosen for a, b in bodies):
        return Reason.AMBIGUOUS, ""
    return Reason.OK, chosen


def boxes(text: str) -> list[tuple[int, int]]:
    """Where the bodies of the outermost boxes are. One that is never closed ends the search.

    A backslash takes the next character with it: ``\\}`` closes nothing.
    """
    found: list[tuple[int, int]] = []
    i = 0
    while True:
        starts = [at + len(box) for box in BOXES if (at := text.find(box, i)) >= 0]
        if not starts:
            return found
        start = i = min(starts)
        depth = 1
        while depth:
            if i >= len(text):
                return found
            depth += (text[i] == "{") - (text[i] == "}")
            i += 2 if text[i] == "\\" else 1
        found.append((start, i - 1))


def narrow(text: str) -> str:
    """Typographic twins in ASCII: full-width forms, dashes, quotes, wide spaces, ideographic stops.

    No other digits become digits: NFKC would read a superscript 2 as "2".
    """
    if text.isascii():
        return text
    return "".join(map(_narrow, text))


def _narrow(c: str) -> str:
    if c < "\x80":
        return c
    if "\uff01" <= c <= "\uff5e":
        return chr(ord(c) - 0xFEE0)
    if c in INVISIBLE:
        return ""
    if c in DASHES:
        return "-"
    if c in LONG_DASHES:
        return " - "
    if c in SINGLE_QUOTES:
        return "'"
    if c in DOUBLE_QUOTES:
        return '"'
    if c in BLANKS:
        return " "
    return {"\u3002": ".", "\uff61": ".", "\u3001": ","}.get(c, c)


def normal(text: str) -> str:
    text = narrow(text)
    if "\\" in text or "{,}" in text:
        text = _plain_latex(text)
    for _ in range(ROUNDS):
        inner = _unwrapped(text)
        if inner == text:
            break
        text = inner
    return text


def _plain_latex(text: str) -> str:
    """Text commands as their text, spaces as a space (none between the digits of one number), escapes as
    their character.
    """
    out: list[str] = []
    braces: list[bool] = []  # whether each open one belongs to a text command
    i = 0
    while i < len(text):
        c = text[i]
        if c == "\\" and i + 1 < len(text):
            end = letters_end(text, i + 1)
            name = text[i + 1 : end]
            opening = _skip(text, end, SPACE)
            if name in TEXT_COMMANDS and text[opening : opening + 1] == "{":
                braces.append(True)
                out.append(" ")
                i = opening + 1
            elif name in DROPPED_COMMANDS:
                out.append(" ")
                i = end
            elif name:
                out.append(text[i:end])
                i = end
            else:
                i += 2
                last = out[-1][-1:] if out else ""
                if text[i - 1] == "!" and last == ",":  # 11,\! 111 is one number
                    i = _skip(text, i, SPACE)
                else:
                    out.append(_escaped(text[i - 1], last, text[i : i + 1]))
            continue
        if c == "{":
            if text.startswith("{,}", i):
                out.append(",")
                i += 3
                continue
            braces.append(False)
        if c == "}" and braces and braces.pop():
            c = " "
        out.append(c)
        i += 1
    return "".join(out)


def _escaped(c: str, last: str, following: str) -> str:
    """What ``\\c`` shows between two characters."""
    if c in ",!;: ":
        digits = _is_digit(last) and _is_digit(following)
        return "" if digits else " "
    return c if c in "%$&#_" else "\\" + c


def _is_digit(c: str) -> bool:
    return "0" <= c <= "9"


def letters_end(text: str, i: int) -> int:
    while i < len(text) and ("a" <= text[i] <= "z" or "A" <= text[i] <= "Z"):
        i += 1
    return i


def _skip(text: str, i: int, characters: str) -> int:
    while i < len(text) and text[i] in characters:
        i += 1
    return i


def _unwrapped(text: str) -> str:
    """``text`` without white space and one layer of what is around it."""
    text = text.strip(SPACE)
    if text.startswith("```") and text.endswith("```") and len(text) >= 6:
        inner = text[3:-3]
        return inner[letters_end(inner, 0) :] if "\n" in inner else inner
    for opening, closing in PAIRS:
        inner = text[len(opening) : len(text) - len(closing)]
        wrapped = (
            len(text) >= len(opening) + len(closing) and text.startswith(opening) and text.endswith(closing)
        )
        if wrapped and opening not in inner and closing not in inner:
            return inner
    if text.startswith("*") != text.endswith("*"):  # the other half went with a lead
        return text.strip("*")
    if text[-1:] in (".", ",", ";") and text[-2:-1] != text[-1:]:
        return text[:-1]
    if text.startswith("=") and not text.startswith("=="):
        return text[1:]
    return text


def after_lead(text: str, nouns: frozenset[str]) -> int:
    """Where ``text`` goes on after ``[so] [the] [correct] answer [is] [:]``; 0 without such a lead.

    Without "is" there must be a colon, a line break or an equals sign.
    """
    i = _skip(text, 0, SPACE + "*_#")
    word, end = _word(text, i)
    if word in STARTERS:
        i = _skip(text, end, SPACE + ",")
        word, end = _word(text, i)
    if word == "the":
        word, end = _word(text, _skip(text, end, SPACE))
    if word in QUALIFIERS:
        word, end = _word(text, _skip(text, end, SPACE))
    if word not in nouns:
        return 0
    link, link_end = _word(text, _skip(text, end, SPACE + "*_"))
    linked = link in LINKS
    end = link_end if linked else end
    stop = _skip(text, end, SPACE + "*_:=")
    return stop if linked or any(c in ":\n=" for c in text[end:stop]) else 0


def _word(text: str, i: int) -> tuple[str, int]:
    end = letters_end(text, i)
    return text[i:end].lower(), end
