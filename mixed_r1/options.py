"""The letters of a multiple choice: the first option is A."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["LETTERS", "option_lines"]

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def option_lines(options: Sequence[str] | None) -> list[str]:
    """``["red", "blue"]`` -> ``["A. red", "B. blue"]``, as prompts and pages show them; none for None."""
    return [f"{letter}. {option}" for letter, option in zip(LETTERS, options or (), strict=False)]
