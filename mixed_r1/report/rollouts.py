"""Rollout cards: a few prompts of one step with everything that decided their update."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image
from pydantic import ValidationError

from mixed_r1.frames import Size
from mixed_r1.images import ImageError, open_image, thumbnail_uri
from mixed_r1.report.boxes import Answer, box_frame, read_answers, reward_config, to_pixels
from mixed_r1.report.heatmap import HeatMap, SimilarityReader
from mixed_r1.report.run_files import Row, Run
from mixed_r1.report.wording import REASON_TEXT
from mixed_r1.run_directory import Column, score_cells
from mixed_r1.schema import LETTERS, Box, Sample, task_order
from mixed_r1.tasks import task_of

__all__ = ["Card", "Picture", "Scored", "rollout_cards"]

CARDS_PER_TASK = 3
IMAGES_PER_CARD = 4
SHOWN_AT_ENDS = 2  # best and worst completions that are open at once; the others fold
MAX_TEXT = 1500  # characters of a completion, question or answer
MAX_SIDE = 640  # pixels of an embedded image
MAX_BOXES = 16  # drawn of one completion

_TAGS = re.compile(r"(</?[A-Za-z][A-Za-z0-9_-]{0,31}>)")


class Cell(NamedTuple):
    """One reward of one completion."""

    column: str
    value: float
    reason: str
    meaning: str


class Piece(NamedTuple):
    """A stretch of a completion: a tag, the answer, or the rest."""

    kind: str
    text: str


@dataclass(frozen=True)
class Scored:
    """One completion; equal completions of a group are one with a count."""

    pieces: list[Piece]
    cells: list[Cell]
    total: float | None
    advantage: float | None
    num_tokens: int
    count: int
    boxes: list[Box]  # pixels of the original image


@dataclass(frozen=True)
class Picture:
    """An image of the prompt, embedded; size and boxes are in pixels of the original."""

    uri: str
    width: int
    height: int
    gold: list[Box]
    predicted: list[tuple[int, Box]]  # (index of the completion, box)


@dataclass(frozen=True)
class Card:
    task: str
    step: int
    rank: int  # among the cards of its task and step
    source: str
    sample_id: str
    question: str
    options: list[tuple[str, str]]
    gold: str
    pictures: list[Picture]
    picture_note: str
    completions: list[Scored]
    heat_map: HeatMap | None = None
    folded: range = field(default=range(0))  # completions between the best and the worst

    @property
    def reach(self) -> float:
        """The largest advantage of the card: the scale of its bars."""
        return max((abs(c.advantage) for c in self.completions if c.advantage is not None), default=0.0)


def rollout_cards(run: Run, rows: Sequence[Row]) -> list[Card]:
    """Up to three prompts a task out of one completions file, those whose rewards differ most first."""
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.get(Column.PROMPT_GROUP, row[Column.SAMPLE_ID]), []).append(row)
    similarity = SimilarityReader(run)
    cards = []
    for task in sorted({str(row[Column.TASK]) for row in rows}, key=task_order):
        chosen = sorted((g for g in groups.values() if g[0][Column.TASK] == task), key=_spread, reverse=True)
        cards += [_card(run, group, similarity, rank) for rank, group in enumerate(chosen[:CARDS_PER_TASK])]
    return cards


def _spread(group: Sequence[Row]) -> float:
    totals = [row[Column.TOTAL] for row in group if row.get(Column.TOTAL) is not None]
    return max(totals) - min(totals) if totals else -1.0


def _card(run: Run, group: Sequence[Row], similarity: SimilarityReader, rank: int) -> Card:
    config = reward_config(run)  # first, because the settings may name the task of the row
    sample = _sample(group[0])
    merged = _merged(group)
    texts = [str(row[Column.COMPLETION]) for row, _ in merged]
    answers = read_answers(texts, sample, config) if sample else [Answer("", ())] * len(texts)
    pictures, note = _pictures(run, sample) if sample else ({}, "")
    boxes: list[list[Box]] = [[] for _ in texts]
    target = pictures.get(_target(sample, pictures)) if sample and sample.boxes else None
    if sample and target is not None:
        frame = box_frame(sample, config)
        size = (target.width, target.height)
        found = [answer.boxes[:MAX_BOXES] for answer in answers]
        boxes = [to_pixels(some, frame, size, sample.resized_size) for some in found]
        target.gold.extend(to_pixels(sample.boxes, sample.frame, size))
        target.predicted.extend((i, box) for i, some in enumerate(boxes) for box in some)
    completions = [
        _scored(row, count, answer, found)
        for (row, count), answer, found in zip(merged, answers, boxes, strict=True)
    ]
    heat_map = None
    if sample and task_of(sample.task).scorer == "embedding":
        texts = [answer.text for answer in answers if answer.text]
        telling = next((text for text in texts if text != sample.answer.strip()), texts[0] if texts else "")
        heat_map = similarity.heat_map(telling, sample.answer) if telling else None
    return Card(
        task=str(group[0][Column.TASK]),
        step=int(group[0][Column.STEP]),
        rank=rank,
        source=str(group[0][Column.SOURCE]),
        sample_id=str(group[0][Column.SAMPLE_ID]),
        question=_cut(_question(sample, group[0])),
        options=list(zip(LETTERS, sample.options or (), strict=False)) if sample else [],
        gold=_cut(sample.gold_text) if sample else "",
        pictures=list(pictures.values()),
        picture_note=note,
        completions=completions,
        heat_map=heat_map,
        folded=range(SHOWN_AT_ENDS, max(SHOWN_AT_ENDS, len(completions) - SHOWN_AT_ENDS)),
    )


def _sample(row: Row) -> Sample | None:
    try:
        return Sample(**json.loads(row[Column.SAMPLE]))
    except (KeyError, TypeError, ValueError, ValidationError, RecursionError):
        return None  # the card still shows the prompt and the completions


def _merged(group: Sequence[Row]) -> list[tuple[Row, int]]:
    """Rows from best to worst. Equal texts with equal verdicts become one row with their number."""
    counts: dict[Any, list[Any]] = {}
    for row in group:
        counts.setdefault(
            (row[Column.COMPLETION], row.get(Column.TOTAL), row.get(Column.ADVANTAGE)), [row, 0]
        )[1] += 1
    by_total = sorted(counts.values(), key=lambda entry: _rank(entry[0].get(Column.TOTAL)), reverse=True)
    return [(row, count) for row, count in by_total]


def _rank(total: float | None) -> float:
    return -1.0 if total is None else float(total)


def _scored(row: Row, count: int, answer: Answer, boxes: list[Box]) -> Scored:
    cells = []
    for column, value, reason in score_cells(row):
        if value is None and reason in (None, "NOT_APPLICABLE"):
            continue
        shown = float("nan") if value is None else value
        cells.append(Cell(column, shown, str(reason), REASON_TEXT.get(str(reason), "")))
    return Scored(
        pieces=_pieces(str(row[Column.COMPLETION]), answer.text),
        cells=cells,
        total=row.get(Column.TOTAL),
        advantage=row.get(Column.ADVANTAGE),
        num_tokens=int(row.get(Column.NUM_TOKENS) or 0),
        count=count,
        boxes=boxes,
    )


def _pieces(completion: str, answer: str) -> list[Piece]:
    """Cut a completion into tags and texts, and mark the last text that is the answer."""
    parts = [part for part in _TAGS.split(_cut(completion)) if part]
    pieces = [Piece("tag" if _TAGS.fullmatch(part) else "text", part) for part in parts]
    for index in reversed(range(len(pieces))):
        if answer and pieces[index].kind == "text" and pieces[index].text.strip() == answer:
            pieces[index] = Piece("answer", pieces[index].text)
            break
    return pieces


def _target(sample: Sample, pictures: Mapping[int, Picture]) -> int:
    """The image that the boxes are in: the one that the row says, or that has its size, else the first."""
    if sample.image_of is not None:
        return sample.image_of
    of_size = (n for n, picture in pictures.items() if (picture.width, picture.height) == sample.image_size)
    return next(of_size, 0)


def _pictures(run: Run, sample: Sample) -> tuple[dict[int, Picture], str]:
    """The first images of a row, and the one its boxes are in, by their place; and what is not shown."""
    wanted = sorted({*range(min(IMAGES_PER_CARD, len(sample.images))), *filter(None, [sample.image_of])})
    pictures: dict[int, Picture] = {}
    for number in wanted:
        try:
            image = open_image(_located(run, sample.images[number]))
        except (ImageError, IndexError):
            continue
        # A run keeps small copies of images that are no files: boxes are in pixels of the original.
        is_target = number == (sample.image_of or 0) and sample.boxes
        pictures[number] = _picture(image, sample.image_size if is_target else None)
    missing = len(wanted) - len(pictures)
    notes = []
    if missing:
        notes.append(f"{missing} image{'s' if missing > 1 else ''} could not be opened")
    if len(sample.images) > len(wanted):
        notes.append(f"{len(sample.images) - len(wanted)} more not shown")
    return pictures, "; ".join(notes)


def _located(run: Run, source: Any) -> Any:
    """Find an image file: paths count from the run, or from where it was started, and the run may have moved
    since.
    """
    if not isinstance(source, str):
        return source
    home = run.path.resolve()
    candidates = [Path(source), *(folder / source for folder in (home, *home.parents))]
    return str(next((path for path in candidates if path.is_file()), source))


def _picture(image: Image.Image, size: Size | None = None) -> Picture:
    width, height = size or image.size
    return Picture(thumbnail_uri(image, MAX_SIDE), width, height, [], [])


def _question(sample: Sample | None, row: Row) -> str:
    if sample is None:
        return str(row.get(Column.PROMPT, ""))
    if sample.question:
        return sample.question
    contents = [
        message.get("content", "") for message in sample.messages or () if message.get("role") == "user"
    ]
    return "\n".join(_text_of(content) for content in contents)


def _text_of(content: Any) -> str:
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return str(content)


def _cut(text: str) -> str:
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]} [{len(text) - MAX_TEXT:,} more characters]"
