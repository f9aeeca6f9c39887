"""What ``mixed-r1 score --explain`` prints: why one completion has the reward it has.

Completions are untrusted: they are printed as Python literals, so that none can move the cursor or colour the
terminal.
"""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mixed_r1.cli.console import plain_table
from mixed_r1.rewards.explain import Explanation, TokenMatch
from mixed_r1.schema import Box

__all__ = ["show_explanation"]

MAX_ROWS = 200


def show_explanation(console: Console, name: str, found: Explanation) -> None:
    """The answer, each reward with its weight and reason, and the boxes or tokens behind it."""
    total = "masked" if found.total is None else f"{found.total:.4f}"
    lines = [
        f"{name!r}: {found.task}, total {total}",
        f"  answer {found.answer!r}",
        f"  gold   {found.gold!r}",
    ]
    lines += [f"  masked {found.error}"] if found.error else []
    console.print(Text("\n".join(lines)))
    cells = plain_table("rewards", ["reward", "value", "weight", "reason"])
    for column, cell in found.cells.items():
        if cell.reason.name != "NOT_APPLICABLE":
            value = "masked" if cell.value is None else f"{cell.value:.4f}"
            cells.add_row(column, value, f"{cell.weight:g}", cell.reason.name)
    console.print(cells)
    for column, cell in found.cells.items():
        if cell.rule and cell.reason.name != "NOT_APPLICABLE":
            console.print(Text(f"  {column}: {cell.rule}"))
    if found.boxes:
        boxes = plain_table("boxes (in pixels where the image size is known)", ["predicted", "gold", "IoU"])
        for match in found.boxes[:MAX_ROWS]:
            boxes.add_row(_box(match.predicted), _box(match.gold), f"{match.iou:.4f}")
        console.print(boxes)
    for title, tokens in (
        ("tokens of the answer, and the most similar of the reference", found.answer_tokens),
        ("tokens of the reference, and the most similar of the answer", found.reference_tokens),
    ):
        if tokens:
            console.print(_tokens(title, tokens))


def _tokens(title: str, tokens: Sequence[TokenMatch]) -> Table:
    mean = sum(token.similarity for token in tokens) / len(tokens)
    table = plain_table(f"{title} (mean {mean:.4f})", ["token", "best", "cosine"])
    table.columns[1].justify = "left"
    for token in tokens[:MAX_ROWS]:
        table.add_row(Text(repr(token.token)), Text(repr(token.best)), f"{token.similarity:.4f}")
    if len(tokens) > MAX_ROWS:
        table.add_row(f"and {len(tokens) - MAX_ROWS:,} more", "", "")
    return table


def _box(box: Box | None) -> Text:
    return Text("none" if box is None else "[" + ", ".join(f"{value:g}" for value in box) + "]")
