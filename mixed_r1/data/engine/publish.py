"""Figures, rejects and card beside the shards; then all of it into place by rename, the manifest last.

What is published is the same on every machine. What it was made of (paths, times of files) is in the hidden
file ``.fingerprint``, which is there only while the folder holds one build and all of it.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from mixed_r1.data.card import CardSample, write_card
from mixed_r1.data.engine.table import Drops, FeatureTable
from mixed_r1.data.engine.tilt import golds_by_stage
from mixed_r1.data.engine.workdir import Stage, write_json
from mixed_r1.data.parquet import iter_rows
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.stats import SetStatistics
from mixed_r1.files import atomic_path, sha256_of
from mixed_r1.schema import Sample, task_order

__all__ = ["publish", "published", "write_figures", "write_rejects"]

MANIFEST = "manifest.json"
FINGERPRINT = ".fingerprint"
_SHOWN_PER_TASK = 6


def write_figures(
    recipe: Recipe,
    table: FeatureTable,
    splits: tuple[list[str], np.ndarray],
    statistics: dict[int, dict[str, float]],
    drops: list[tuple[str, Drops]],
    dropped: dict[str, dict[str, int]],
    staging: Path,
) -> dict[str, Any]:
    """Write rejects.jsonl, stats.json, card.html and recipe.yaml; returns what the manifest says."""
    figures = {
        "name": recipe.name,
        **_summary(table, splits, statistics),
        "dropped": dropped,
        "golds by stage": golds_by_stage(table, drops),
        "rules": _rules(recipe),
    }
    write_json(staging / "stats.json", figures)
    write_rejects(staging / "rejects.jsonl", table, drops)
    settings = recipe.model_dump(mode="json", exclude={"base"}, exclude_defaults=True)
    with atomic_path(staging / "recipe.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), encoding="utf-8")
    write_card(
        staging / "card.html",
        title=recipe.name,
        description=recipe.description,
        figures=figures,
        samples=_shown(table, splits, recipe.seed),
    )
    files = sorted(path for path in staging.iterdir() if path.is_file())
    return {
        "rows": figures["rows by split"],
        "dropped": dropped,
        "images": (staging / "images").is_dir(),
        "files": {path.name: {"bytes": path.stat().st_size, "sha256": sha256_of(path)} for path in files},
    }


def write_rejects(path: Path, table: FeatureTable, drops: list[tuple[str, Drops]]) -> None:
    """Every dropped row as one JSON line."""
    with atomic_path(path) as temporary:
        with temporary.open("w", encoding="utf-8", newline="\n") as stream:
            stream.writelines(_rejects(table, drops))


def _rules(recipe: Recipe) -> dict[str, dict[str, Any]]:
    """The settings, defaults included, by which rows are dropped."""
    stages = {name: getattr(recipe, name) for name in ("dedup", "contamination", "balance")}
    return {name: spec.model_dump(mode="json") for name, spec in stages.items() if spec is not None}


def publish(stage: Stage, staging: Path, out: Path, done: dict[str, Any]) -> None:
    """Move what ``done`` lists from ``staging`` to ``out``; may be killed and repeated at any point."""
    (out / FINGERPRINT).unlink(missing_ok=True)
    for leftover in out.glob(".*.tmp"):
        leftover.unlink()
    previous = _manifest(out)
    stale = set(previous.get("files", {})) - set(done["files"])
    for name in sorted(stale):
        (out / name).unlink(missing_ok=True)
    if previous.get("images") and not done["images"]:
        shutil.rmtree(out / "images", ignore_errors=True)
    _publish_images(staging / "images", out / "images")
    for name in sorted(done["files"]):
        if (staging / name).is_file():
            os.replace(staging / name, out / name)
    write_json(out / MANIFEST, done)
    with atomic_path(out / FINGERPRINT) as temporary:
        temporary.write_text(stage.fingerprint)


def _publish_images(source: Path, target: Path) -> None:
    """Images are named by their content: add the new ones, keep those still in use, delete the others."""
    if not source.is_dir():
        return
    listing = source / "listing.json"
    if not listing.is_file():
        write_json(listing, sorted(path.name for path in source.iterdir()))
    wanted = set(json.loads(listing.read_text()))
    target.mkdir(exist_ok=True)
    for path in source.iterdir():
        if path != listing:
            os.replace(path, target / path.name)
    for path in target.iterdir():
        if path.name not in wanted:
            path.unlink()
    shutil.rmtree(source)


def published(out: Path, fingerprint: str) -> dict[str, Any] | None:
    """The manifest of ``out`` if it is of this build and its files are all there with their sizes."""
    state = out / FINGERPRINT
    manifest = _manifest(out)
    if not manifest or not state.is_file() or state.read_text() != fingerprint:
        return None
    for name, entry in manifest["files"].items():
        path = out / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return None
    return manifest


def _manifest(out: Path) -> dict[str, Any]:
    path = out / MANIFEST
    return json.loads(path.read_text()) if path.is_file() else {}


def _summary(
    table: FeatureTable, splits: tuple[list[str], np.ndarray], statistics: dict[int, dict[str, float]]
) -> dict[str, Any]:
    names = ("task", "source", "gold", "question_chars", "answer_chars", "num_boxes", "difficulty")
    summary = SetStatistics()
    for start, part in zip(table.starts.tolist(), table.parts(*names, "widths", "heights"), strict=False):
        here = splits[1][start : start + part.num_rows]
        columns = {name: part.column(name).to_pylist() for name in part.column_names}
        for i in np.flatnonzero(here >= 0).tolist():
            row = {name: columns[name][i] for name in names}
            if start + i in statistics:
                row["difficulty"] = 1.0 - statistics[start + i]["mean"]
            sizes = list(zip(columns["widths"][i], columns["heights"][i], strict=True))
            summary.add(split=splits[0][here[i]], sizes=sizes, **row)
    return summary.summary()


def _rejects(table: FeatureTable, drops: list[tuple[str, Drops]]) -> Iterator[str]:
    """Every dropped row as one JSON line: those of the partitions, then those of each later stage."""
    for stem in table.stems:
        with stem.with_name(stem.name + ".rejects.jsonl").open(encoding="utf-8") as stream:
            yield from stream
    if not any(len(found.rows) for _, found in drops):
        return
    ids = table.column("id")
    for stage, found in drops:
        for row, reason, detail in zip(found.rows, found.reasons, found.details, strict=True):
            name = ids[int(row)].as_py()
            line = {"stage": stage, "reason": reason, "detail": detail}
            origin = {"origin": name.split("/", 1)[0], "place": "", "id": name}
            yield json.dumps({**line, **origin}, ensure_ascii=False) + "\n"


def _shown(table: FeatureTable, splits: tuple[list[str], np.ndarray], seed: int) -> list[CardSample]:
    """A few rows of each task, chosen by the hash of (seed, id)."""
    tasks, codes = table.codes("task")
    ranks = table.ranks(seed)
    chosen: list[int] = []
    for task in sorted(tasks, key=task_order):
        members = np.flatnonzero((codes == tasks.index(task)) & (splits[1] >= 0))
        chosen.extend(members[np.argsort(ranks[members], kind="stable")][:_SHOWN_PER_TASK].tolist())
    found = _samples(table, sorted(chosen))
    return [CardSample(splits[0][splits[1][row]], found[row]) for row in chosen]


def _samples(table: FeatureTable, rows: list[int]) -> dict[int, Sample]:
    """Row -> sample, reading each partition once."""
    partitions = np.searchsorted(table.starts, rows, side="right") - 1
    found = {}
    for k in np.unique(partitions).tolist():
        start = int(table.starts[k])
        stem = table.stems[k]
        here = {row - start for row, partition in zip(rows, partitions, strict=True) if partition == k}
        for i, values in enumerate(iter_rows(stem.with_name(stem.name + ".parquet"))):
            if i in here and isinstance(values, dict):
                found[start + i] = Sample(**values)
    return found
