"""The data engine at scale: ``python -m benchmarks.data_engine --rows 1000000 [--engine local ray]``.

Builds a recipe over synthetic rows (a tenth of them with a picture of its own, one in a hundred a planted
duplicate) through every stage but difficulty, checks what came out, and records rows per second, CPU seconds
and the peak memory of the build and of its largest worker. Each engine runs in a process of its own; all must
give the same bytes.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import io
import json
import multiprocessing
import os
import resource
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks.harness import hardware
from mixed_r1.data.engine import build
from mixed_r1.data.recipe import Recipe
from mixed_r1.data.sources import Partition, RawRow, Source
from mixed_r1.data.sources.base import cut

FOLDER = Path(__file__).parent
DUPLICATE_EVERY = 100
PICTURE_EVERY = 10
WORDS = np.asarray(
    "river stone window market garden yellow bridge number paper winter engine letter forest island copper"
    " station".split()
)


class Synthetic(Source):
    """Row i is made of i alone; every hundredth repeats the question and picture of the row before it."""

    rows: int

    def inputs(self) -> list[Path]:
        return []

    def partitions(self, rows: int) -> list[Partition]:
        return cut(self.rows, rows)

    def read(self, partition: Partition) -> Iterator[RawRow]:
        for i in range(partition.start, partition.stop):
            yield str(i), _row(i)


def _row(i: int) -> dict[str, Any]:
    content = i - 1 if i % DUPLICATE_EVERY == DUPLICATE_EVERY - 1 else i
    rng = np.random.default_rng(content)
    words = " ".join(WORDS[rng.integers(0, len(WORDS), 8)])
    row: dict[str, Any] = {
        "task": "math",
        "question": f"{words}: what is {content} plus {int(rng.integers(10**6))}?",
    }
    row["answer"] = str(content)
    if content % PICTURE_EVERY == PICTURE_EVERY - 2:  # the row before a duplicate has one
        coarse = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8))
        stream = io.BytesIO()
        coarse.resize((48, 48), Image.Resampling.BILINEAR).save(stream, format="PNG", compress_level=1)
        row["images"] = [stream.getvalue()]
    return row


def recipe(rows: int, base: Path) -> Recipe:
    return Recipe.from_mapping(
        {
            "name": "synthetic",
            "sources": [{"name": "s", "kind": "benchmarks.data_engine:Synthetic", "options": {"rows": rows}}],
            "filters": [{"name": "answer_length"}, {"name": "question_length"}],
            "dedup": {"image_distance": 2, "text_similarity": 0.95},
            "balance": {"max_rows": rows * 9 // 10},
            "split": {"shares": {"test": 0.05}},
            "rows_per_partition": 8192,
            "output": {"rows_per_shard": 65536},
            "base": str(base),
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.data_engine", description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--engine", nargs="+", default=["local"], choices=["local", "ray"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--folder", type=Path, help="where to build (default: a temporary folder)")
    options = parser.parse_args()
    digests = set()
    for engine in options.engine:
        folder = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            context = multiprocessing.get_context("spawn")
            with ProcessPoolExecutor(1, mp_context=context) as pool:  # its peak memory is its own
                record = pool.submit(run, options.rows, engine, options.workers, folder).result()
        finally:
            shutil.rmtree(folder)
        out = FOLDER / "results" / f"{datetime.date.today().isoformat()}-data_engine.jsonl"
        with out.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(record) + "\n")
        print(json.dumps(record, indent=1))
        digests.add(record["sha256"])
    assert len(digests) == 1, f"engines must give the same bytes, got {digests}"


def run(rows: int, engine: Any, workers: int, folder: Path) -> dict[str, Any]:
    began, cpu = time.perf_counter(), _cpu_seconds()
    with _Largest() as children:
        result = build(recipe(rows, folder), folder / "out", engine=engine, workers=workers)
    seconds = time.perf_counter() - began
    planted = rows // DUPLICATE_EVERY
    dropped = {stage: sum(reasons.values()) for stage, reasons in result.dropped.items()}
    assert dropped["dedup"] == planted, f"duplicates must be {planted}, got {dropped}"
    assert sum(result.rows.values()) + sum(dropped.values()) == rows
    log = (folder / "out" / ".work" / "log.jsonl").read_text().splitlines()
    stages = {line["stage"]: line["seconds"] for line in map(json.loads, log)}
    return {
        "op": "data_engine",
        "engine": engine,
        "workers": workers,
        "rows": rows,
        "seconds": round(seconds, 1),
        "rows_per_second": round(rows / seconds),
        # On Ray the work is done in processes that are not ours to measure.
        "cpu_seconds": round(_cpu_seconds() - cpu, 1) if engine == "local" else None,
        "peak_rss_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "largest_child_rss_mib": round(children.peak / 2**20),
        "load_average": round(os.getloadavg()[2], 1),  # above the cores: the machine was shared
        "stage_seconds": stages,
        "kept": result.rows,
        "dropped": dropped,
        "bytes": sum(path.stat().st_size for path in (folder / "out").iterdir() if path.is_file()),
        # Of the manifest, which holds the hash of every file.
        "sha256": hashlib.sha256((folder / "out" / "manifest.json").read_bytes()).hexdigest(),
        **hardware(),
    }


def _cpu_seconds() -> float:
    usages = (resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


class _Largest(threading.Thread):
    """The largest resident memory of any process below this one (workers, Ray's included), sampled."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.peak = 0
        self._over = threading.Event()

    def __enter__(self) -> _Largest:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        while not self._over.wait(1.0):
            for process in psutil.Process().children(recursive=True):
                try:
                    self.peak = max(self.peak, process.memory_info().rss)
                except psutil.Error:  # it has ended
                    continue


if __name__ == "__main__":
    main()
