"""The one reading that every text answer gets before its task compares it: commit, then normalise.

commit     the body of the only (or last) ``\\boxed{..}`` or ``\\fbox{..}``, also inside a sentence; else the
text normalise  typographic twins to ASCII, zero-width characters away, LaTeX text commands, spaces and
escapes to
           what they show, then whatever is wrapped around the whole: code fences, bold, quotes, math
           delimiters, one full stop, comma or semicolon at the end, an equals sign at the start
lead       "The answer is", "Final answer:" and their like (see reference_leads)

An explanation that is announced on a line of its own ("Explanation: ...") is no part of the answer, and of a
JSON object with one key "answer" its value is. Golds and options are normalised in the same way.
"""

from __future__ import annotations

from mixed_r1_kernels.reason import Reason

__all__ = ["SPACE", "boxes", "commit", "letters_end", "narrow", "normal", "read_text", "skip"]

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
QUOTES = "\"'"
EXPLANATIONS = frozenset(
    ("explanation", "explanations", "reason", "reasons", "reasoning", "rationale", "justification",
     "analysis", "note")
)  # fmt: skip
WIDE_EXPLANATIONS = (
    "\u89e3\u6790", "\u89e3\u91ca", "\u7406\u7531", "\u5206\u6790", "\u8bf4\u660e", "\u539f\u56e0",
)  # fmt: skip
KEYS = frozenset(("answer", "final_answer", "final answer"))


def read_text(answer: str, box: str) -> tuple[Reason, str]:
    """What ``answer`` commits to, normalised."""
    reason, text = commit(answer.strip(SPACE), box)
    if reason != Reason.OK:
        return reason, ""
    text = normal(_unexplained(text))
    value = object_answer(text)
    return Reason.OK, normal(value) or text


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
    return {"\u3002": ".", "\uff61": ".", "\u3001": ",", "\u2044": "/"}.get(c, c)


def _unexplained(text: str) -> str:
    """``text`` before a line that begins with "Explanation:" or its like."""
    at = text.find("\n")
    while at >= 0:
        i = skip(text, at + 1, SPACE + "*_#>-")
        end = letters_end(text, i)
        if text[i:end].lower() not in EXPLANATIONS:
            end = next((i + len(word) for word in WIDE_EXPLANATIONS if text.startswith(word, i)), i)
        if end > i and _at(text, skip(text, end, " \t*_")) in (":", "\uff1a"):
            return text[:at]
        at = text.find("\n", i)
    return text


def object_answer(text: str) -> str:
    """The value of the one key "answer" of a JSON object; "" where ``text`` is none. Quotes may be single."""
    if text[:1] != "{" or text[-1:] != "}":
        return ""
    last, i, found = len(text) - 1, skip(text, 1, SPACE), []
    while i < last:
        key_end = _string_end(text, i, ":")
        if key_end < 0:
            return ""
        key = text[i + 1 : key_end].lower()
        i = skip(text, key_end + 1, SPACE) + 1
        i = skip(text, i, SPACE)
        if text[i] in QUOTES:
            end = _string_end(text, i, ",}")
            if end < 0:
                return ""
            value, end = text[i + 1 : end].replace("\\\\", "\\").replace('\\"', '"'), end + 1
        else:
            end = _value_end(text, i)
            value = text[i:end]
        if key in KEYS:
            found.append(value)
        i = skip(text, end, SPACE)
        if i < last and text[i] != ",":
            return ""
        i = skip(text, i + 1, SPACE) if i < last else i
    return found[0] if len(found) == 1 else ""


def _string_end(text: str, i: int, after: str) -> int:
    """Where the string that opens at ``i`` closes, with one of ``after`` behind it; -1: nowhere."""
    if text[i] not in QUOTES:
        return -1
    end = i + 1
    while end < len(text):
        if text[end] == text[i] and _at(text, skip(text, end + 1, SPACE)) in tuple(after):
            return end
        end += 2 if text[end] == "\\" else 1
    return -1


def _value_end(text: str, i: int) -> int:
    """Where a number, a word, a list or an object that starts at ``i`` ends, inside an object."""
    depth = 0
    while i < len(text) - 1 and not (text[i] == "," and depth == 0):
        depth += (text[i] in "[{(") - (text[i] in "]})")
        i += 1
    return i


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
    """Text commands as their text, spaces as a space (none between the groups of digits of one number),
    escapes as their character.
    """
    out: list[str] = []
    braces: list[bool] = []  # whether each open one belongs to a text command
    i = 0
    while i < len(text):
        c = text[i]
        if c == "\\" and i + 1 < len(text):
            end = letters_end(text, i + 1)
            name = text[i + 1 : end]
            opening = skip(text, end, SPACE)
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
                    i = skip(text, i, SPACE)
                else:
                    out.append(_escaped(text[i - 1], last, text[i : i + 4]))
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
    if c == "!":  # a space of less than nothing
        return ""
    if c in ",;: ":
        group = len(following) >= 3 and all(map(_is_digit, following[:3])) and not _is_digit(following[3:])
        digits = _is_digit(last) and group
        return "" if digits else " "
    return c if c in "%$&#_" else "\\" + c


def _is_digit(c: str) -> bool:
    return c != "" and "0" <= c <= "9"


def letters_end(text: str, i: int) -> int:
    while i < len(text) and ("a" <= text[i] <= "z" or "A" <= text[i] <= "Z"):
        i += 1
    return i


def _at(text: str, i: int) -> str:
    return text[i : i + 1]


def skip(text: str, i: int, characters: str) -> int:
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
