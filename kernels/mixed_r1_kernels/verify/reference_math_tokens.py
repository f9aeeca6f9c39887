"""Tokens of math answers: decimals, commands, words and single characters, each with its place in the
text."""

from __future__ import annotations

from typing import NamedTuple

from mixed_r1_kernels.reason import Reason
from mixed_r1_kernels.verify.reference_number import unsigned_decimal
from mixed_r1_kernels.verify.reference_reading import letters_end

__all__ = ["CLOSERS", "LETTERS", "Token", "Unreadable", "is_decimal", "is_whole", "tokens"]

MAX_TOKENS = 512
IGNORED = frozenset(
    (
        "\\left",
        "\\right",
        "\\big",
        "\\Big",
        "\\bigl",
        "\\bigr",
        "$",
        "\\angle",
        "\\triangle",
        "\u2220",
        "\u25b3",
    )
)
CLOSERS = {"(": (")", "]"), "[": (")", "]"), "{": ("}",), "\\{": ("\\}",)}
LETTERS = {
    f"\\{name}": chr(0x3B1 + i)
    for i, name in enumerate(
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi omicron pi rho . sigma "
        "tau upsilon phi chi psi omega".split()
    )
    if name not in ("pi", ".")
} | {"\\varphi": "\u03c6", "\\varepsilon": "\u03b5"}
SAME = {
    "\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\cfrac": "\\frac", "**": "^", "pi": "\\pi", "\u03c0": "\\pi",
    "sqrt": "\\sqrt", "\u221a": "\\sqrt", "\u00d7": "\\times", "\\ast": "\\times", "*": "\\times",
    "\\cdot": "\\times", "\u00b7": "\\times", "\u22c5": "\\times", "\\div": "/", "\u00f7": "/", "\u2215": "/",
    "\\%": "%", "\\degree": "\\circ", "\u00b0": "\\circ", "\u221e": "\\infty", "\\le": "<=", "\\leq": "<=",
    "\\leqslant": "<=", "\u2264": "<=", "\\ge": ">=", "\\geq": ">=", "\\geqslant": ">=", "\u2265": ">=",
    "\\lt": "<", "\\gt": ">", "\u00b1": "\\pm", "\u2248": "\\approx", "\\simeq": "\\approx", "\u2208": "\\in",
    "\u222a": "\\cup", "\\lbrace": "\\{", "\\rbrace": "\\}", "\\colon": ":", "\u2236": ":", "\\lor": "or",
    "\\dot": "\\overline", "percent": "%", "percentage": "%", "pct": "%",
}  # fmt: skip
SPELLED = {
    "\u00bd": "12", "\u2153": "13", "\u2154": "23", "\u00bc": "14", "\u00be": "34", "\u2155": "15",
    "\u2156": "25",
    "\u2157": "35", "\u2158": "45", "\u2159": "16", "\u215a": "56", "\u215b": "18", "\u215c": "38",
    "\u215d": "58",
    "\u215e": "78",
}  # fmt: skip
POWERS = {"\u00b2": "2", "\u00b3": "3", "\u00b9": "1"}


class Unreadable(ValueError):  # noqa: N818 (a verdict on an answer)
    """Not an expression of the grammar, or beyond its limits."""

    def __init__(self, problem: str, reason: Reason = Reason.NO_NUMBER) -> None:
        super().__init__(problem)
        self.reason = reason


class Token(NamedTuple):
    text: str
    start: int


def tokens(text: str) -> list[Token]:
    """White space and commands of size left out; digit groups "1,234" are one decimal outside of brackets."""
    found: list[Token] = []
    i = depth = 0
    while i < len(text):
        c = text[i]
        end = i + 1
        if c in " \t\n\r\f\v":
            i = end
            continue
        if "0" <= c <= "9" or (c == "." and "0" <= text[end : end + 1] <= "9"):
            end = i + unsigned_decimal(text[i:], separators=depth == 0)[1]
        elif c == "\\":
            end = max(letters_end(text, end), min(i + 2, len(text)))
        elif text.startswith(("**", "<=", ">="), i):
            end = i + 2
        else:
            end = max(end, letters_end(text, i))
        token = text[i:end]
        depth += (token in CLOSERS) - (token in (")", "]", "}", "\\}"))
        if token in SPELLED:
            top, bottom = tuple(SPELLED[token])
            found += (Token(part, i) for part in ("\\frac", "{", top, "}", "{", bottom, "}"))
        elif token in POWERS:
            found += (Token("^", i), Token(POWERS[token], i))
        elif token not in IGNORED and not (token == "~" and i):  # between a number and its unit
            found.append(Token(SAME.get(token, LETTERS.get(token, token)), i))
        if len(found) > MAX_TOKENS:
            raise Unreadable("too many tokens", Reason.TOO_MANY_ITEMS)
        i = end
    return found


def is_decimal(token: str) -> bool:
    return token[:1].isascii() and (token[:1].isdigit() or (token[:1] == "." and len(token) > 1))


def is_whole(token: str) -> bool:
    return token.isascii() and token.isdigit()
