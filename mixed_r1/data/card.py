"""The data card: one self-contained HTML page with a set's figures and sample rows, gold boxes drawn."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from mixed_r1.data.loaders import iter_samples
from mixed_r1.data.stats import set_statistics
from mixed_r1.data.storage import hash64
from mixed_r1.files import atomic_path
from mixed_r1.frames import convert
from mixed_r1.images import EXACT_SIDE, open_image, thumbnail_uri
from mixed_r1.options import option_lines
from mixed_r1.schema import Sample
from mixed_r1.tasks import task_order

__all__ = ["CardSample", "card_of_files", "picture", "write_card"]

_MAX_SIDE = 320
_SHOWN_PER_TASK = 6
TILTED = 0.2  # share of a gold from which on it is worth a line


class CardSample(NamedTuple):
    """A row to show, and its split."""

    split: str
    sample: Sample


def card_of_files(
    paths: Mapping[str, str | os.PathLike[str]], target: str | os.PathLike[str], *, title: str
) -> None:
    """Write the card of files of samples, split -> path (see ``data_files``); streams them twice.

    Raises:
        DataError or ImageError: a row that cannot be used.
    """
    chosen: dict[str, list[tuple[int, str, CardSample]]] = {}
    for split, path in paths.items():
        for sample in iter_samples(path):
            heap = chosen.setdefault(sample.task, [])
            entry = (-hash64(sample.id.encode()), sample.id, CardSample(split, sample))
            if len(heap) < _SHOWN_PER_TASK:
                heapq.heappush(heap, entry)
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)
    shown = [
        entry[2] for task in sorted(chosen, key=task_order) for entry in sorted(chosen[task], reverse=True)
    ]
    figures = set_statistics(dict(paths))
    write_card(Path(target), title=title, description="", figures=figures, samples=shown)


def write_card(
    path: Path, *, title: str, description: str, figures: Mapping[str, Any], samples: Iterable[CardSample]
) -> None:
    """Write the page; ``figures`` is ``SetStatistics.summary``, with ``dropped`` per stage if known."""
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    text = page.get_template("card.html.j2").render(
        title=title,
        description=description,
        figures=figures,
        splits=sorted(figures["rows by split"], key=_split_order),
        groups=_groups(figures["rows by task and source"]),
        histograms=[_histogram(name, **bins) for name, bins in figures["histograms"].items()],
        golds_by_stage=[
            line
            for line in figures.get("golds by stage", ())
            if max(step["share"] for step in line["stages"]) >= TILTED
        ],
        rules=figures.get("rules", {}),
        dropped=_dropped(figures.get("dropped", {})),
        shown=_by_task(samples),
    )
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _split_order(name: str) -> tuple[int, str]:
    known = ("train", "validation", "test")
    return (known.index(name) if name in known else len(known), name)


def _groups(lines: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One line per task and source: the rows of each split, of all, and their share of the largest."""
    groups: dict[tuple[str, str], dict[str, int]] = {}
    for line in lines:
        groups.setdefault((line["task"], line["source"]), {})[line["split"]] = line["rows"]
    totals = {key: sum(rows.values()) for key, rows in groups.items()}
    return [
        {"task": key[0], "source": key[1], "rows": rows, "total": totals[key]}
        | {"width": 100 * totals[key] / max(totals.values())}
        for key, rows in sorted(groups.items())
    ]


def _histogram(name: str, *, edges: Sequence[float], counts: Sequence[int]) -> dict[str, Any]:
    """Bars of one histogram: where each begins, its range in words, count and height in percent."""
    last = max(i for i, count in enumerate(counts) if count)
    first = min(i for i, count in enumerate(counts) if count)
    bars: list[dict[str, Any]] = []
    for i in range(first, last + 1):
        low, high = f"{edges[i]:g}", f"{edges[i + 1]:g}" if i + 1 < len(edges) else None
        words = f"{low} or more" if high is None else f"{low} to under {high}"
        height = 100 * counts[i] / max(counts)
        bars.append({"low": low, "words": words, "count": counts[i], "height": height})
        bars[-1]["short"] = _short(counts[i])
    end = f"{edges[last + 1]:g}" if last + 1 < len(edges) else ""
    return {"name": name, "bars": bars, "end": end}


def _short(count: int) -> str:
    """Three digits and a unit: 999, 1.2k, 855k, 1.0M."""
    for unit, size in (("M", 1_000_000), ("k", 1000)):
        if count >= size:
            return f"{count / size:.1f}{unit}" if count < 10 * size else f"{count / size:.0f}{unit}"
    return str(count)


def _by_task(samples: Iterable[CardSample]) -> list[dict[str, Any]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for item in samples:
        found.setdefault(item.sample.task, []).append(_shown(item))
    return [{"task": task, "rows": rows} for task, rows in found.items()]


def _dropped(dropped: Mapping[str, Mapping[str, int]]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {"stage": stage, "reason": reason, "rows": count}
        for stage, reasons in dropped.items()
        for reason, count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]
    most = max((row["rows"] for row in rows), default=1)
    return [row | {"width": 100 * row["rows"] / most} for row in rows]


def _shown(item: CardSample) -> dict[str, Any]:
    sample = item.sample
    images = [open_image(source) for source in sample.images]
    return {
        "split": item.split,
        "id": sample.id,
        "task": sample.task,
        "source": sample.source,
        "question": sample.question or str((sample.messages or ({},))[-1].get("content", "")),
        "options": option_lines(sample.options),
        "answer": sample.gold_text,
        "difficulty": None if sample.difficulty is None else f"{sample.difficulty:.2f}",
        "images": [
            picture(image, sample.boxes if number == (sample.image_of or 0) else (), sample.frame)
            for number, image in enumerate(images)
        ],
    }


def picture(image: Image.Image, boxes: Sequence[Sequence[float]], frame: str) -> dict[str, Any]:
    """The image as a data URL at most 320 pixels long, and its boxes in pixels of the original."""
    return {
        "url": thumbnail_uri(image, _MAX_SIDE),
        "width": image.width,
        "height": image.height,
        "exact": max(image.size) <= EXACT_SIDE,
        "boxes": [
            {"x": x1, "y": y1, "width": x2 - x1, "height": y2 - y1}
            for x1, y1, x2, y2 in (convert(box, frame, "pixels", image.size) for box in boxes)
        ],
    }
