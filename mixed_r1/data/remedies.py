"""What to write instead: a sentence for each kind of problem that ``mixed-r1 data check`` finds."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from mixed_r1.tasks import known_tasks

__all__ = ["remedy"]

# How others call our fields.
RENAMED = {
    **dict.fromkeys(("ground_truth", "solution", "label", "gold", "target", "answers", "bbox"), "answer"),
    **dict.fromkeys(("prompt", "problem", "query", "instruction"), "question"),
    **dict.fromkeys(("image", "img", "image_path", "image_paths"), "images"),
    **dict.fromkeys(("choices", "candidates"), "options"),
    **dict.fromkeys(("type", "category", "problem_type"), "task"),
    **dict.fromkeys(("data_source", "dataset"), "source"),
}
ANSWERS = {
    "yes_no": "write yes or no (true, false and 'Yes.' are read too), or give the row another task",
    "multiple_choice": "write the letter, the text or the index from 0 of one of the row's options, or "
    "several letters; where the answer is none of them, add it to options",
    "chart": "write a text, a finite number, or a list of them",
    "open_ended": "write the reference text",
}
WORDS = "for an answer in words take task chart (equal texts) or open_ended (similar texts)"
VALUE = r"write a value, such as 42, 3/4, 2\sqrt{2}, (1, 2] or 2x + 1"
MORE_MATH = f"{VALUE}, or set math: math_verify, which reads more"
FIELDS = {
    "image_size": "write [width, height] in pixels of the image that the boxes are in",
    "id": "give every row an id of its own",
    "reward": "write settings of RewardConfig, such as {'chart_tolerance': 0.0}, or leave it out",
    "frame": "write pixels, norm1000 or norm1, or leave it out for pixels",
    "task": "take the first that fits; open_ended takes any text",
}


def remedy(field: str, rule: str, row: Any) -> str:
    """What mends the problem ``field: rule`` of a plain ``row``, or "" where nothing better than the rule can
    be said.
    """
    fields = row if isinstance(row, Mapping) else {}
    name, _, rest = field.partition(".")
    if name == "task" and "required" in rule:
        return f"write one of {', '.join(known_tasks())}, or set task for all rows"
    if name in ("answer", "question") and "required" in rule:
        other = next((key for key in fields if RENAMED.get(key) == name), None)
        return (
            f"rename {other} to {name}, or set columns: {{{name}: {other}}}"
            if other
            else f"write the row's {name}"
        )
    if name == "answer":
        return _answer(fields, rule)
    if name == "images":
        return (
            "write paths relative to the file, and open the image to see what is wrong with it"
            if rest
            else ""
        )
    if name == "options":
        return "write a list of texts, or a mapping from the letters A, B, ... to texts"
    return FIELDS.get(name, "")


def _answer(fields: Mapping[str, Any], rule: str) -> str:
    task = fields.get("task")
    if task == "grounding":
        return _boxes(fields.get("answer"), rule)
    if task == "math":
        words = re.search(r"[^\W\d_]{3,}", re.sub(r"\\[A-Za-z]+", " ", str(fields.get("answer"))))
        return f"{VALUE}; {WORDS}" if words else MORE_MATH
    return ANSWERS.get(task, "") if isinstance(task, str) else ""


def _boxes(answer: Any, rule: str) -> str:
    """Boxes of a corner and a size, and boxes in another frame, are the two that data sets have most."""
    listed = answer if isinstance(answer, (list, tuple)) else []
    flat = [listed] if listed and not isinstance(listed[0], (list, tuple)) else listed
    boxes = [box for box in flat if isinstance(box, (list, tuple)) and len(box) == 4]
    if not boxes or not all(isinstance(v, (int, float)) for box in boxes for v in box):
        return "write corners [[x1, y1, x2, y2], ...]"
    if "inside" in rule:
        if max(map(max, boxes)) <= 1:
            return "set frame: norm1 where they are fractions of the image"
        return "set frame: norm1000 where they are thousandths of the image; else cut them at its edge"
    x, y, w, h = next((box for box in boxes if box[2] <= box[0] or box[3] <= box[1]), boxes[0])
    return (
        f"where [{x:g}, {y:g}, {w:g}, {h:g}] is x, y, width and height, "
        f"write [{x:g}, {y:g}, {x + w:g}, {y + h:g}]"
    )
