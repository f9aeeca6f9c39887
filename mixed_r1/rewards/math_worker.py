"""One process of the math-verify pool: JSON lines in, JSON lines out. Run by MathPool, never imported by it.

sympy may take any time and memory on an answer, and math-verify's own limit needs a signal: so it runs here,
where the address space is limited and the parent may kill it.
"""

from __future__ import annotations

import json
import resource
import sys

MAX_MEMORY = 4 << 30


def judge(gold: str, answer: str) -> str:
    """ "equal", "different", "unreadable" (the answer) or "bad_gold"."""
    from math_verify import parse, verify

    wanted = parse(f"${gold}$", parsing_timeout=None)
    if not wanted:
        return "bad_gold"
    found = parse(f"${answer}$", parsing_timeout=None)
    if not found:
        return "unreadable"
    return "equal" if verify(wanted, found, timeout_seconds=None) else "different"


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
