"""One process of the math-verify pool: JSON lines in, JSON lines out. Run by MathPool, never imported by it.

sympy may take any time and memory on an answer, and math-verify's own limit needs a signal: so it runs here,
where the address space is limited and the parent may kill it.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from typing import Any

MAX_MEMORY = 4 << 30
UNEQUAL = ("\\neq", "\\ne ", "\u2260", "\\not", "!=")  # math-verify reads past them
KNOWN_WORDS = frozenset(
    ("sin", "cos", "tan", "cot", "sec", "csc", "ln", "log", "exp", "sqrt", "pi", "min", "max")
)


def judge(gold: str, answer: str) -> str:
    """ "equal", "different", "unreadable" or "unevaluated" (the answer), or "bad_gold"."""
    from math_verify import parse, verify

    wanted = parse(as_math(gold), parsing_timeout=None)
    if not wanted:
        return "bad_gold"
    denies = [any(sign in text for sign in UNEQUAL) for text in (gold, answer)]
    if denies[0] != denies[1]:
        return "different"
    found = parse(as_math(answer), parsing_timeout=None)
    if not found:
        return "unreadable"
    if is_value(wanted[0]) and not is_value(found[0]):
        return "unevaluated"
    return "equal" if verify(wanted, found, timeout_seconds=None) else "different"


def as_math(text: str) -> str:
    """``text`` between dollar signs, unless it has math delimiters or a box of its own, or bare words:
    letters of a word commute as a product, so "listen" would equal "silent".
    """
    delimited = any(sign in text for sign in ("$", "\\(", "\\[", "\\boxed"))
    words = re.sub(r"\\(text|mathrm|textbf|mbox|operatorname)\s*\{[^{}]*\}|\\[A-Za-z]+", " ", text)
    bare = [word for word in re.findall("[A-Za-z]{2,}", words) if word.lower() not in KNOWN_WORDS]
    return text if delimited or bare else f"${text}$"


def is_value(found: Any) -> bool:
    """Whether nothing in an expression, as math-verify parses it, is arithmetic left to be worked out.

    Its trees keep the form of the text. The rule is that of the exact reader
    (mixed_r1_kernels.verify.reference_math): an operation on numbers whose result is rational is no value,
    unless it is a way to write a number.
    """
    import sympy

    if isinstance(found, sympy.Equality):
        sides = [side for side in found.args if not side.is_Symbol]
        return any(map(is_value, sides)) if sides else True
    if not isinstance(found, sympy.Basic) or not found.args or is_number(found):
        return True
    if isinstance(found, sympy.Expr) and not found.free_symbols:
        result = found.doit()
        if result.is_Rational or result.is_Float:
            return False
    return all(map(is_value, found.args))


def is_number(found: Any) -> bool:
    """Whether it is a way to write a number: a decimal, a fraction that is not whole, a percentage, 10^n, a
    decimal times 10^n; each with a sign or not.
    """
    import sympy

    if isinstance(found, sympy.UnevaluatedExpr) or found.is_Number:
        return True
    if found.is_Pow:
        return bool(found.base == 10 and found.exp.is_Integer)
    if not found.is_Mul:
        return False
    parts = [part for part in found.args if part != -1]
    if len(parts) == 2 and isinstance(parts[1], sympy.UnevaluatedExpr):
        return is_number(parts[0])
    if len(parts) != 2:
        return len(parts) == 1 and is_number(parts[0])
    powers = [part for part in parts if part.is_Pow]
    rest = [part for part in parts if part.is_Number]
    if len(powers) != 1 or len(rest) != 1:
        return False
    if powers[0].exp == -1 and powers[0].base.is_Number:
        return bool(powers[0].base == 1 or not (rest[0] / powers[0].base).is_integer)
    return is_number(powers[0])


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))
    replies = sys.stdout
    sys.stdout = sys.stderr  # nothing that a library prints may look like a reply
    judge("1", "1")  # imports, before the first job's clock starts
    print(json.dumps("ready"), file=replies, flush=True)
    for line in sys.stdin:
        gold, answer = json.loads(line)
        try:
            verdict = judge(gold, answer)
        except (
            Exception,
            RecursionError,
            MemoryError,
        ):  # whatever sympy raises on it, the answer is not equal
            verdict = "unreadable"
        print(json.dumps(verdict), file=replies, flush=True)


if __name__ == "__main__":
    main()
