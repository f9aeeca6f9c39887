"""``mixed-r1 data look``: a page of rows as a run sees them, before a run is paid for.

Each row is shown with its images and the boxes drawn on them, as it is asked, with its gold, and with what
the gold earns when it is given as the answer. That must be 1: where it is not, no model can earn the reward.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mixed_r1.chat import chat_messages
from mixed_r1.config import ConfigError
from mixed_r1.data import DataError, Loaded, read_samples
from mixed_r1.data.card import picture
from mixed_r1.data.mixture import held_out
from mixed_r1.data.reading import Given
from mixed_r1.files import atomic_path
from mixed_r1.frames import convert
from mixed_r1.opened import CLIP_BOXES, OpenedRow, RowError, box_image, open_row
from mixed_r1.rewards import MixedReward
from mixed_r1.schema import Sample
from mixed_r1.tasks import task_of, task_order

__all__ = ["Looked", "look"]

MAX_TEXT = 3000  # characters of a message that are shown
MAX_PROBLEMS = 20
ENOUGH = 1 - 1e-6  # of the task's reward


class Looked(NamedTuple):
    """What a page shows: rows of the file that can be used and that cannot, and those shown whose gold does
    not earn the whole reward, with what it earns."""

    usable: int
    unusable: int
    shown: int
    short: dict[str, float]


def look(
    given: Given,
    out: Path,
    reward: MixedReward,
    *,
    rows: int = 24,
    seed: int = 0,
    system_prompt: str | None = None,
    clip_boxes: float = CLIP_BOXES,
) -> Looked:
    """Write the page ``out`` about ``rows`` rows of ``given``, tasks in proportion; ``seed`` decides which.

    ``reward`` scores each row's gold as the answer to it, in the frame of boxes that it expects.

    Raises:
        DataError: files that cannot be read. Where no row can be used the page says why.
    """
    try:
        loaded = read_samples(given)
    except DataError as error:
        if not error.line:
            raise
        loaded = Loaded([], [error], {})
    chosen = held_out(loaded.samples, rows, seed=seed) if loaded.samples else []
    shown = [_shown(sample, reward, system_prompt, clip_boxes) for sample in chosen]
    shown.sort(key=lambda row: task_order(row["task"]))
    short = {
        row["id"]: row["earned"] for row in shown if row["earned"] is not None and row["earned"] < ENOUGH
    }
    tasks = Counter(sample.task for sample in loaded.samples)
    loader = FileSystemLoader(Path(__file__).parent / "data")
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = page.get_template("look.html.j2").render(
        title=_title(given),
        tasks=sorted(tasks.items(), key=lambda item: task_order(item[0])),
        usable=len(loaded.samples),
        problems=list(map(str, loaded.problems[:MAX_PROBLEMS])),
        unusable=len(loaded.problems),
        ignored=sorted(loaded.ignored),
        short=len(short),
        rows=shown,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return Looked(len(loaded.samples), len(loaded.problems), len(shown), short)


def _title(given: Given) -> str:
    options = getattr(given, "options", None)
    return str(options.get("path") or options.get("annotations") or "rows" if options is not None else given)


def _shown(
    sample: Sample, reward: MixedReward, system_prompt: str | None, clip_boxes: float
) -> dict[str, Any]:
    """One row for the page."""
    found: dict[str, Any] = {
        "id": sample.id,
        "task": sample.task,
        "source": sample.source,
        "gold": sample.gold_text[:MAX_TEXT],
        **dict.fromkeys(("earned", "completion", "problem")),
        "pictures": [],
        "messages": [],
    }
    try:
        row = open_row(sample, clip_boxes=clip_boxes)
        found["pictures"] = _pictures(row)
        found["messages"] = _messages(row.sample, system_prompt)
        found["completion"], found["earned"] = _own_answer(row.sample, reward)
    except (RowError, ConfigError, ValueError) as error:
        found["problem"] = str(error)
    return found


def _pictures(row: OpenedRow) -> list[dict[str, Any]]:
    sample, images = row
    target = box_image(sample, [image.size for image in images]) if sample.boxes else None
    return [
        picture(image, sample.boxes if number == target else (), sample.frame)
        for number, image in enumerate(images)
    ]


def _messages(sample: Sample, system_prompt: str | None) -> list[dict[str, str]]:
    """Role and text of each message, images as [image 1], [image 2]."""
    shown = []
    number = 0
    for message in chat_messages(sample, system_prompt):
        texts = []
        for part in message["content"]:
            number += part["type"] == "image"
            texts.append(part["text"] if part["type"] == "text" else f"[image {number}] ")
        shown.append({"role": message["role"], "text": "".join(texts)[:MAX_TEXT]})
    return shown


def _own_answer(sample: Sample, reward: MixedReward) -> tuple[str, float | None]:
    """The gold as a completion, and what it earns of the task's reward; None where it is not scored here."""
    task = task_of(sample.task)
    config = reward.config.for_task(sample.task, sample.reward)
    answer = sample.answer
    scored = sample
    if task.scorer == "boxes":
        scored, answer = _in_frame(sample, config.frame)
    completion = config.in_format(task.written(answer))
    if task.scorer == "embedding" and reward.open_ended is None:
        return completion, None
    problems = reward.check([scored])
    if problems:
        raise ValueError(problems[0][1])
    batch = reward([completion], [scored])
    return completion, float(batch.column(task.column)[0])


def _in_frame(sample: Sample, frame: str) -> tuple[Sample, Any]:
    """The row and its boxes in the frame in which the model answers. At what size it sees the image is not
    known here: at its own.
    """
    seen = sample.model_copy(update={"resized_size": sample.resized_size or sample.image_size})
    sizes = (seen.image_size, seen.resized_size)
    return seen, tuple(convert(box, seen.frame, frame, *sizes) for box in seen.boxes)
