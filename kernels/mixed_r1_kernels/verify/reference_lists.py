"""Reference reader of lists in an answer: JSON, quoted items, bullets, lines, and commas with "and"."""

from __future__ import annotations

from mixed_r1_kernels.verify.reference_reading import SPACE

__all__ = ["split_list"]

QUOTES = "\"'"
BULLETS = ("- ", "* ", "\u2022 ", "\u2022")


def split_list(text: str, count: int) -> list[str]:
    """Items of ``[a, b]``, ``(a, b)``, ``{a, b}`` or ``a, b``, of a normalised text.

    Where every item is in quotes, what they hold. Else the separator is the first of these that occurs:
    ``;``, a line break (a comma before it, or a bullet or number behind it, is no part of an item), a comma
    before white space, "and", a comma. An "and" splits where ``count`` items would else be missed: names may
    hold one.
    """
    body = text
    if body[:1] + body[-1:] in ("[]", "()", "{}"):
        body = body[1:-1]
    body = body.strip(SPACE)
    parts = _quoted(body)
    return _split(body, count) if parts is None else parts


def _quoted(body: str) -> list[str] | None:
    """The items of a list of quoted texts with commas between; a backslash takes a character with it."""
    items = []
    i = 0
    while i < len(body):
        quote = body[i]
        if quote not in QUOTES:
            return None
        start = i = i + 1
        while i < len(body) and not (body[i] == quote and _ends_item(body, i + 1)):
            i += 2 if body[i] == "\\" else 1
        if i >= len(body):
            return None
        items.append(body[start:i])
        i += 1
        while i < len(body) and body[i] in SPACE + ",":
            i += 1
    return items or None


def _ends_item(body: str, i: int) -> bool:
    """Whether a quote before ``i`` ends an item: a comma or nothing follows ("Children's" goes on)."""
    while i < len(body) and body[i] in SPACE:
        i += 1
    return i == len(body) or body[i] == ","


def _split(body: str, count: int) -> list[str]:
    if ";" in body:
        return body.split(";")
    if "\n" in body:
        return _unnumbered([_line(part) for part in body.split("\n") if part.strip(SPACE)])
    if ", " in body or ",\t" in body:
        parts = body.replace(",\t", ", ").split(", ")
        last = parts[-1].lstrip(SPACE)
        for word in ("and ", "or ", "& "):
            if last.startswith(word):
                return [*parts[:-1], last[len(word) :]]
        head, found, tail = last.rpartition(" and ")
        return [*parts[:-1], head, tail] if found and len(parts) + 1 == count else parts
    for word in (" and ", " & "):
        parts = body.split(word)
        if len(parts) > 1 and len(parts) == count:
            return parts
    return body.split(",")


def _line(part: str) -> str:
    part = part.strip(SPACE).removesuffix(",")
    for bullet in BULLETS:
        if part.startswith(bullet):
            return part[len(bullet) :]
    return part


def _unnumbered(lines: list[str]) -> list[str]:
    """``lines`` without "1. ", "2. " or "1) ", "2) " where each carries its own."""
    bodies = []
    for i, line in enumerate(lines, 1):
        rest = line.removeprefix(str(i))
        if rest == line or rest[:2] not in (". ", ") "):
            return lines
        bodies.append(rest[2:])
    return bodies
